"""The native engine refuses bad calls, and a refused call changes nothing."""

import numpy as np
import pytest
from native_models import all_logits, native_model, pack, pack_all, vectors
from random_models import config, random_ids, random_weights

from qwen3cpu import _native
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.errors import EngineError, Qwen3CpuError

CONTEXT = 100


@pytest.fixture(scope="module")
def cfg():
    return config("three_queries_bias", num_hidden_layers=1, tie_word_embeddings=False)


@pytest.fixture(scope="module")
def weights(cfg):
    return random_weights(cfg)


@pytest.fixture(scope="module")
def model(cfg, weights):
    return native_model(cfg, weights, context=CONTEXT)


def ints(*values):
    return np.array(values, dtype=np.int32)


VOCAB = 416

# name -> (tokens, wanted, part of the message), appended to a sequence that holds 90 of 100 positions
BAD_ITEMS = {
    "negative token": (ints(1, -1), ints(0), "from 0 to 415, found -1"),
    "token too large": (ints(1, VOCAB), ints(0), "from 0 to 415, found 416"),
    "no tokens": (ints(), ints(), "at least one token"),
    "context": (
        np.zeros(11, dtype=np.int32),
        ints(10),
        "90 positions held and 11 new tokens exceed the context of 100",
    ),
    "wanted beyond": (ints(1, 2), ints(2), "within the 2 new tokens, found 2"),
    "wanted negative": (ints(1, 2), ints(-1), "found -1"),
    "wanted twice": (ints(1, 2), ints(1, 1), "ascend"),
    "wanted descending": (ints(1, 2), ints(1, 0), "ascend"),
    "tokens of two dimensions": (ints(1, 2).reshape(1, 2), ints(0), "1-D"),
    "wanted of two dimensions": (ints(1, 2), ints(0).reshape(1, 1), "1-D"),
}


