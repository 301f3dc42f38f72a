"""Finds the fields of a body that ignored fields may be misspellings of."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from pydantic import BaseModel

INTERNAL = frozenset(("calls_as_function",))
"""Fields of bodies that clients do not send."""


def near_fields(body: BaseModel, ignored: Sequence[str]) -> dict[str, str]:
    """Ignored field -> the field beside it that has nearly the same name.

    Args:
        body: the body of a request.
        ignored: the places of ignored fields.
    """
    found = {}
    for place in ignored:
        where, dot, name = place.rpartition(".")
        known = _fields_at(body, where)
        near = [] if name in known else difflib.get_close_matches(name[:64], sorted(known), n=1, cutoff=0.8)
        if near:
            found[place] = f"{where}{dot}{near[0]}"
    return found


def _fields_at(body: BaseModel, where: str) -> frozenset[str]:
    """The fields of an object in a body. The object `options` has the fields of the body."""
    if where in ("", "options"):
        return frozenset(type(body).model_fields) - getattr(body, "left_out", frozenset()) - INTERNAL
    part: object = body
    for step in where.split("."):
        part = getattr(part, step) if isinstance(part, BaseModel) and step in type(part).model_fields else None
    return (
        frozenset(name.rstrip("_") for name in type(part).model_fields) if isinstance(part, BaseModel) else frozenset()
    )
