"""Objects that have been closed: they have no attributes, and every access raises an error that names the model."""

from __future__ import annotations

from typing import Final

from qwen3cpu.errors import ClosedModelError

_CLOSED: Final = "_closed"


def close_object(thing: object, name: str) -> None:
    """Remove all attributes of an object. Its class's `__getattr__` must use `missing`.

    Args:
        thing: an object without slots.
        name: the model's name, for messages.
    """
    held = vars(thing)
    held[_CLOSED] = name
    for attribute in tuple(held):
        if attribute != _CLOSED:
            held.pop(attribute, None)


def closed_name(thing: object) -> str | None:
    """Return the name under which an object was closed; None: it is open."""
    name: str | None = vars(thing).get(_CLOSED)
    return name


def missing(thing: object, attribute: str) -> Exception:
    """Return the error that `__getattr__` raises: ClosedModelError for a closed object, else AttributeError."""
    name = closed_name(thing)
    if name is None or attribute.startswith("__"):
        return AttributeError(f"{type(thing).__name__!r} object has no attribute {attribute!r}")
    return ClosedModelError(f"{name}: expected an open model, found one that was closed; load it again")
