"""The drop-in returns the vectors of sentence-transformers up to rounding, and those of `embed` bit for bit."""

import inspect
import subprocess
import sys

import numpy as np
import pytest

import qwen3cpu
from qwen3cpu.errors import ArgumentError
from qwen3cpu.integrations.sentence_transformers import SentenceTransformer

TEXTS = ["the sky is blue", "", "hello world\n\nhello", "Grüße aus Zürich, 世界"]


@pytest.fixture(scope="module")
def ours(model):
    return SentenceTransformer(model)


@pytest.fixture(scope="module")
def theirs(embedding_folder):
    pytest.importorskip("torch")
    library = pytest.importorskip("sentence_transformers")
    return library.SentenceTransformer(str(embedding_folder), device="cpu")


def test_calls_become_those_of_embed(ours, model):
    for options, expected in (
        ({}, model.embed(TEXTS)),
        ({"prompt_name": "query"}, model.embed(TEXTS, kind="query")),
        ({"prompt_name": "document"}, model.embed(TEXTS)),
        ({"prompt": "Find: "}, model.embed([f"Find: {text}" for text in TEXTS])),
        ({"precision": "ubinary"}, model.embed(TEXTS, dtype="binary")),
        ({"precision": "int8", "truncate_dim": 20}, model.embed(TEXTS, dtype="int8", dimensions=20)),
        ({"truncate_dim": 20, "normalize_embeddings": True}, model.embed(TEXTS, dimensions=20)),
        ({"truncate_dim": 20}, model.embed(TEXTS)[:, :20]),
    ):
        found = ours.encode(TEXTS, **options)
        assert found.dtype == expected.dtype
        assert (found == expected).all(), options
    assert (ours.encode_query(TEXTS) == model.embed(TEXTS, kind="query")).all()
    assert (ours.encode_document(TEXTS) == model.embed(TEXTS)).all()
    assert (ours.encode_query(TEXTS, prompt="Find: ") == ours.encode(TEXTS, prompt="Find: ")).all()
    assert (ours.encode("hello") == model.embed("hello")).all()
    assert ours.encode([]).shape == (0, 64)
    assert ours.encode("number " * 5000).shape == (64,)


@pytest.mark.parametrize("truncate_dim", [None, 20])
@pytest.mark.parametrize("normalize_embeddings", [True, False])
@pytest.mark.parametrize("method", ["encode", "encode_query", "encode_document"])
def test_vectors_are_those_of_sentence_transformers(ours, theirs, method, truncate_dim, normalize_embeddings):
    options = {"truncate_dim": truncate_dim, "normalize_embeddings": normalize_embeddings}
    found, expected = getattr(ours, method)(TEXTS, **options), getattr(theirs, method)(TEXTS, **options)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    # Both compute in float32; values are at most 1.
    assert np.abs(found - expected).max() < 1e-5


@pytest.mark.parametrize("precision", ["ubinary", "binary"])
def test_bits_are_those_of_sentence_transformers(ours, theirs, precision):
    # Values whose sign rounding could change are left out.
    sure = np.abs(ours.encode(TEXTS)) > 1e-5
    found, expected = (each.encode(TEXTS, precision=precision) for each in (ours, theirs))
    assert found.dtype == expected.dtype
    shift = 128 if precision == "binary" else 0
    bits = [np.unpackbits((each.astype(np.int16) + shift).astype(np.uint8), axis=1) for each in (found, expected)]
    assert (bits[0][sure] == bits[1][sure]).all()
    assert sure.mean() > 0.99


def test_tensors(ours, theirs):
    torch = pytest.importorskip("torch")
    whole = ours.encode(TEXTS, convert_to_tensor=True)
    assert isinstance(whole, torch.Tensor)
    assert (whole.numpy() == ours.encode(TEXTS)).all()
    assert ours.encode("hello", convert_to_tensor=True).shape == (64,)
    listed = ours.encode(TEXTS, convert_to_numpy=False)
    assert isinstance(listed, list)
    assert (torch.stack(listed) == whole).all()
    found, expected = ours.similarity(whole, whole[:2]), theirs.similarity(whole, whole[:2])
    assert isinstance(found, torch.Tensor)
    assert found.dtype == expected.dtype
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(ours.similarity_pairwise(whole, whole), torch.ones(4), atol=1e-6)


def test_similarity_of_arrays_needs_no_torch(ours):
    vectors = ours.encode(TEXTS)
    found = ours.similarity(vectors, vectors[0])
    assert (type(found), found.shape) == (np.ndarray, (4, 1))
    wide = vectors.astype(np.float64)
    assert np.allclose(found[:, 0], wide @ wide[0], atol=1e-6)


def test_every_name_of_ours_is_one_of_theirs(theirs):
    names = {name for name in dir(SentenceTransformer) if not name.startswith("_")}
    assert names <= set(dir(theirs))
    ours, original = (inspect.signature(each.encode).parameters for each in (SentenceTransformer, type(theirs)))
    shared = list(ours)
    assert shared == [name for name in original if name in ours]
    assert all(ours[name].default == original[name].default for name in shared[1:])


def test_dimensions_and_sources(ours, embedding_folder):
    assert ours.get_sentence_embedding_dimension() == ours.get_embedding_dimension() == 64
    cut = SentenceTransformer(embedding_folder, truncate_dim=16, quant="q8", threads=1)
    assert cut.get_sentence_embedding_dimension() == cut.encode("hello").shape[0] == 16
    assert cut.encode("hello", truncate_dim=8).shape == (8,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt_name": "clustering"}, "prompt_name: expected one of query, document, found 'clustering'"),
        ({"precision": "uint8"}, "precision: expected one of float32, int8, binary, ubinary, found 'uint8'"),
        ({"output_value": "token_embeddings"}, "output_value: expected 'sentence_embedding'"),
        ({"device": "cuda"}, "device: expected 'cpu', found 'cuda'"),
        ({"truncate_dim": 65}, "truncate_dim: expected a number of dimensions from 1 to 64, found 65"),
    ],
)
def test_wrong_options_are_named(ours, options, message):
    with pytest.raises(ArgumentError, match=message):
        ours.encode(TEXTS, **options)


def test_wrong_models_are_named(model):
    with pytest.raises(ArgumentError, match="a loaded model takes no options of load; found quant"):
        SentenceTransformer(model, quant="q4")
    with pytest.raises(ArgumentError, match="expected one made for embedding, found tiny, made for generation"):
        SentenceTransformer(qwen3cpu.load("tiny", threads=1))


def test_neither_torch_nor_other_libraries_are_imported():
    code = (
        "import sys; from qwen3cpu.integrations.sentence_transformers import SentenceTransformer\n"
        "SentenceTransformer('tiny-embedding').encode('a')\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'sentence_transformers', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
