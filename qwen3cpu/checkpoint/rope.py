"""Rotary position embedding: its parameters in config.json, and the same frequencies (with YaRN) as in transformers.

Sources: RoFormer (arXiv 2104.09864), YaRN (arXiv 2309.00071), the conventions of transformers for config.json.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.json_fields import Fields, brief
from qwen3cpu.errors import ConfigError

LARGEST_FACTOR: Final = 65536.0

_COMMON_KEYS = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
_YARN_KEYS = {
    "factor",
    "original_max_position_embeddings",
    "beta_fast",
    "beta_slow",
    "attention_factor",
    "mscale",
    "mscale_all_dim",
    "truncate",
}


@dataclass(frozen=True)
class RopeScaling:
    """Parameters of YaRN.

    attention_factor: None: it is derived from the factor, and from both mscale values if both are given.
    """

    factor: float
    original_max_position_embeddings: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True

    def scale(self) -> float:
        """Return the factor on cos and sin."""
        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return _mscale(self.factor, self.mscale) / _mscale(self.factor, self.mscale_all_dim)
        return _mscale(self.factor, 1.0)


def _mscale(factor: float, mscale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0


def read_rope(config: Mapping[str, Any], source: str, max_position_embeddings: int) -> tuple[float, RopeScaling | None]:
    """Read (rope_theta, YaRN or None) from a config.json.

    Both spellings are read: rope_theta with rope_scaling, and rope_parameters of transformers 5. Raises ConfigError,
    also for a key that does not belong to the rope type, because ignoring it could silently change the model.
    """
    section = "rope_scaling" if config.get("rope_scaling") else "rope_parameters"
    given = config.get(section)
    if given is not None and not isinstance(given, dict):
        raise ConfigError(f"{source}: {section}: expected an object or null, found {brief(given)}")
    values: dict[str, Any] = dict(given or {})
    if "rope_theta" not in values and "rope_theta" in config:
        values["rope_theta"] = config["rope_theta"]
    fields = Fields(values, f"{source}: {section}" if given else source, ConfigError)
    theta = fields.number("rope_theta", 1.0, 1e12, above_low=True)
    partial = {
        **values,
        "partial_rotary_factor": values.get("partial_rotary_factor", config.get("partial_rotary_factor")),
    }
    if partial["partial_rotary_factor"] not in (None, 1):
        raise Fields(partial, fields.source, ConfigError).fail(
            "partial_rotary_factor", "1 (all of the head is rotated)"
        )
    kind = _rope_type(fields)
    known = _COMMON_KEYS | (_YARN_KEYS if kind == "yarn" else set())
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(
            f"{fields.source}: rope_type {kind!r}: expected the keys {sorted(known)}, found {unknown[0]!r}"
        )
    return theta, _read_yarn(fields, config, max_position_embeddings) if kind == "yarn" else None


def _rope_type(fields: Fields) -> str:
    kinds = {key: fields.text(key, None) for key in ("rope_type", "type")}
    named = {kind for kind in kinds.values() if kind is not None}
    if len(named) > 1:
        raise ConfigError(f"{fields.source}: expected one rope type, found {kinds}")
    kind = named.pop() if named else "default"
    if kind not in ("default", "yarn"):
        raise ConfigError(f"{fields.source}: rope_type: expected 'default' or 'yarn', found {kind!r}")
    return kind


def _read_yarn(fields: Fields, config: Mapping[str, Any], max_position_embeddings: int) -> RopeScaling:
    whole = Fields(config, fields.source, ConfigError)
    original = whole.optional_integer("original_max_position_embeddings", 1, 2**30)
    if original is None:
        original = fields.optional_integer("original_max_position_embeddings", 1, 2**30)
    if original is None:
        original = max_position_embeddings
    if "factor" not in fields.values:
        raise fields.fail("factor", "a number from 1 to 65536")
    factor = fields.optional_number("factor", 1.0, LARGEST_FACTOR)
    if factor is None:  # null, as in DeepSeek's configurations
        factor = max_position_embeddings / original
    # transformers treats a beta of zero as absent.
    beta_fast = fields.optional_number("beta_fast", 0.0, 1e6) or 32.0
    beta_slow = fields.optional_number("beta_slow", 0.0, 1e6) or 1.0
    if beta_fast < beta_slow:
        raise ConfigError(f"{fields.source}: expected beta_fast >= beta_slow, found {beta_fast:g} and {beta_slow:g}")
    return RopeScaling(
        factor=factor,
        original_max_position_embeddings=original,
        beta_fast=beta_fast,
        beta_slow=beta_slow,
        attention_factor=fields.optional_number("attention_factor", 0.0, 1e3, above_low=True),
        mscale=fields.optional_number("mscale", 0.0, 1e3),
        mscale_all_dim=fields.optional_number("mscale_all_dim", 0.0, 1e3),
        truncate=fields.boolean("truncate", True),
    )


def inverse_frequencies(head_dim: int, theta: float, scaling: RopeScaling | None) -> NDArray[np.float32]:
    """Return float32 [head_dim / 2], radians per position, rounded after the same steps as in transformers."""
    one = np.float32(1)
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    # The power in float64, rounded once. A float32 power would be an ulp off in places that differ between CPUs.
    powers = np.power(np.float64(np.float32(theta)), exponents.astype(np.float64)).astype(np.float32)
    extrapolated: NDArray[np.float32] = one / powers
    if scaling is None:
        return extrapolated
    interpolated = one / (np.float32(scaling.factor) * powers)
    low, high = _correction_range(head_dim, theta, scaling)
    if low == high:
        high += 0.001
    ramp = (np.arange(head_dim // 2, dtype=np.float32) - np.float32(low)) / np.float32(high - low)
    kept = one - np.clip(ramp, np.float32(0), one)
    blended: NDArray[np.float32] = interpolated * (one - kept) + extrapolated * kept
    return blended


def _correction_range(head_dim: int, theta: float, scaling: RopeScaling) -> tuple[float, float]:
    """Return the dimensions between which YaRN's ramp runs."""

    def dimension(rotations: float) -> float:
        turns = scaling.original_max_position_embeddings / (rotations * 2 * math.pi)
        return head_dim * math.log(turns) / (2 * math.log(theta))

    low, high = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    return max(low, 0), min(high, head_dim - 1)
