"""Objects: which keys all facets allow, and the schema of each value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from qwen3cpu.generation.schemas.facets import Facet, Impossible, Place
from qwen3cpu.generation.schemas.leaves import Room, bounds_of, place_of, writable
from qwen3cpu.generation.schemas.probing import allows_more_keys, problem_of
from qwen3cpu.generation.schemas.pruning import any_of
from qwen3cpu.text.schemas.checking import SchemaChecker
from qwen3cpu.text.schemas.dialects import requires_itself
from qwen3cpu.text.schemas.patterns import found_in, translated
from qwen3cpu.text.schemas.reading import SchemaError

MOST_PATTERNS = 16
"""Most entries of `patternProperties` that are enforced at one place; the engine compares each with each."""
MOST_OPTIONAL = 500
"""Most optional properties of one object; the engine's grammar has a rule for each pair."""
Build = Callable[[Sequence[Place]], Any]


class Objects:
    """Makes the keywords of objects.

    Args:
        build: makes the schema of values that satisfy several places.
        unenforced: gets the places that are not enforced.
        room: for searches.
    """

    def __init__(self, build: Build, unenforced: list[str], room: Room) -> None:
        self._build = build
        self._room = room
        self._unenforced = unenforced

    def words(self, facets: Sequence[Facet]) -> dict[str, Any]:
        """The keywords of an object for the engine."""
        required = _required(facets)
        names = _names(facets)
        listed = bool(names)
        names = list(dict.fromkeys([*names, *required]))
        if len(names) - len(required) > MOST_OPTIONAL:
            raise SchemaError(
                place_of(facets),
                f"expected at most {MOST_OPTIONAL} optional properties, found {len(names) - len(required)}",
            )
        key_rules = [facet.below("propertyNames") for facet in facets if "propertyNames" in facet.words]
        checkers = [SchemaChecker(place.value) for place in key_rules if isinstance(place.value, (bool, dict))]
        properties = {}
        for name in names:
            if writable(name) and all(checker.check(name, self._room.searches).allowed for checker in checkers):
                properties[name] = self._build(self._of_name(facets, name))
            elif name in required:
                raise Impossible(place_of(facets), f"the required property {name!r} is not allowed")
        words: dict[str, Any] = {"properties": properties, "required": required}
        words |= self._others(facets, names, key_rules, listed=listed)
        return words | self._counts(facets, words)

    def _of_name(self, facets: Sequence[Facet], name: str) -> list[Place]:
        """The places that the value of a property has to satisfy."""
        places = []
        for facet in facets:
            listed = name in (facet.get("properties") or ())
            if listed:
                places.append(facet.below("properties", name))
            patterns = facet.get("patternProperties") or ()
            found = {each: found_in(each, name, self._room.searches) for each in islice(patterns, MOST_PATTERNS)}
            matching = [each for each, matches in found.items() if matches]
            places += [facet.below("patternProperties", each) for each in matching]
            unknown = len(found) < len(patterns) or None in found.values()
            if unknown:
                self._unenforced.append(facet.pointer("patternProperties"))
            if not listed and not matching and not unknown and "additionalProperties" in facet.words:
                places.append(facet.below("additionalProperties"))
        return places

    def _others(
        self, facets: Sequence[Facet], names: list[str], key_rules: list[Place], *, listed: bool
    ) -> dict[str, Any]:
        """The keywords for keys that are not listed."""
        rests = [
            facet.below(name)
            for facet in facets
            for name in ("additionalProperties", "unevaluatedProperties")
            if name in facet.words
        ]
        with_patterns = [facet for facet in facets if "patternProperties" in facet.words]
        patterned = [(facet, pattern) for facet in with_patterns for pattern in facet.get("patternProperties")]
        closed = not rests and (listed or bool(patterned))
        rest = False if closed else self._build(rests)
        if key_rules and rest is not False:
            return self._by_key_rule(names, key_rules, rest)
        if not patterned:
            return {"additionalProperties": rest}
        values: dict[str, Any] = {}
        lost = patterned[MOST_PATTERNS:]
        for facet, pattern in patterned[:MOST_PATTERNS]:
            rust = translated(pattern)
            if rust is None or problem_of({"type": "string", "pattern": rust}):
                lost.append((facet, pattern))
            elif rust not in values:
                same = [facet.below("patternProperties", each) for facet, each in patterned if each == pattern]
                values[rust] = self._build(same)
        values = {rust: value for rust, value in values.items() if value is not False}
        probe = {"type": "object", "patternProperties": dict.fromkeys(values, True)}
        if lost or problem_of(probe):
            self._unenforced += [facet.pointer("patternProperties") for facet in with_patterns]
            branches = [self._build([facet.below("patternProperties", pattern)]) for facet, pattern in patterned]
            return {"additionalProperties": any_of([*branches, rest])}
        if not allows_more_keys(tuple(names), tuple(values), others=rest is not False):
            return {"additionalProperties": False}
        return {"patternProperties": values, "additionalProperties": rest}

    def _by_key_rule(self, names: list[str], key_rules: list[Place], rest: Any) -> dict[str, Any]:
        """The keywords for other keys, which `propertyNames` limits."""
        rule = self._build([*key_rules, Place({"type": "string"}, key_rules[0].pointer, key_rules[0].resolver)])
        if rule is False:
            return {"additionalProperties": False}
        if isinstance(rule, dict) and set(rule) <= {"enum"} and "enum" in rule:
            return {"further": {key: rest for key in rule["enum"] if key not in names}, "additionalProperties": False}
        if isinstance(rule, dict) and set(rule) == {"type", "pattern"}:
            if allows_more_keys(tuple(names), (rule["pattern"],), others=False):
                return {"patternProperties": {rule["pattern"]: rest}, "additionalProperties": False}
            return {"additionalProperties": False}
        if rule != {"type": "string"}:
            self._unenforced += [place.pointer for place in key_rules]
        return {"additionalProperties": rest}

    def _counts(self, facets: Sequence[Facet], words: dict[str, Any]) -> dict[str, Any]:
        """The keywords for the number of keys, if the engine can count them."""
        words["properties"] |= words.pop("further", {})
        low, high = bounds_of(facets, "minProperties", "maxProperties", self._unenforced)
        properties, required = words["properties"], words["required"]
        if low <= len(required):
            low = 0
        closed = words["additionalProperties"] is False and not words.get("patternProperties")
        if high is not None and closed and len(properties) <= high:
            high = None
        if high is not None and len(required) > high:
            raise Impossible(place_of(facets), f"{len(required)} properties are required, and {high} allowed")
        if closed and low > len(properties):
            raise Impossible(place_of(facets), f"{low} properties are needed, and {len(properties)} allowed")
        counts = ({"minProperties": low} if low else {}) | ({} if high is None else {"maxProperties": high})
        countable = len(properties) == len(required) or closed
        if counts and (not countable or problem_of(_counted(properties, required, words, counts))):
            for name in ("minProperties", "maxProperties"):
                self._unenforced += [facet.pointer(name) for facet in facets if name in facet.words]
            return {}
        return counts


def _counted(properties: dict[str, Any], required: list[str], words: dict[str, Any], counts: dict[str, Any]) -> Any:
    """The object without the schemas of its values."""
    return {
        "type": "object",
        "properties": dict.fromkeys(properties, True),
        "required": required,
        "additionalProperties": words["additionalProperties"] is not False or "patternProperties" in words,
        **counts,
    }


def _required(facets: Sequence[Facet]) -> list[str]:
    required: list[str] = []
    for facet in facets:
        required += facet.get("required") or []
        required += [name for name, below in (facet.get("properties") or {}).items() if requires_itself(below)]
    return list(dict.fromkeys(required))


def _names(facets: Sequence[Facet]) -> list[str]:
    return list(dict.fromkeys(name for facet in facets for name in facet.get("properties") or ()))
