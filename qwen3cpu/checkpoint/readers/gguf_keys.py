"""Checks the metadata of a GGUF file that changes what a model computes: it is honoured, or refused by name.

The meaning of each key is llama.cpp's (src/llama-arch.cpp, src/llama-model.cpp, src/llama-context.cpp).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from qwen3cpu.checkpoint.json_fields import Fields

_logger = logging.getLogger("qwen3cpu")

DENSE: Final = "qwen3"
WITH_EXPERTS: Final = "qwen3moe"
_ARCHITECTURES: Final = (DENSE, WITH_EXPERTS)


def architecture(fields: Fields) -> str:
    """Return the architecture of a file, which is the prefix of its keys. Raises ConfigError for an unsupported one."""
    found = fields.text("general.architecture")
    if found not in _ARCHITECTURES:
        raise fields.fail("general.architecture", "'qwen3' (the dense Qwen3 models) or 'qwen3moe' (those with experts)")
    return found


_ROPE_KEYS: Final = {
    "factor": "factor",
    "original_context_length": "original_max_position_embeddings",
    "yarn_beta_fast": "beta_fast",
    "yarn_beta_slow": "beta_slow",
}
_READ: Final = {
    *("block_count", "context_length", "embedding_length", "feed_forward_length"),
    *("attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length"),
    *("expert_count", "expert_used_count", "expert_feed_forward_length"),
    *("attention.layer_norm_rms_epsilon", "rope.freq_base", "rope.scaling.type", "rope.scaling.attn_factor"),
    *(f"rope.scaling.{key}" for key in _ROPE_KEYS),
}
"""Keys that gguf_texts.py and `rope_scaling` read."""
_HARMLESS: Final = {
    "vocab_size",
    "pooling_type",
    "rope.scaling.finetuned",
    "tensor_data_layout",
    "classifier.output_labels",
}
"""Keys that describe a model and do not change what it computes."""
_STRICT: Final = ("rope.", "attention.")
"""Unknown keys with these prefixes are refused. Other unknown keys are named in the log."""

Neutral = Callable[[Any, Fields, int], bool]
"""neutral(value, fields, head_dim) tells whether a value has no effect."""


def _equal(*values: float) -> Neutral:
    return lambda value, fields, head_dim: value in values


def _no_window(value: Any, fields: Fields, head_dim: int) -> bool:
    """A window as long as the context hides nothing."""
    longest = fields.values.get(f"{architecture(fields)}.context_length")
    return value == 0 or (isinstance(value, int) and isinstance(longest, int) and value >= longest)


def _usual_scale(value: Any, fields: Fields, head_dim: int) -> bool:
    return value == 0 or (isinstance(value, float) and math.isclose(value, head_dim**-0.5, rel_tol=1e-6))


_MUST_BE: Final[dict[str, tuple[Neutral, str]]] = {
    "rope.dimension_count": (
        lambda value, fields, head_dim: value == head_dim,
        "the size of a head (all of it is rotated)",
    ),
    "rope.scale_linear": (_equal(0, 1), "1 (linear scaling is not supported)"),
    "rope.scaling.yarn_ext_factor": (_equal(-1, 1), "1"),
    "rope.scaling.yarn_attn_factor": (_equal(-1, 1), "1; rope.scaling.attn_factor is understood"),
    "rope.scaling.yarn_log_multiplier": (_equal(0), "0"),
    "attention.sliding_window": (_no_window, "none (sliding-window attention is not supported)"),
    "attention.causal": (_equal(True), "true"),
    "attention.scale": (_usual_scale, "1 / sqrt(size of a head)"),
    "attention.clamp_kqv": (_equal(0), "0"),
    "attention.max_alibi_bias": (_equal(0), "0"),
    "use_parallel_residual": (_equal(False), "false"),
    "logit_scale": (_equal(0, 1), "1"),
    "residual_scale": (_equal(0, 1), "1"),
    "embedding_scale": (_equal(0, 1), "1"),
    "attn_logit_softcapping": (_equal(0), "0"),
    "final_logit_softcapping": (_equal(0), "0"),
    "expert_shared_count": (_equal(0), "0 (experts that all tokens go through are not supported)"),
    "expert_shared_feed_forward_length": (_equal(0), "0 (experts that all tokens go through are not supported)"),
    "expert_weights_norm": (_equal(True), "true"),
    "expert_weights_scale": (_equal(0, 1), "1"),
    "expert_gating_func": (_equal(0, 1), "1 (softmax)"),
    "expert_group_count": (_equal(0, 1), "1 (groups of experts are not supported)"),
    "leading_dense_block_count": (_equal(0), "0"),
}
_NO_EXPERTS: Final = (_equal(0), "0 (general.architecture says 'qwen3', the dense Qwen3 models)")


def check_keys(fields: Fields, head_dim: int) -> None:
    """Raise ConfigError, which names the key, for metadata that changes the model in a way that is not supported."""
    of_model = architecture(fields)
    prefix = f"{of_model}."
    known = dict(_MUST_BE)
    if of_model != WITH_EXPERTS:
        known |= dict.fromkeys(("expert_count", "expert_used_count"), _NO_EXPERTS)
    for key, value in fields.values.items():
        if not key.startswith(prefix):
            continue
        name = key.removeprefix(prefix)
        if name in known:
            neutral, expected = known[name]
            if not neutral(value, fields, head_dim):
                raise fields.fail(key, expected)
        elif name not in _READ and name not in _HARMLESS:
            if name.startswith(_STRICT):
                raise fields.fail(key, "no such key: what it changes is not known")
            _logger.warning("%s: ignoring the key %s, which is not known", fields.source, key)


def rope_scaling(fields: Fields) -> dict[str, Any] | None:
    """Make rope_scaling of config.json from keys such as qwen3.rope.scaling.factor; None: no scaling."""
    prefix = f"{architecture(fields)}.rope.scaling."
    kind = fields.text(prefix + "type", None)
    factor = fields.optional_number(prefix + "factor", 0.0, 65536.0)
    attention = fields.optional_number(prefix + "attn_factor", 0.0, 1e3)
    if kind in (None, "none"):
        # Without a type llama.cpp scales linearly.
        if kind is None and factor not in (None, 0.0, 1.0):
            raise fields.fail(prefix + "factor", "1, as rope.scaling.type is missing (linear scaling is not supported)")
        if attention not in (None, 0.0, 1.0):
            raise fields.fail(prefix + "attn_factor", "1 without YaRN")
        return None
    known = {
        ours: fields.values[prefix + theirs] for theirs, ours in _ROPE_KEYS.items() if prefix + theirs in fields.values
    }
    if kind == "yarn" and attention and factor and factor >= 1:
        # llama.cpp multiplies its own factor by this one; attention_factor in config.json is the product.
        known["attention_factor"] = attention * (0.1 * math.log(factor) + 1.0)
    return {"rope_type": kind, **known}


_SAMPLING_PREFIX: Final = "general.sampling."
_SAMPLING_KEYS: Final = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
}
_SAMPLING_PARTS: Final = ("xtc_threshold", "mirostat_tau", "mirostat_eta")
"""Settings that have no effect without xtc_probability and mirostat."""


def sampling_defaults(metadata: dict[str, Any], source: str) -> dict[str, Any]:
    """Make generation_config.json from general.sampling.*. The log names settings that are not supported."""
    found: dict[str, Any] = {}
    for key, value in metadata.items():
        name = key.removeprefix(_SAMPLING_PREFIX)
        if name == key or name in _SAMPLING_PARTS:
            continue
        if name in _SAMPLING_KEYS:
            found[_SAMPLING_KEYS[name]] = _shortest(value)
        elif value != 0:  # xtc_probability and mirostat are off then
            _logger.warning("%s: ignoring %s = %r, which is not supported", source, key, value)
    return found


def _shortest(value: object) -> object:
    """Return the shortest decimal number that rounds to this float32: 0.6 instead of 0.6000000238418579."""
    return float(str(np.float32(value))) if isinstance(value, float) else value
