"""An adapter, as sequences and forward passes use it."""

from __future__ import annotations

from dataclasses import dataclass, field

from qwen3cpu import _native


@dataclass(frozen=True)
class Adapter:
    """Weights that change a model for some of its sequences.

    Two adapters are equal when their contents are, whatever their names. One that has been unloaded can still be used
    by whoever holds it.
    """

    identity: str
    """SHA-256 of its files, 64 hex digits."""
    native: _native.Adapter | None = field(compare=False, default=None)
    """Its weights; None: it changes nothing."""
    nbytes: int = field(compare=False, default=0)
    """Bytes of its weights in memory."""

    def give_back(self) -> None:
        """Release the weights, and the model's weights, which they keep alive. Its sequences cannot be used again."""
        object.__setattr__(self, "native", None)


def identity_of(adapter: Adapter | None) -> str | None:
    """The identity of an adapter; None for the model alone."""
    return None if adapter is None else adapter.identity
