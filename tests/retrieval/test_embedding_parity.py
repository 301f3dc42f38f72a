"""Vectors compared with sentence-transformers, on random models in published layouts."""

import numpy as np
import pytest
from retrieval_models import POOLING, QUERY_PROMPT, write_embedding_model

import qwen3cpu

TEXTS = (
    "the sky is blue",
    "",
    " ",
    "hello world\n\nhello",
    "Grüße aus Zürich, 世界, 👋🏽 é",
    "number number number " * 60,
    "?",
)


def distances(ours, theirs):
    """Cosine distances of rows, in float64."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    return 1 - (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))


@pytest.fixture(scope="module", params=POOLING)
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("embedding") / "model"
    write_embedding_model(path, spelling=request.param)
    return path


@pytest.fixture(scope="module")
def ours(folder):
    return qwen3cpu.load(folder, quant="f32", kv="f32", threads=2)


@pytest.fixture(scope="module")
def theirs(folder):
    pytest.importorskip("torch")
    library = pytest.importorskip("sentence_transformers")
    return library.SentenceTransformer(str(folder), device="cpu")


def test_a_published_layout_is_known_as_an_embedding_model(ours):
    assert ours.task == "embedding"


@pytest.mark.parametrize("kind", ["document", "query"])
@pytest.mark.parametrize("dimensions", [None, 32, 5])
@pytest.mark.parametrize("normalize", [True, False])
def test_vectors_equal_those_of_sentence_transformers(ours, theirs, kind, dimensions, normalize):
    options = {"prompt_name": kind, "truncate_dim": dimensions, "normalize_embeddings": normalize}
    if not normalize:
        # The model's own Normalize module would undo the difference.
        del theirs._modules["2"]
    try:
        expected = theirs.encode(list(TEXTS), **options)
    finally:
        if not normalize:
            from sentence_transformers.sentence_transformer.modules import Normalize

            theirs.add_module("2", Normalize())
    found = ours.embed(TEXTS, kind=kind, dimensions=dimensions, normalize=normalize)
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    assert distances(found, expected).max() < 1e-6
    lengths = np.linalg.norm(found.astype(np.float64), axis=1)
    assert np.allclose(lengths, np.linalg.norm(expected.astype(np.float64), axis=1), rtol=1e-4)


def test_an_own_instruction_equals_that_of_sentence_transformers(ours, theirs):
    task = "Find a text of the same colour"
    expected = theirs.encode(list(TEXTS), prompt=f"Instruct: {task}\nQuery:")
    assert distances(ours.embed(TEXTS, kind="query", instruction=task), expected).max() < 1e-6


def test_prompts_of_the_model_are_those_of_the_authors(ours):
    by_hand = [QUERY_PROMPT + text for text in TEXTS]
    assert (ours.embed(TEXTS, kind="query") == ours.embed(by_hand)).all()


def test_bits_are_the_signs_and_whole_numbers_keep_the_angles(ours):
    plain = ours.embed(TEXTS, normalize=False)
    bits = ours.embed(TEXTS, dtype="binary")
    assert bits.dtype == np.uint8
    assert (np.unpackbits(bits, axis=1)[:, : plain.shape[1]] == (plain > 0)).all()
    whole = ours.embed(TEXTS, dtype="int8")
    assert whole.dtype == np.int8
    assert (np.abs(whole).max(1) == 127).all()
    assert (whole == np.rint(plain.astype(np.float64) * (127 / np.abs(plain).max(1).astype(np.float64))[:, None])).all()
