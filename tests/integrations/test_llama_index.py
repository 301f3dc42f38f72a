"""A vector index of LlamaIndex finds the nearest vectors of `embed`; the postprocessor has the order of `rerank`."""

import asyncio

import pytest

pytest.importorskip("llama_index.core", reason="pip install 'qwen3cpu[llama-index]'")

from llama_index.core import VectorStoreIndex
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from qwen3cpu.errors import ArgumentError
from qwen3cpu.integrations.llama_index import Qwen3CpuEmbedding, Qwen3CpuRerank

TEXTS = ["the sky is blue", "hello world", "number number"]


def test_vectors_are_those_of_embed(model):
    plain = Qwen3CpuEmbedding(model)
    assert plain.get_text_embedding_batch(TEXTS) == model.embed(TEXTS).tolist()
    assert plain.get_text_embedding("hello") == model.embed("hello").tolist()
    assert asyncio.run(plain.aget_text_embedding_batch(TEXTS)) == model.embed(TEXTS).tolist()
    cut = Qwen3CpuEmbedding(model, dimensions=20, instruction="Find it")
    expected = model.embed("sky", kind="query", instruction="Find it", dimensions=20).tolist()
    assert cut.get_query_embedding("sky") == expected
    assert asyncio.run(cut.aget_query_embedding("sky")) == expected


def test_an_index_retrieves_by_cosine(model):
    nodes = [TextNode(text=text) for text in TEXTS]
    retriever = VectorStoreIndex(nodes, embed_model=Qwen3CpuEmbedding(model)).as_retriever(similarity_top_k=3)
    cosines = model.embed(TEXTS) @ model.embed("sky", kind="query")
    assert [each.text for each in retriever.retrieve("sky")] == [TEXTS[place] for place in (-cosines).argsort()]


def test_a_postprocessor_orders_as_rerank_does(reranker):
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.5) for text in TEXTS]
    expected = reranker.rerank("sky", TEXTS, top_n=2)
    found = Qwen3CpuRerank(reranker, top_n=2).postprocess_nodes(nodes, QueryBundle("sky"))
    assert [(each.text, each.score) for each in found] == [(TEXTS[place], score) for place, score in expected]
    with pytest.raises(ArgumentError, match="query_bundle: expected the query"):
        Qwen3CpuRerank(reranker).postprocess_nodes(nodes)


def test_models_of_another_task_are_named(model, reranker):
    with pytest.raises(ArgumentError, match="expected one made for embedding"):
        Qwen3CpuEmbedding(reranker)
    with pytest.raises(ArgumentError, match="expected one made for reranking"):
        Qwen3CpuRerank(model)
