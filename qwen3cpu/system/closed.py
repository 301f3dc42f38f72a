"""Objects that have been closed: they hold nothing, and whatever is asked of them raises an error that names them."""

from __future__ import annotations

from typing import Final

from qwen3cpu.errors import ClosedModelError

_CLOSED: Final = "_closed"


def close_object(thing: object, name: str) -> None:
    """Let go of all that an object holds. Its class finds what is missing with `missing`.

    Args:
        thing: an object without slots.
        name: of the model, for messages.
    """
    held = vars(thing)
    held[_CLOSED] = name
    for attribute in tuple(held):
        if attribute != _CLOSED:
            held.pop(attribute, None)


def closed_name(thing: object) -> str | None:
    """The name under which an object was closed; None of an open one."""
    name: str | None = vars(thing).get(_CLOSED)
    return name


def missing(thing: object, attribute: str) -> Exception:
    """What `__getattr__` raises: a closed object has none of its attributes any more."""
    name = closed_name(thing)
    if name is None or attribute.startswith("__"):
        return AttributeError(f"{type(thing).__name__!r} object has no attribute {attribute!r}")
    return ClosedModelError(f"{name}: expected an open model, found one that was closed; load it again")
