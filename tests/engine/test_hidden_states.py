"""Hidden states from the forward pass: they are the head's input, and the same in every batch, bit for bit."""

import checkpoints
import numpy as np
import pytest
from kernel_calls import Product, prepare

import qwen3cpu
from qwen3cpu import _native
from qwen3cpu.checkpoint.tensors import QUANTS
from qwen3cpu.engine.batch import BatchItem
from qwen3cpu.errors import EngineError

SHAPE = {"hidden_size": 100, "intermediate_size": 171, "num_hidden_layers": 2, "vocab_size": 421}
LENGTH = 2 * _native.KV_BLOCK + 23


def ids(length, seed):
    return np.random.default_rng(seed).integers(SHAPE["vocab_size"], size=length).tolist()


PROMPT = ids(LENGTH, seed=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkpoints.write_checkpoint(tmp_path_factory.mktemp("hidden"), max_position_embeddings=512, **SHAPE).folder


@pytest.fixture(scope="module", params=QUANTS)
def model(request, folder):
    return qwen3cpu.load(folder, quant=request.param, threads=1, prefix_cache=0)


@pytest.fixture(scope="module")
def engine(model):
    return model.engine


def hidden(engine, tokens, *, sequence=None, wanted=None):
    wanted = range(len(tokens)) if wanted is None else wanted
    (rows,) = engine.forward([BatchItem(sequence or engine.new_sequence(), tokens, wanted, "hidden")])
    return rows


@pytest.fixture(scope="module")
def expected(engine):
    rows = hidden(engine, PROMPT)
    assert rows.dtype == np.float32
    assert rows.shape == (LENGTH, SHAPE["hidden_size"])
    assert np.isfinite(rows).all()
    assert len(np.unique(rows, axis=0)) == LENGTH
    return rows


@pytest.mark.parametrize("piece", [1, 7, 64, 100])
def test_the_cut_of_the_prompt(engine, expected, piece):
    sequence = engine.new_sequence()
    rows = [hidden(engine, PROMPT[start : start + piece], sequence=sequence) for start in range(0, LENGTH, piece)]
    assert (np.concatenate(rows) == expected).all()


@pytest.mark.parametrize("threads", [2, 4])
def test_the_number_of_threads(engine, expected, threads):
    engine.threads = threads
    assert (hidden(engine, PROMPT) == expected).all()
    engine.threads = 1


@pytest.mark.parametrize("wanted", [[LENGTH - 1], [0], [5, 63, 64, 128], []])
def test_which_are_wanted(engine, expected, wanted):
    assert (hidden(engine, PROMPT, wanted=wanted) == expected[wanted]).all()


@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("threads", [1, 3])
def test_neighbours_that_want_logits(model, engine, expected, place, threads):
    """Both kinds come back from one pass, each the same as alone."""
    engine.threads = threads
    others = [ids(length, seed=length) for length in (1, 30, 64, 90)]
    batch = [(engine.new_sequence(), other, [0, len(other) - 1][: len(other)]) for other in others]
    batch.insert(place, BatchItem(engine.new_sequence(), PROMPT, range(0, LENGTH, 3), "hidden"))
    rows = engine.forward(batch)
    assert (rows.pop(place) == expected[::3]).all()
    engine.threads = 1
    for logits, other in zip(rows, others, strict=True):
        assert (logits == model.logits(other)[[0, len(other) - 1][: len(other)]]).all()


def test_two_items_of_hidden_states(engine, expected):
    items = [
        BatchItem(engine.new_sequence(), PROMPT[:70], [3, 69], "hidden"),
        BatchItem(engine.new_sequence(), ids(5, seed=1), [], "hidden"),
        BatchItem(engine.new_sequence(), PROMPT, [100], "hidden"),
    ]
    first, none, last = engine.forward(items)
    assert (first == expected[[3, 69]]).all()
    assert none.shape == (0, SHAPE["hidden_size"])
    assert (last == expected[[100]]).all()


def test_the_sequence_goes_on_alike(model, engine):
    sequence = engine.new_sequence()
    hidden(engine, PROMPT[:-1], sequence=sequence)
    (logits,) = engine.forward([(sequence, PROMPT[-1:], [0])])
    assert (logits == model.logits(PROMPT)[-1]).all()


def test_the_head_makes_logits_of_them(model, engine, expected):
    matrices = model._checkpoint.matrices
    weight_format, rows, cols, packed = matrices["model.embed_tokens.weight"]
    product = Product(weight_format, packed, rows, cols, prepare(weight_format, np.array(expected)))
    logits = product.run(_native.chosen_isa())
    if weight_format == "q4x2":  # the first part also multiplies the rounding errors of the 8-bit inputs
        q, scale, _ = product.x
        left = expected - np.repeat(scale, 256, 1)[:, :cols] * q[:, :cols].astype(np.float32)
        first = packed[: _native.matrix_bytes("q4", rows, cols)]
        logits += Product("q4", first, rows, cols, prepare("q4", left)).run(_native.chosen_isa())
    assert (logits[:, :rows] == model.logits(PROMPT)).all()


def test_another_output_is_refused(engine):
    sequence = engine.new_sequence()
    with pytest.raises(EngineError, match="logits, top_logits or hidden, found embedding"):
        engine.native.forward([(sequence.native, np.zeros(1, np.int32), np.zeros(1, np.int32), "embedding")])
    assert sequence.length == 0
