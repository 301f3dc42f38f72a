"""A Chroma collection finds the nearest vectors of `embed`, and opens again with the stored function."""

import pytest

pytest.importorskip("chromadb", reason="pip install 'qwen3cpu[chroma]'")

import chromadb

from qwen3cpu.errors import ArgumentError
from qwen3cpu.integrations.chroma import Qwen3CpuEmbeddingFunction

TEXTS = ["the sky is blue", "hello world", "number number"]


def test_vectors_are_those_of_embed(model):
    function = Qwen3CpuEmbeddingFunction(model, dimensions=20, instruction="Find it")
    expected = model.embed(TEXTS, dimensions=20)
    assert all((one == other).all() for one, other in zip(function(TEXTS), expected, strict=True))
    (query,) = function.embed_query(["sky"])
    assert (query == model.embed("sky", kind="query", instruction="Find it", dimensions=20)).all()


def test_a_collection_finds_by_cosine_and_opens_again(embedding_folder, tmp_path):
    settings = chromadb.Settings(anonymized_telemetry=False)
    function = Qwen3CpuEmbeddingFunction(embedding_folder, quant="f32", dimensions=32)
    client = chromadb.PersistentClient(str(tmp_path), settings)
    collection = client.create_collection("texts", embedding_function=function)
    collection.add(ids=["0", "1", "2"], documents=TEXTS)
    model = function.model
    cosines = model.embed(TEXTS, dimensions=32) @ model.embed("sky", kind="query", dimensions=32)
    order = [str(place) for place in (-cosines).argsort()]
    found = collection.query(query_texts=["sky"], n_results=3)
    assert found["ids"] == [order]
    assert found["distances"][0] == pytest.approx(sorted(1 - cosines), abs=1e-5)  # float32 sums of 32 products
    assert client.get_collection("texts").query(query_texts=["sky"], n_results=3) == found
    again = Qwen3CpuEmbeddingFunction.build_from_config(function.get_config())
    assert again.get_config() == function.get_config()
    assert (again(TEXTS)[0] == function(TEXTS)[0]).all()


def test_a_model_of_another_task_is_named(reranker):
    with pytest.raises(ArgumentError, match="expected one made for embedding"):
        Qwen3CpuEmbeddingFunction(reranker)