@pytest.mark.parametrize("bad", BAD_ITEMS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_refused_batch_changes_no_sequence(model, cfg, bad, place):
    tokens, wanted, message = BAD_ITEMS[bad]
    held = random_ids(cfg, 90)
    sequences = [model.new_sequence() for _ in range(3)]
    model.forward([(s, held, ints()) for s in sequences])
    forks = [s.fork() for s in sequences]
    blocks = [s.block_ids() for s in sequences]
    counters = model.counters()

    batch = [(s, ints(5, 6), ints(1)) for s in sequences]
    batch[place] = (sequences[place], tokens, wanted)
    with pytest.raises(EngineError, match=message):
        model.forward(batch)

    assert [s.length for s in sequences] == [90] * 3
    assert [s.block_ids() for s in sequences] == blocks
    assert model.kv_blocks_in_use() == 3 * 2
    assert model.counters() == counters
    logits = np.concatenate(model.forward([(s, ints(7), ints(0)) for s in (*sequences, *forks)]))
    assert (logits == all_logits(model, np.append(held, ints(7)))[-1]).all()
    for sequence in (*sequences, *forks):
        sequence.release()
    assert model.kv_blocks_in_use() == 0


def test_the_message_names_the_batch_item(model):
    sequences = [model.new_sequence() for _ in range(2)]
    with pytest.raises(EngineError, match="batch item 1"):
        model.forward([(sequences[0], ints(1), ints()), (sequences[1], ints(VOCAB), ints())])


def test_one_sequence_twice(model):
    sequence = model.new_sequence()
    with pytest.raises(EngineError, match="twice"):
        model.forward([(sequence, ints(1), ints(0)), (sequence, ints(2), ints(0))])
    assert sequence.length == 0


def test_a_sequence_of_another_model(model, cfg, weights):
    stranger = native_model(cfg, weights).new_sequence()
    with pytest.raises(EngineError, match="another model"):
        model.forward([(stranger, ints(1), ints(0))])
    assert stranger.length == 0


def test_an_item_without_wanted_offsets(model):
    with pytest.raises(TypeError):
        model.forward([(model.new_sequence(), ints(1))])


def test_an_unknown_output(model):
    sequence = model.new_sequence()
    with pytest.raises(EngineError, match="logits or hidden, found attention"):
        model.forward([(sequence, ints(1), ints(0), "attention")])
    assert sequence.length == 0


def test_an_item_without_a_sequence(model):
    with pytest.raises(EngineError, match="None"):
        model.forward([(None, ints(1), ints(0))])


@pytest.mark.parametrize("tokens", [np.array([1.5]), np.array([2**32 + 1]), np.array(["1"])])
def test_tokens_of_another_type_are_not_bent(model, tokens):
    sequence = model.new_sequence()
    with pytest.raises((TypeError, Qwen3CpuError)):
        model.forward([(sequence, tokens, ints(0))])
    assert sequence.length == 0


def build(cfg, weights, *, matrices=None, extra=None, kv="f32", threads=1, **changes):
    """A model from its parts, some of them changed."""
    native_config = {**ModelConfig.from_dict(cfg, "test").native(CONTEXT), **changes}
    packed = pack_all("f32", weights) if matrices is None else matrices
    return _native.Model(native_config, packed, vectors(weights) if extra is None else extra, kv, threads)


def test_every_missing_tensor_is_named(cfg, weights):
    required = [name for name in weights if not name.endswith(".bias") and name != "lm_head.weight"]
    assert len(required) == 1 + 11 + 1
    for name in required:
        rest = {key: value for key, value in weights.items() if key != name}
        with pytest.raises(EngineError, match=rf"{name}: missing.*{weights[name].shape[0]}"):
            build(cfg, rest)


def test_every_misshapen_tensor_is_named(cfg, weights):
    for name, values in weights.items():
        wrong = {**weights, name: np.zeros([n + 1 for n in values.shape], dtype=np.float32)}
        expected, found = (str([n + more for n in values.shape]) for more in (0, 1))
        with pytest.raises(EngineError) as error:
            build(cfg, wrong)
        assert name in str(error.value)
        assert expected in str(error.value)
        assert found in str(error.value)


def test_a_transposed_matrix_is_refused(cfg, weights):
    name = "model.layers.0.mlp.up_proj.weight"
    with pytest.raises(EngineError, match=name):
        build(cfg, {**weights, name: weights[name].T.copy()})


@pytest.mark.parametrize("change", ["short", "long", "unaligned", "format", "rows"])
def test_packed_bytes_are_checked(cfg, weights, change):
    name = "model.layers.0.self_attn.o_proj.weight"
    matrices = pack_all("f32", weights)
    weight_format, rows, cols, data = matrices[name]
    memory = np.zeros(data.size + 128, dtype=np.uint8)
    start = -memory.ctypes.data % 64
    entry, message = {
        "short": (
            (weight_format, rows, cols, data[:-64]),
            f"expected {data.size} packed bytes, found {data.size - 64}",
        ),
        "long": ((weight_format, rows, cols, memory[start : start + data.size + 64]), f"expected {data.size} packed"),
        "unaligned": ((weight_format, rows, cols, memory[start + 4 : start + 4 + data.size]), "aligned"),
        "format": (("q5", rows, cols, data), "q5"),
        "rows": ((weight_format, 0, cols, data), "positive"),
    }[change]
    with pytest.raises(EngineError, match=message):
        build(cfg, weights, matrices={**matrices, name: entry})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", 0),
        ("head_dim", 33),
        ("num_key_value_heads", 4),
        ("num_hidden_layers", -1),
        ("vocab_size", 1 << 30),
        ("context", 0),
        ("inv_freq", np.ones(3, dtype=np.float32)),
        ("rms_norm_eps", "small"),
    ],
)
def test_impossible_configurations_are_named(cfg, weights, key, value):
    with pytest.raises(EngineError, match="num_attention_heads" if key == "num_key_value_heads" else key):
        build(cfg, weights, **{key: value})


def test_a_missing_key_is_named(cfg, weights):
    native_config = ModelConfig.from_dict(cfg, "test").native(CONTEXT)
    for key in native_config:
        rest = {name: value for name, value in native_config.items() if name != key}
        with pytest.raises(EngineError, match=key):
            _native.Model(rest, pack_all("f32", weights), vectors(weights), "f32", 1)


def test_unknown_cache_format_and_thread_count(cfg, weights):
    with pytest.raises(EngineError, match="q3"):
        build(cfg, weights, kv="q3")
    with pytest.raises(EngineError, match="0"):
        build(cfg, weights, threads=0)


def test_packing_refuses_bad_numbers():
    for bad in (np.nan, np.inf, -np.inf):
        for weight_format in _native.FORMATS:
            weights = np.ones((9, 40), dtype=np.float32)
            weights[8, 37] = bad
            with pytest.raises(EngineError, match=r"8.*37"):
                pack(weight_format, weights)
