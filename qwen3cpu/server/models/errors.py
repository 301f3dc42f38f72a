"""Errors about the model that a request names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from qwen3cpu.errors import Qwen3CpuError

_MOST_NAMED = 10


class UnknownModelError(Qwen3CpuError):
    """A request names a model that the server does not have.

    Args:
        name: the name in the request.
        known: the names of the server's models.
    """

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = known
        near = difflib.get_close_matches(name[:200].lower(), [each.lower() for each in known], n=1)
        if len(known) > 1 and near:
            likely = next(each for each in known if each.lower() == near[0])
            hint = f"did you mean {likely!r}?"
        elif len(known) > 1:
            more = f" or {len(known) - _MOST_NAMED} others" if len(known) > _MOST_NAMED else ""
            hint = f"expected one of {', '.join(map(repr, known[:_MOST_NAMED]))}{more}"
        else:
            hint = f"expected {known[0]!r}" if known else "there is no model"
        super().__init__(f"the model {name[:200]!r} is not here; {hint}")


class ModelTooLargeError(Qwen3CpuError):
    """A model does not fit into the server's memory, not even alone."""


class ModelInUseError(Qwen3CpuError):
    """A model cannot be deleted while requests use it."""
