"""Splits a place in a schema into facets: references followed, `allOf` merged, alternatives multiplied out.

A value has to satisfy every facet: the place itself, the target of its `$ref`, and each schema of its `allOf`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from referencing import Registry, Specification
from referencing.exceptions import CannotDetermineSpecification, Unresolvable
from referencing.jsonschema import DRAFT202012, UnknownDialect, specification_with

from qwen3cpu.text.schemas.dialects import IDENTIFIERS, LONGEST_REFERENCE, REFERENCES, Written, modern
from qwen3cpu.text.schemas.keywords import KEYWORDS, REFUSED
from qwen3cpu.text.schemas.reading import SchemaError, pointer_to, shown

MOST_ALTERNATIVES = 64
"""Most combinations of the branches of several `anyOf` at one place."""
LONGEST_CHAIN = 100
"""Most references in a row that lead to another reference."""
SILENT = frozenset(
    {*(keyword.name for keyword in KEYWORDS if keyword.treatment == "annotation"), "$ref", "allOf", "extends"}
)
"""Keywords that constrain no value by themselves."""
_CONSTRAINTS = frozenset(keyword.name for keyword in KEYWORDS) - SILENT
_SHAPES: dict[str, tuple[type, str]] = {
    "properties": (dict, "an object of schemas"),
    "patternProperties": (dict, "an object of schemas"),
    "prefixItems": (list, "a list of schemas"),
    "required": (list, "a list of names"),
    "enum": (list, "a list of values"),
    "pattern": (str, "a regular expression"),
}
_ALONE = {"if": ("then", "else")}


class Place(NamedTuple):
    """A schema inside the schema."""

    value: Any
    pointer: str
    resolver: Any


@dataclass(eq=False)
class Facet:
    """The keywords of one place, by their names in draft 2020-12."""

    place: Place
    words: dict[str, Written]
    choices: list[Choice] = field(default_factory=list)

    def get(self, name: str) -> Any:
        """The value of a keyword; None if it is missing."""
        return self.words[name].value if name in self.words else None

    def pointer(self, name: str) -> str:
        """The JSON pointer of a keyword."""
        return self.place.pointer + pointer_to(self.words[name].name)

    def below(self, name: str, *steps: object) -> Place:
        """The schema in a keyword."""
        value = self.words[name].value
        for step in steps:
            value = value[step]
        return Place(value, self.pointer(name) + pointer_to(*steps), self.place.resolver)

    def wrong(self, name: str, expected: str) -> SchemaError:
        """The error for a wrong value of a keyword."""
        return SchemaError(self.pointer(name), f"expected {expected}, found {shown(self.get(name))}")

    @property
    def constrains(self) -> bool:
        """Whether it limits values, apart from its choices."""
        return any(name in _CONSTRAINTS and name not in ("anyOf", "oneOf") for name in self.words)


@dataclass(eq=False)
class Choice:
    """An `anyOf` or `oneOf`."""

    keyword: str
    pointer: str
    branches: list[Place]


class Impossible(Exception):  # noqa: N818  # not an error: one of several branches may be impossible
    """No value satisfies the facets.

    Args:
        pointer: of the place that is impossible.
        reason: why.
    """

    def __init__(self, pointer: str, reason: str) -> None:
        super().__init__(f"{pointer}: {reason}" if pointer else reason)


class Reader:
    """Reads the places of one schema.

    Args:
        schema: the whole of it.
    """

    def __init__(self, schema: Any) -> None:
        specification = _specification(schema)
        _check_references(schema, IDENTIFIERS if specification.id_of({"id": "a"}) else IDENTIFIERS[:1])
        resource = specification.create_resource(schema)
        registry: Any = Registry().with_resource("", resource)
        self.root = Place(schema, "", registry.resolver_with_root(resource))
        self._known: dict[int, Facet] = {}
        self._pointers = {id(value): pointer for value, pointer in _places(schema, "")}

    def follows_reference(self, places: Iterable[Place]) -> bool:
        """Whether some of the places refer to others."""
        waiting = list(places)
        while waiting:
            facet = self._facet(waiting.pop())
            if facet is not None:
                if "$ref" in facet.words:
                    return True
                waiting += self._parts(facet)
        return False

    def facets(self, places: Iterable[Place]) -> list[Facet]:
        """All facets that a value has to satisfy. Raises Impossible if `false` is among them."""
        found: dict[int, Facet] = {}
        for place in places:
            self._collect(place, found, ())
        return list(found.values())

    def alternatives(self, facets: Sequence[Facet], unenforced: list[str]) -> list[list[Facet]]:
        """The facets with each combination of branches of their choices: lists without open choices.

        Args:
            facets: of one place.
            unenforced: gets the choices that would make too many combinations.
        """
        done: list[list[Facet]] = []
        waiting: list[tuple[list[Facet], frozenset[int], dict[int, frozenset[int]]]] = [(list(facets), frozenset(), {})]
        while waiting:
            current, taken, origins = waiting.pop(0)
            open_ = [(facet, choice) for facet in current for choice in facet.choices if id(choice) not in taken]
            if not open_:
                done.append(current)
                continue
            owner, choice = open_[0]
            taken |= {id(choice)}
            if len(done) + len(waiting) + len(choice.branches) > MOST_ALTERNATIVES:
                unenforced.append(choice.pointer)
                waiting.insert(0, (current, taken, origins))
                continue
            origin = origins.get(id(owner), frozenset()) | {id(owner)}
            grown = []
            for branch in choice.branches:
                try:
                    more = self.facets([branch])
                except Impossible:
                    continue
                if any(id(facet) in origin for facet in more):
                    continue  # the branch leads back to its own choice, so it adds nothing
                new = [facet for facet in more if facet not in current]
                grown.append(([*current, *new], taken, {**origins, **{id(facet): origin for facet in new}}))
            waiting[:0] = grown
        return done

    def _collect(self, place: Place, found: dict[int, Facet], path: tuple[int, ...]) -> None:
        if place.value is False:
            raise Impossible(place.pointer, "the schema is false")
        facet = self._facet(place)
        if facet is None or id(facet) in found:
            return
        if id(facet) in path:
            raise SchemaError(place.pointer, "expected a schema, found a reference that leads back to itself")
        if len(path) == LONGEST_CHAIN:
            raise SchemaError(place.pointer, f"expected at most {LONGEST_CHAIN} references in a row, found more")
        path = (*path, id(facet))
        if "$ref" in facet.words:
            self._collect(self._target(facet), found, path)
        for part in self._parts(facet):
            self._collect(part, found, path)
        found[id(facet)] = facet

    def _facet(self, place: Place) -> Facet | None:
        """The facet of the place itself; None: any value is allowed."""
        if place.value is None or isinstance(place.value, bool):
            return None
        if not isinstance(place.value, dict):
            raise SchemaError(place.pointer, f"expected a schema (an object or a boolean), found {shown(place.value)}")
        known = self._known.get(id(place.value))
        if known is None:
            resolver = place.resolver
            name = next((key for key in ("$id", "id") if isinstance(place.value.get(key), str)), None)
            if name is not None and place.pointer:
                resolver = resolver.in_subresource(_specification(place.value).create_resource(place.value))
            known = Facet(place._replace(resolver=resolver), modern(place.value))
            _check_refused(known)
            _check_shapes(known)
            for keyword in ("anyOf", "oneOf"):
                if keyword in known.words:
                    if known.get(keyword) == []:
                        raise known.wrong(keyword, "a list with a schema")
                    known.choices.append(Choice(keyword, known.pointer(keyword), _branches(known, keyword)))
            self._known[id(place.value)] = known
        return known

    def _parts(self, facet: Facet) -> list[Place]:
        return _branches(facet, "allOf") if "allOf" in facet.words else []

    def _target(self, facet: Facet) -> Place:
        reference = facet.get("$ref")
        if not isinstance(reference, str):
            raise facet.wrong("$ref", "text")
        try:
            found = facet.place.resolver.lookup(reference)
        except (Unresolvable, ValueError, TypeError, AttributeError, LookupError, RecursionError):
            raise SchemaError(
                facet.pointer("$ref"), f"expected a place in this schema, found {shown(reference)}; nothing is fetched"
            ) from None
        return Place(found.contents, self._pointers.get(id(found.contents), f"({reference})"), found.resolver)


def _branches(facet: Facet, keyword: str) -> list[Place]:
    value = facet.get(keyword)
    if not isinstance(value, list):
        raise facet.wrong(keyword, "a list of schemas")
    if facet.words[keyword].name == "extends" and not isinstance(facet.place.value["extends"], list):
        return [Place(value[0], facet.pointer(keyword), facet.place.resolver)]
    return [facet.below(keyword, index) for index in range(len(value))]


def _check_shapes(facet: Facet) -> None:
    """Refuse values of a wrong type for their keyword."""
    for name, (kind, expected) in _SHAPES.items():
        if name in facet.words and not isinstance(facet.get(name), kind):
            raise facet.wrong(name, expected)
    if not all(isinstance(name, str) for name in facet.get("required") or ()):
        raise facet.wrong("required", "a list of names")


def _check_refused(facet: Facet) -> None:
    """Refuse keywords that can be neither enforced nor loosened; a `not` of everything becomes impossible."""
    for name in REFUSED & facet.words.keys():
        value = facet.get(name)
        harmless = value in ({}, []) or (name == "if" and not any(each in facet.words for each in _ALONE["if"]))
        if name == "not" and value in ({}, True):
            facet.words["enum"] = Written("not", [])
            harmless = True
        if not harmless and not (name == "not" and value is False):
            raise SchemaError(facet.pointer(name), f"{facet.words[name].name!r} cannot be enforced; expected none")


def _check_references(schema: Any, identifiers: tuple[str, ...]) -> None:
    """Refuse long references, because the standard library caches the last ones that it has parsed."""
    for value, pointer in _places(schema, ""):
        for name in (*identifiers, *REFERENCES) if isinstance(value, dict) else ():
            text = value.get(name)
            if isinstance(text, str) and len(text) > LONGEST_REFERENCE:
                found = f"expected at most {LONGEST_REFERENCE} characters, found {len(text)}"
                raise SchemaError(pointer + pointer_to(name), found)


def _specification(schema: Any) -> Specification[Any]:
    """The rules for `$id` and anchors in the schema's draft."""
    dialect = schema.get("$schema") if isinstance(schema, dict) else None
    try:
        return specification_with(dialect) if isinstance(dialect, str) else DRAFT202012
    except (UnknownDialect, CannotDetermineSpecification):
        return DRAFT202012


def _places(value: Any, pointer: str) -> Iterable[tuple[Any, str]]:
    yield value, pointer
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _places(item, f"{pointer}{pointer_to(key)}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _places(item, f"{pointer}/{index}")
