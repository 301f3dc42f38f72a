"""Makes the schema for the grammar: closed objects, its own references, only what the engine can enforce.

Every value that follows the new schema follows the original, except for the places that are listed as not enforced.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qwen3cpu.generation.schemas.arrays import array_words
from qwen3cpu.generation.schemas.facets import Choice, Facet, Impossible, Place, Reader
from qwen3cpu.generation.schemas.leaves import (
    Room,
    listed_values,
    number_words,
    place_of,
    same,
    string_words,
)
from qwen3cpu.generation.schemas.objects import Objects
from qwen3cpu.generation.schemas.pruning import any_of, depth, pruned
from qwen3cpu.text.schemas.dialects import TYPES
from qwen3cpu.text.schemas.keywords import MOST_MULTIPLES
from qwen3cpu.text.schemas.reading import SchemaError, check_depth, shown

MOST_PLACES = 10_000
"""Most places of the schema that is made."""
MOST_LEVELS = 12_000
"""Most levels of nesting of all definitions together, which the engine may have open at once."""
MOST_UNENFORCED = 64
"""Most places that are listed as not enforced."""
_MEANT = {
    "object": (
        "properties", "required", "additionalProperties", "patternProperties", "propertyNames", "minProperties",
        "maxProperties", "unevaluatedProperties",
    ),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "unevaluatedItems"),
    "string": ("pattern", "minLength", "maxLength", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}  # fmt: skip
"""Types that the keywords of a schema without `type` imply."""


@dataclass(frozen=True)
class Narrowed:
    """A schema for the grammar.

    Attributes:
        schema: for the engine; its references lead to `definitions` under `$defs`.
        definitions: by name.
        unenforced: JSON pointers of the keywords of the original that are not, or only partly, enforced.
        multiples: the room for `multipleOf` that is left.
    """

    schema: Any
    definitions: dict[str, Any]
    unenforced: tuple[str, ...]
    multiples: int

    def whole(self) -> Any:
        """The schema with its definitions."""
        return {**self.schema, "$defs": self.definitions} if self.definitions else self.schema


def narrowed(schema: Any, *, kind: str | None = None, multiples: int = MOST_MULTIPLES) -> Narrowed:
    """Make the schema that answers are held to.

    Args:
        schema: of JSON's own types.
        kind: the only type that is allowed; None: the types of the schema.
        multiples: room for `multipleOf`, as MOST_MULTIPLES counts it. A `multipleOf` without room is not enforced.

    Raises:
        SchemaError: a keyword that can be neither enforced nor checked afterwards, a wrong value, or a schema that no
            value follows; the message names the place.
        ArgumentError: llguidance is missing, or the schema is nested too deeply.
    """
    check_depth(schema)
    narrowing = _Narrowing(schema, multiples)
    try:
        return narrowing.run(kind)
    finally:
        narrowing.close()


class _Narrowing:
    def __init__(self, schema: Any, multiples: int) -> None:
        self._reader = Reader(schema)
        self._room = Room(multiples)
        self._unenforced: list[str] = []
        self._objects = Objects(self._build, self._unenforced, self._room)
        self._names: dict[frozenset[int], str] = {}
        self._waiting: deque[tuple[str, list[Place]]] = deque()
        self._definitions: dict[str, Any] = {}
        self._places = 0
        self._reason = ""

    def run(self, kind: str | None) -> Narrowed:
        root = self._reader.root
        places = [root] if kind is None else [root, Place({"type": kind}, "", root.resolver)]
        schema = self._build(places)
        while self._waiting:
            name, places = self._waiting.popleft()
            self._definitions[name] = self._merged(places)
        schema, definitions = pruned(schema, self._definitions)
        if schema is False:
            raise SchemaError("", f"no value follows it{self._reason or ': it requires itself endlessly'}")
        levels = depth(schema) + sum(map(depth, definitions.values()))
        if levels > MOST_LEVELS:
            raise SchemaError("", f"expected at most {MOST_LEVELS} levels once references are merged, found {levels}")
        unenforced = tuple(sorted(set(self._unenforced)))
        schema = {} if schema is True else schema
        return Narrowed(schema, definitions, unenforced[:MOST_UNENFORCED], self._room.multiples)

    def close(self) -> None:
        """Break the reference cycle through this object's method, so that it is freed without garbage collection."""
        del self._objects

    def _build(self, places: Sequence[Place]) -> Any:
        """The schema of values that satisfy all of some places: True, False, or an object."""
        self._places += 1
        if self._places > MOST_PLACES:
            raise SchemaError("", f"expected at most {MOST_PLACES} places once references are merged, found more")
        places = [place for place in places if place.value is not True and place.value is not None]
        if any(place.value is False for place in places):
            return False
        if not places:
            return True
        if not self._reader.follows_reference(places):
            return self._merged(places)
        key = frozenset(id(place.value) for place in places)
        if key not in self._names:
            self._names[key] = str(len(self._names))
            self._waiting.append((self._names[key], list(places)))
        return {"$ref": f"#/$defs/{self._names[key]}"}

    def _merged(self, places: Sequence[Place]) -> Any:
        try:
            facets = self._reader.facets(places)
            choices = [choice for facet in facets for choice in facet.choices]
            if len(choices) == 1 and not any(facet.constrains for facet in facets):
                return self._any_of(choices[0], [self._build([branch]) for branch in choices[0].branches])
            for choice in choices:
                self._note_one_of(choice)
            found = [self._alternative(each) for each in self._reader.alternatives(facets, self._unenforced)]
            return any_of(found)
        except Impossible as problem:
            return self._impossible(problem)

    def _any_of(self, choice: Choice, branches: list[Any]) -> Any:
        self._note_one_of(choice)
        return any_of(branches)

    def _alternative(self, facets: Sequence[Facet]) -> Any:
        """The schema of facets without open choices."""
        try:
            return self._plain(facets)
        except Impossible as problem:
            return self._impossible(problem)

    def _impossible(self, problem: Impossible) -> Any:
        self._reason = self._reason or f": {problem}"
        return False

    def _plain(self, facets: Sequence[Facet]) -> Any:
        kinds = _kinds(facets)
        values = listed_values(facets, kinds, self._room, self._unenforced)
        if values is not None:
            return {"enum": values}
        if kinds == _ALL:
            return True
        words: dict[str, Any] = {}
        left, problem = [], None
        for kind in _ordered(kinds):
            try:
                words |= self._of_kind(kind, facets)
                left.append(kind)
            except Impossible as error:
                problem = error
        if not left:
            raise problem or Impossible(place_of(facets), "the types exclude each other")
        return {"type": left[0] if len(left) == 1 else left, **words}

    def _of_kind(self, kind: str, facets: Sequence[Facet]) -> dict[str, Any]:
        if kind == "string":
            return string_words(facets, self._unenforced)
        if kind in ("integer", "number"):
            return number_words(facets, kind, self._unenforced, self._room)
        if kind == "array":
            return array_words(facets, self._build, self._unenforced)
        if kind == "object":
            return self._objects.words(facets)
        return {}

    def _note_one_of(self, choice: Choice) -> None:
        """List a `oneOf` as not enforced, unless no value can follow two of its branches."""
        if choice.keyword == "oneOf" and not self._told_apart(choice.branches):
            self._unenforced.append(choice.pointer)

    def _told_apart(self, branches: Sequence[Place]) -> bool:
        if len(branches) > MOST_UNENFORCED:
            return False
        seen = [self._marks(branch) for branch in branches]
        return all(_apart(one, other) for place, one in enumerate(seen) for other in seen[:place])

    def _marks(self, branch: Place) -> tuple[set[str], dict[str, set[str]]]:
        """The types of a branch, and its listed values: its own under "", those of required properties by "/name"."""
        try:
            facets = self._reader.facets([branch])
            if any(facet.choices for facet in facets):
                return set(TYPES), {}
            kinds = _kinds(facets, meant=False)
            own = listed_values(facets, kinds, self._room, [])
        except Impossible:
            return set(), {}
        marks = {} if own is None else {"": set(map(same, own))}
        for facet in facets:
            for name in facet.get("required") or ():
                below = (facet.get("properties") or {}).get(name)
                if isinstance(below, dict):
                    values = [below["const"]] if "const" in below else below.get("enum")
                    if isinstance(values, list):
                        marks[f"/{name}"] = set(map(same, values))
        return kinds, marks


