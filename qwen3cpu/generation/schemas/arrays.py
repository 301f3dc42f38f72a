"""Arrays: which items all facets allow, and how many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qwen3cpu.generation.schemas.facets import Facet, Place
from qwen3cpu.generation.schemas.leaves import bounds_of

Build = Callable[[Sequence[Place]], Any]


def array_words(facets: Sequence[Facet], build: Build, unenforced: list[str]) -> dict[str, Any]:
    """The keywords of an array for the engine.

    Args:
        facets: that the array has to satisfy.
        build: makes the schema of values that satisfy several places.
        unenforced: gets the places that are not enforced.
    """
    low, high = bounds_of(facets, "minItems", "maxItems", unenforced)
    prefix = [
        build([place for facet in facets for place in _at(facet, index)])
        for index in range(max((len(facet.get("prefixItems") or ()) for facet in facets), default=0))
    ]
    rest = build([place for facet in facets for place in _rest(facet)])
    unique = [facet for facet in facets if facet.get("uniqueItems") is True]
    unenforced += [facet.pointer("uniqueItems") for facet in unique]
    if unique and not prefix and isinstance(rest, dict) and "enum" in rest:
        high = len(rest["enum"]) if high is None else min(high, len(rest["enum"]))
    words: dict[str, Any] = {"items": rest} if rest is not True else {}
    if prefix:
        words["prefixItems"] = prefix
    if low:
        words["minItems"] = low
    if high is not None:
        words["maxItems"] = high
    return words


def _at(facet: Facet, index: int) -> list[Place]:
    if index < len(facet.get("prefixItems") or ()):
        return [facet.below("prefixItems", index)]
    return _rest(facet)


def _rest(facet: Facet) -> list[Place]:
    return [facet.below(name) for name in ("items", "unevaluatedItems") if name in facet.words][:1]
