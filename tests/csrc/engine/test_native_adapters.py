"""`_native.Adapter`: it refuses parts that do not fit the model, and changes exactly what its parts define."""

import numpy as np
import pytest
from native_models import native_model, pack, pack_all
from random_models import config, random_weights

from qwen3cpu import _native
from qwen3cpu.errors import EngineError

Q, DOWN = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.down_proj.weight"
NORM, EMBEDDING, HEAD = "model.norm.weight", "model.embed_tokens.weight", "lm_head.weight"
IDS = np.arange(20, dtype=np.int32)


@pytest.fixture(scope="module")
def parts():
    # The head of a tied model has the name of the embedding. Here they are two matrices.
    shape = config("four_queries_deep", num_hidden_layers=2, tie_word_embeddings=False)
    return shape, random_weights(shape)


@pytest.fixture
def model(parts):
    return native_model(*parts)


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32) / 8


def forward(model, adapter=None, wanted=IDS):
    (rows,) = model.forward([(model.new_sequence(), IDS, wanted, "logits", adapter, 1)])
    return rows


def test_none_is_the_model_alone(model):
    (expected,) = model.forward([(model.new_sequence(), IDS, IDS)])
    assert np.array_equal(forward(model), expected)
    assert np.array_equal(forward(model, _native.Adapter(model, [], {}, {})), expected)


def test_whole_tensors_are_those_of_another_model(parts, model):
    shape, weights = parts
    other = {**weights, Q: random(*weights[Q].shape), NORM: 1 + random(*weights[NORM].shape)}
    other[EMBEDDING] = random(*weights[EMBEDDING].shape)
    changes = {Q: (None, 0, None, None, pack("f32", other[Q]))}
    embedding = (None, None, None, pack("f32", other[EMBEDDING]))
    adapter = _native.Adapter(model, [], changes, {NORM: other[NORM]}, embedding)
    assert np.array_equal(forward(model, adapter), forward(native_model(shape, other)))


def test_a_factor_scales_rows(parts, model):
    """With powers of two, for which scaling is exact."""
    shape, weights = parts
    factor = np.exp2(np.random.default_rng(1).integers(-2, 3, len(weights[Q]))).astype(np.float32)
    a, b = (
        pack("f32", np.zeros((8, weights[Q].shape[1]), np.float32)),
        pack("f32", np.zeros((len(factor), 3), np.float32)),
    )
    adapter = _native.Adapter(model, [a], {Q: (0, 0, b, factor, None)}, {})
    other = {**weights, Q: weights[Q] * factor[:, None]}
    assert np.array_equal(forward(model, adapter), forward(native_model(shape, other)))


def test_a_factor_scales_every_term_of_a_head_in_two_parts(parts):
    shape, weights = parts
    model = native_model(shape, weights, matrices={**pack_all("f32", weights), HEAD: pack("q4x2", weights[HEAD])})
    factor = np.exp2(np.random.default_rng(1).integers(-2, 3, len(weights[HEAD]))).astype(np.float32)
    a = pack("f32", np.zeros((8, weights[HEAD].shape[1]), np.float32))
    b = pack("f32", np.zeros((len(factor), 3), np.float32))
    adapter = _native.Adapter(model, [a], {HEAD: (0, 0, b, factor, None)}, {})
    assert np.array_equal(forward(model, adapter), forward(model) * factor)


def test_neighbours_with_and_without(model, parts):
    """Tokens of several adapters in one pass, in any order, with a part of the rows wanted."""
    weights = parts[1]
    rows, cols = weights[Q].shape
    adapters = [None]
    for seed in (1, 2):
        a, b = pack("bf16", random(8, cols, seed=seed)), pack("bf16", random(rows, 5, seed=seed + 9))
        whole = (None, 0, None, None, pack("f32", random(*weights[DOWN].shape, seed=seed)))
        adapters.append(_native.Adapter(model, [a], {Q: (0, 0, b, None, None), DOWN: whole}, {}))
    expected = [forward(model, adapter) for adapter in adapters]
    assert len({each.tobytes() for each in expected}) == 3
    order = [0, 1, 1, 0, 2, 1, 2, 2, 0]
    for wanted in (IDS, IDS[[3, 19]], IDS[:0]):
        batch = [(model.new_sequence(), IDS, wanted, "logits", adapters[each], 1) for each in order]
        for each, found in zip(order, model.forward(batch), strict=True):
            assert np.array_equal(found, expected[each][wanted])


