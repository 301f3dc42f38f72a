"""config.json and generation_config.json: what is read, what is refused, and RoPE frequencies against transformers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from checkpoints import qwen3_config, transformers5_config

from qwen3cpu.checkpoint import json_fields
from qwen3cpu.checkpoint.config import GenerationDefaults, ModelConfig
from qwen3cpu.checkpoint.rope import RopeScaling
from qwen3cpu.errors import ConfigError

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


def read(**overrides: Any) -> ModelConfig:
    return ModelConfig.from_dict(qwen3_config(**overrides), "here")


def test_reads_the_released_shape() -> None:
    config = read(
        hidden_size=2048,
        intermediate_size=6144,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=151936,
        rope_theta=1000000,
        eos_token_id=[151645, 151643],
        bos_token_id=151643,
        max_position_embeddings=40960,
    )
    assert (config.hidden_size, config.head_dim, config.num_hidden_layers) == (2048, 128, 28)
    assert config.parameters() == 1_720_574_976  # 1.41 B in the layers and 0.31 B in the embedding
    assert config.eos_token_ids == (151645, 151643)
    assert config.rope_theta == 1e6
    assert config.rope_scaling is None
    assert config.rope_scale() == 1.0


def test_parameters_count_every_tensor() -> None:
    from checkpoints import tensor_shapes

    for tied in (True, False):
        for bias in (True, False):
            values = qwen3_config(tie_word_embeddings=tied, attention_bias=bias, num_hidden_layers=3)
            count = sum(math.prod(shape) for _, shape in tensor_shapes(values))
            assert ModelConfig.from_dict(values, "here").parameters() == count


def test_defaults_are_those_of_transformers() -> None:
    config = read(head_dim=..., attention_bias=..., tie_word_embeddings=..., hidden_act=..., num_key_value_heads=None)
    assert config.head_dim == 128
    assert not config.attention_bias
    assert not config.tie_word_embeddings
    assert config.num_key_value_heads == config.num_attention_heads
    assert read(eos_token_id=...).eos_token_ids == ()
    assert read(eos_token_id=7).eos_token_ids == (7,)


@pytest.mark.parametrize("scaling", [None, YARN, {**YARN, "type": "yarn", "rope_type": ...}], ids=str)
def test_both_spellings_say_the_same(scaling: dict[str, Any] | None) -> None:
    if scaling is not None:
        scaling = {key: value for key, value in scaling.items() if value is not ...}
    old = qwen3_config(rope_scaling=scaling, rope_theta=500000.0)
    config = ModelConfig.from_dict(old, "here")
    assert config == ModelConfig.from_dict(transformers5_config(old), "here")
    assert (config.rope_scaling is None) == (scaling is None)


def test_native_has_what_the_engine_takes() -> None:
    config = read(head_dim=64)
    native = config.native(321)
    assert native["context"] == 321
    assert native["inv_freq"].dtype == np.float32
    assert native["inv_freq"].shape == (32,)
    assert set(native) == {
        *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
        *("head_dim", "vocab_size", "tokens", "rms_norm_eps", "inv_freq", "rope_scale", "context", "int16_inputs"),
    }
    assert [config.native(8, tokens=n)["tokens"] for n in (5, 10**9)] == [5, config.vocab_size]


BAD_VALUES = [
    ("model_type", "llama", "'qwen3'"),
    ("model_type", ..., "no such key"),
    ("model_type", 3, "string"),
    ("architectures", ["Qwen3MoeForCausalLM"], "Qwen3ForCausalLM"),
    ("architectures", "Qwen3ForCausalLM", "a list"),
    ("hidden_act", "gelu", "'silu'"),
    ("use_sliding_window", True, "sliding-window"),
    ("use_sliding_window", "no", "true or false"),
    ("layer_types", ["full_attention", "sliding_attention"], "full_attention"),
    ("quantization_config", {"quant_method": "fp8"}, "fp8"),
    ("num_key_value_heads", 3, "multiple"),
    ("num_key_value_heads", ..., "no such key"),
    ("head_dim", 31, "even"),
    ("head_dim", None, "null"),
    ("rms_norm_eps", 0, "above 0"),
    ("rms_norm_eps", float("nan"), "nan"),
    ("rms_norm_eps", "1e-6", "'1e-6'"),
    ("rope_theta", 1.0, "above 1"),
    ("rope_theta", math.inf, "inf"),
    ("rope_theta", ..., "no such key"),
    ("tie_word_embeddings", 1, "true or false"),
    ("attention_bias", "false", "true or false"),
    ("eos_token_id", "2", "token id"),
    ("eos_token_id", [1, 2**31], "token id"),
    ("eos_token_id", 1.5, "token id"),
    ("eos_token_id", [True], "token id"),
    ("quantization", {"group_size": 64, "bits": 4}, "'mlx'"),
    ("rope_scaling", "yarn", "object"),
    ("rope_scaling", {"rope_type": "llama3", "factor": 8.0}, "'llama3'"),
    ("rope_scaling", {"rope_type": "dynamic", "factor": 8.0}, "'dynamic'"),
    ("rope_scaling", {"rope_type": "yarn", "type": "linear", "factor": 8.0}, "one rope type"),
    ("rope_scaling", {"rope_type": "yarn"}, "factor"),
    ("rope_scaling", {**YARN, "factor": 0.5}, "factor"),
    ("rope_scaling", {**YARN, "factor": "4"}, "'4'"),
    ("rope_scaling", {**YARN, "factor": math.nan}, "nan"),
    ("rope_scaling", {**YARN, "original_max_position_embeddings": 0}, "original_max_position_embeddings"),
    ("rope_scaling", {**YARN, "original_max_position_embeddings": 32768.0}, "original_max_position_embeddings"),
    ("rope_scaling", {**YARN, "beta_fast": 1, "beta_slow": 2}, "beta_fast"),
    ("rope_scaling", {**YARN, "attention_factor": 0}, "attention_factor"),
    ("rope_scaling", {**YARN, "truncate": 1}, "truncate"),
    ("rope_scaling", {**YARN, "long_factor": [1.0]}, "'long_factor'"),
    ("rope_scaling", {**YARN, "partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    ("rope_scaling", {"full_attention": YARN}, "'full_attention'"),
    ("partial_rotary_factor", 0.25, "partial_rotary_factor"),
]


@pytest.mark.parametrize(("key", "value", "mentions"), BAD_VALUES, ids=lambda value: str(value)[:40])
def test_refuses_with_source_key_and_value(key: str, value: Any, mentions: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**{key: value})
    message = str(caught.value)
    assert message.startswith("here: ")
    assert mentions in message
    assert key in message


SIZES = [
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("head_dim", "vocab_size", "max_position_embeddings"),
]


@pytest.mark.parametrize("key", SIZES)
def test_refuses_impossible_sizes(key: str) -> None:
    for value in (0, -1, 1 << 31, 1 << 63, 10**400, 2.0, "64", True, [64], math.nan):
        with pytest.raises(ConfigError, match=key) as caught:
            read(**{key: value})
        assert len(str(caught.value)) < 300, f"{value!s:.40}"


@pytest.mark.parametrize("key", sorted(set(SIZES) - {"head_dim"}))
def test_refuses_a_missing_size(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}: expected an integer .*found no such key"):
        read(**{key: ...})


def test_refuses_sizes_that_are_only_together_too_large() -> None:
    with pytest.raises(ConfigError, match="parameters"):
        read(hidden_size=1 << 17, intermediate_size=1 << 20, num_hidden_layers=1024, vocab_size=1 << 24)
    with pytest.raises(ConfigError, match="head_dim"):
        read(num_attention_heads=4096, num_key_value_heads=4096, head_dim=1024)


def test_default_frequencies_are_the_definition_rounded() -> None:
    config = read(head_dim=128, rope_theta=1000000)
    exact = [1e6 ** (-2 * i / 128) for i in range(64)]
    # Three roundings to float32 (exponent, power, quotient); that of the exponent grows with ln(theta) * exponent.
    bound = (2 + math.log(1e6)) * 2.0**-24
    np.testing.assert_allclose(config.inv_freq(), exact, rtol=bound)


def test_yarn_keeps_fast_pairs_and_interpolates_slow_ones() -> None:
    plain = read(head_dim=128).inv_freq()
    config = read(head_dim=128, rope_scaling=YARN)
    yarn = config.inv_freq()
    assert (yarn[:24] == plain[:24]).all()
    np.testing.assert_array_equal(yarn[40:], plain[40:] / np.float32(4))
    assert (yarn[24:40] < plain[24:40]).all()
    assert (yarn[24:40] > plain[24:40] / 4).all()
    assert config.rope_scale() == 0.1 * math.log(4) + 1


YARN_VARIANTS: list[dict[str, Any]] = [
    YARN,
    {"type": "yarn", "factor": 2, "original_max_position_embeddings": 4096},
    {"rope_type": "yarn", "factor": 1.0},
    {"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 128},
    {**YARN, "beta_fast": 64, "beta_slow": 2},
    {**YARN, "beta_fast": 0, "beta_slow": None},
    {**YARN, "attention_factor": 0.9},
    {**YARN, "mscale": 1.0, "mscale_all_dim": 0.5},
    {**YARN, "mscale": 0.7},
    {**YARN, "mscale": 0.707, "mscale_all_dim": 0.0},
    {**YARN, "truncate": False},
    {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 16},
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("scaling", [None, *YARN_VARIANTS], ids=str)
@pytest.mark.parametrize("transformers5", [False, True])
def test_frequencies_are_those_of_transformers(scaling: dict[str, Any] | None, transformers5: bool) -> None:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

    equal = []
    for dim, theta in ((128, 1000000), (64, 10000.0), (96, 5e6), (10, 1234.5)):
        values = qwen3_config(head_dim=dim, rope_theta=theta, rope_scaling=scaling)
        values = transformers5_config(values) if transformers5 else values
        config = ModelConfig.from_dict(values, "here")
        reference = Qwen3RotaryEmbedding(transformers.Qwen3Config(**values))
        theirs = reference.inv_freq.numpy()
        ours = config.inv_freq()
        assert config.rope_scale() == reference.attention_scaling
        # Their float32 power is within one ulp and depends on the CPU. Ours is rounded once, so the two are at most
        # neighbours. One ulp becomes at most two in the reciprocal. YaRN's product and sum can each add another.
        np.testing.assert_array_max_ulp(ours, theirs, maxulp=2 if scaling is None else 4)
        equal.append(ours == theirs)
    # All other operations are the same in float32 on both sides, so most values have the same bits.
    assert np.mean(np.concatenate(equal)) > 0.5


def test_rope_scaling_reads_every_key() -> None:
    assert read(
        rope_scaling={
            **YARN,
            "beta_fast": 30,
            "beta_slow": 2,
            "attention_factor": 1.5,
            "mscale": 1,
            "mscale_all_dim": 2,
            "truncate": False,
        }
    ).rope_scaling == RopeScaling(4.0, 32768, 30.0, 2.0, 1.5, 1.0, 2.0, False)


def test_generation_defaults() -> None:
    defaults = GenerationDefaults.from_dict(
        {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "eos_token_id": [1, 2], "unknown": {}},
        "here",
    )
    assert (defaults.do_sample, defaults.temperature, defaults.top_k, defaults.top_p) == (True, 0.6, 20, 0.95)
    assert defaults.eos_token_ids == (1, 2)
    assert (defaults.min_p, defaults.repetition_penalty) == (None, None)
    assert GenerationDefaults.from_dict({}, "here") == GenerationDefaults()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", "hot"),
        ("top_p", 0),
        ("top_p", 1.5),
        ("top_k", 2.5),
        ("min_p", 2),
        ("repetition_penalty", 0),
        ("do_sample", "yes"),
        ("eos_token_id", 1.5),
        ("max_new_tokens", 0),
    ],
)
def test_generation_defaults_refused(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"here: {key}: expected"):
        GenerationDefaults.from_dict({key: value}, "here")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((f"{name}_token_id", value) for name in ("bos", "pad", "sep", "decoder_start") for value in (-1, [1], "x")),
        ("eos_token_id", -1),
        ("eos_token_id", []),
        ("eos_token_id", [None, -1]),
        ("torch_dtype", 16),
        ("transformers_version", None),
        ("hidden_act", "swish"),
        ("architectures", ["Qwen3Model"]),
        ("sliding_window", "none"),
        ("max_window_layers", -1),
        ("initializer_range", "small"),
        ("_name_or_path", 7),
        ("vision_config", []),
    ],
    ids=str,
)
def test_what_changes_nothing_is_read_over(key: str, value: Any) -> None:
    assert replace(read(**{key: value}), eos_token_ids=()) == replace(read(), eos_token_ids=())
    assert read(eos_token_id=[1.0, -1, None, 2]).eos_token_ids == (1, 2)


@pytest.mark.parametrize(
    ("key", "value", "meaning"),
    [
        ("top_k", -1, 0),
        ("top_k", 20.0, 20),
        ("max_new_tokens", -1, None),
        ("max_new_tokens", 100.0, 100),
        ("eos_token_ids", None, None),
    ],
)
def test_spellings_of_generation_settings(key: str, value: Any, meaning: Any) -> None:
    assert getattr(GenerationDefaults.from_dict({key: value}, "here"), key) == meaning


@pytest.mark.parametrize("key", ["pad_token_id", "bos_token_id", "num_beams", "cache_implementation", "stop_strings"])
def test_generation_settings_that_are_not_read(key: str) -> None:
    for value in (-1, [1], "x", 1e9, None):
        found = GenerationDefaults.from_dict({key: value, "temperature": 0.5}, "here")
        assert found == GenerationDefaults(temperature=0.5), value


def test_repeated_keys_are_found_in_linear_time() -> None:
    """Counts comparisons of names instead of time. Each name is hashed, and compared only with equal ones."""

    class Counted(str):
        compared = 0

        def __eq__(self, other: object) -> bool:
            Counted.compared += 1
            return str.__eq__(self, str(other))

        __hash__ = str.__hash__

    names = [Counted(f"key {number}") for number in range(5000)]
    with pytest.raises(ValueError, match="'key 4999' appears more than once"):
        json_fields.no_repeated_keys([(name, 0) for name in (*names, Counted("key 4999"))])
    assert Counted.compared < 3 * len(names)
