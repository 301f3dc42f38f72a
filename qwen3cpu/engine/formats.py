"""The formats of the KV cache, as the compiled engine lists them, and those of activations."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from qwen3cpu import _native
from qwen3cpu.arguments import check_choice

KvFormat: TypeAlias = Literal["f32", "f16", "q8"]
"""KV_FORMATS, for type checkers. A test compares the two."""
KV_FORMATS: Final[tuple[str, ...]] = tuple(_native.KV_FORMATS)
"""Allowed values of `kv=`."""
DEFAULT_KV: Final = "f16"
KV_BLOCK: Final[int] = _native.KV_BLOCK
"""Positions in one block of the KV cache."""

Activations: TypeAlias = Literal["int8", "int16"]
"""ACTIVATIONS, for type checkers. A test compares the two."""
ACTIVATIONS: Final = ("int8", "int16")
"""Allowed values of `activations=`."""
DEFAULT_ACTIVATIONS: Final = "int8"


def check_kv(kv: str) -> None:
    """Raise ArgumentError unless `kv` is one of KV_FORMATS."""
    check_choice("kv", kv, KV_FORMATS)


def check_activations(activations: str) -> None:
    """Raise ArgumentError unless `activations` is one of ACTIVATIONS."""
    check_choice("activations", activations, ACTIVATIONS)


def recorded_activations(activations: str) -> dict[str, str]:
    """Return the entry of a record of settings: none for the default, because older records have none."""
    return {} if activations == DEFAULT_ACTIVATIONS else {"activations": activations}
