"""An adapter as sequences and passes know it."""

from __future__ import annotations

from dataclasses import dataclass, field

from qwen3cpu import _native


@dataclass(frozen=True)
class Adapter:
    """What changes a model for some of its sequences.

    Two are the same when their contents are, whatever they are called. Whoever holds one may go on with it after its
    name has been taken away.
    """

    identity: str
    """Tells its contents from all others."""
    native: _native.Adapter | None = field(compare=False, default=None)
    """Its weights; None: it changes nothing."""
    nbytes: int = field(compare=False, default=0)
    """Bytes of its weights in memory."""

    def give_back(self) -> None:
        """Let go of the weights, and of the model's, which they hold. Its sequences can be used no more."""
        object.__setattr__(self, "native", None)


def identity_of(adapter: Adapter | None) -> str | None:
    """The identity of an adapter; None for the model alone."""
    return None if adapter is None else adapter.identity
