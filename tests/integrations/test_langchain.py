"""LangChain's own vector store finds the nearest vectors of `embed`; the compressor has the order of `rerank`."""

import asyncio

import pytest

pytest.importorskip("langchain_core", reason="pip install 'qwen3cpu[langchain]'")

from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore

from qwen3cpu.errors import ArgumentError
from qwen3cpu.integrations.langchain import Qwen3CpuEmbeddings, Qwen3CpuReranker

TEXTS = ["the sky is blue", "hello world", "number number"]


def test_vectors_are_those_of_embed(model):
    plain = Qwen3CpuEmbeddings(model)
    assert plain.embed_documents(TEXTS) == model.embed(TEXTS).tolist()
    assert plain.embed_query("sky") == model.embed("sky", kind="query").tolist()
    cut = Qwen3CpuEmbeddings(model, dimensions=20, instruction="Find it", truncate=True)
    assert (
        cut.embed_documents(["number " * 5000])
        == model.embed(["number " * 5000], dimensions=20, truncate=True).tolist()
    )
    expected = model.embed("sky", kind="query", instruction="Find it", dimensions=20).tolist()
    assert cut.embed_query("sky") == expected
    assert asyncio.run(cut.aembed_query("sky")) == expected
    assert asyncio.run(plain.aembed_documents(TEXTS)) == plain.embed_documents(TEXTS)


def test_a_vector_store_finds_by_cosine(model):
    store = InMemoryVectorStore(Qwen3CpuEmbeddings(model))
    store.add_texts(TEXTS)
    cosines = model.embed(TEXTS) @ model.embed("sky", kind="query")
    found = store.similarity_search("sky", k=3)
    assert [each.page_content for each in found] == [TEXTS[place] for place in (-cosines).argsort()]


def test_a_compressor_orders_as_rerank_does(reranker):
    documents = [Document(text, metadata={"place": place}) for place, text in enumerate(TEXTS)]
    expected = reranker.rerank("sky", TEXTS, top_n=2, instruction="Find it")
    compressor = Qwen3CpuReranker(model=reranker, top_n=2, instruction="Find it")
    found = compressor.compress_documents(documents, "sky")
    assert [(each.metadata["place"], each.metadata["relevance_score"]) for each in found] == list(expected)
    assert [each.page_content for each in found] == [TEXTS[place] for place in expected.order]
    assert all("relevance_score" not in each.metadata for each in documents)
    assert asyncio.run(compressor.acompress_documents(documents, "sky")) == found


def test_models_of_another_task_are_named(model, reranker):
    with pytest.raises(ArgumentError, match="expected one made for embedding"):
        Qwen3CpuEmbeddings(reranker)
    with pytest.raises(ArgumentError, match="expected one made for reranking"):
        Qwen3CpuReranker(model=model).compress_documents([Document("a")], "sky")