@pytest.mark.parametrize("form", ["f32", "q8", "q4"])
def test_norms_of_changed_rows(form):
    w, a, b = random(37, 96), random(5, 96, seed=1), random(37, 5, seed=2)
    packed = pack(form, w)
    stored = _native.unpack(form, packed.data, 37, 96, 1)
    found = _native.changed_norms(packed, pack("f32", np.ascontiguousarray(a.T)), b, 1)
    expected = np.sqrt(((stored + b.astype(np.float64) @ a.astype(np.float64)) ** 2).sum(1))
    assert np.abs(found / expected - 1).max() < 1e-6
    for threads in (2, 5):
        again = _native.changed_norms(packed, pack("f32", np.ascontiguousarray(a.T)), b, threads)
        assert np.array_equal(found, again)


def refusals(weights):
    rows, cols = weights[Q].shape
    a, b = pack("f32", random(8, cols)), pack("f32", random(rows, 4))
    vocab, hidden = weights[EMBEDDING].shape
    tall, wide = pack("f32", random(vocab, 4)), pack("f32", random(hidden, 4))
    return {
        "expected a matrix of the model, found nobody": ([a], {"nobody": (0, 0, b, None, None)}, {}),
        "expected a vector of the model, found nobody": ([], {}, {"nobody": random(4)}),
        "expected b and a reduction from 0 to 0, found 1": ([a], {Q: (1, 0, b, None, None)}, {}),
        "expected b and a reduction from 0 to 0, found 0": ([a], {Q: (0, 0, None, None, None)}, {}),
        "a reduction of": ([pack("f32", random(8, cols + 1))], {Q: (0, 0, b, None, None)}, {}),
        "b of ": ([a], {Q: (0, 0, pack("f32", random(rows + 1, 4)), None, None)}, {}),
        "expected rows within those of its reduction": ([a], {Q: (0, 8, b, None, None)}, {}),
        "q_proj.weight: expected rows within": ([a], {Q: (0, 4, b, None, None)}, {}),
        "expected f32 or bf16": ([a], {Q: (0, 0, pack("q8", random(rows, 4)), None, None)}, {}),
        "a reduction: expected f32 or bf16": ([pack("q8", random(8, cols))], {}, {}),
        "expected shape .*,.,? found": ([a], {Q: (0, 0, b, random(rows + 1), None)}, {}),
        "expected shape": ([], {Q: (None, 0, None, None, pack("f32", random(rows, cols + 1)))}, {}),
        "expected a format with the inputs": ([], {Q: (None, 0, None, None, pack("q8", random(rows, cols)))}, {}),
        "norm.weight: expected shape": ([], {}, {NORM: random(3)}),
        "the embedding: expected shape": ([], {}, {}, (None, None, None, a)),
        "the embedding: expected a of": ([], {}, {}, (wide, wide, None, None)),
        "the embedding: expected b of shape": ([], {}, {}, (tall, tall, None, None)),
        "a rank of at most 256": (
            [],
            {},
            {},
            (pack("f32", random(vocab, 257)), pack("f32", random(hidden, 257)), None, None),
        ),
    }


def test_what_does_not_fit_is_refused(model, parts):
    for words, arguments in refusals(parts[1]).items():
        with pytest.raises(EngineError, match=words):
            _native.Adapter(model, *arguments)


def test_an_adapter_of_another_model_is_refused(model, parts):
    stranger = _native.Adapter(native_model(*parts), [], {}, {})
    with pytest.raises(EngineError, match="an adapter belongs to another model"):
        forward(model, stranger)


def test_norms_of_arrays_that_do_not_fit():
    w, a = pack("f32", random(9, 32)), pack("f32", random(32, 4))
    for arguments in (
        (w, a, random(9, 5), 1),
        (w, w, random(9, 4), 1),
        (w, a, random(8, 4), 1),
        (w, a, random(9, 4), 0),
    ):
        with pytest.raises(EngineError, match="changed_norms: expected"):
            _native.changed_norms(*arguments)