_ALL = set(TYPES)


def _apart(one: tuple[set[str], dict[str, set[str]]], other: tuple[set[str], dict[str, set[str]]]) -> bool:
    """Whether no value can belong to two branches."""
    marked = any(not marks & other[1][name] for name, marks in one[1].items() if name in other[1])
    return marked or not one[0] & other[0]


def _kinds(facets: Sequence[Facet], *, meant: bool = True) -> set[str]:
    """The types that all facets allow; "number" among them means a number with a fraction.

    Without a `type` they are the types that the keywords imply, unless `meant` is False.
    """
    kinds = set(TYPES)
    for facet in facets:
        if "type" in facet.words:
            named = facet.get("type")
            for name in named:
                if name not in TYPES:
                    raise SchemaError(facet.pointer("type"), f"expected one of {', '.join(TYPES)}, found {shown(name)}")
            kinds &= {*named, *(["integer"] if "number" in named else [])}
    words = {name for facet in facets for name in facet.words}
    if meant and kinds == _ALL and not words & {"enum", "const"}:
        about = {kind for kind, names in _MEANT.items() if words.intersection(names)}
        kinds = {*about, *(["integer"] if "number" in about else [])} or kinds
    if not kinds:
        raise Impossible(place_of(facets), "the types exclude each other")
    return kinds


def _ordered(kinds: set[str]) -> list[str]:
    """Types as a schema names them: "number" includes "integer"."""
    return [kind for kind in TYPES if kind in kinds and not (kind == "integer" and "number" in kinds)]
