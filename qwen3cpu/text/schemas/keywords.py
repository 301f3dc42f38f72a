"""Every keyword of JSON Schema, and how it is treated when an answer has to follow a schema."""

from __future__ import annotations

from typing import Literal, NamedTuple

MOST_MULTIPLES = 20_000
"""Largest sum of all `multipleOf` in the schemas of one answer, the digits of each read as a whole number. The engine
makes that many states; a thousand take 0.4 MB and 5 to 10 ms."""

Treatment = Literal["enforced", "loosened", "refused", "annotation"]


class Keyword(NamedTuple):
    """One keyword.

    Attributes:
        name: as schemas write it.
        drafts: the drafts that have it.
        treatment: "enforced": tokens that would break it cannot be chosen. "loosened": only the finished answer is
            checked, and the result names the place. "refused": the schema is refused. "annotation": no value breaks it.
        note: exceptions.
    """

    name: str
    drafts: str
    treatment: Treatment
    note: str = ""


KEYWORDS = (
    Keyword("type", "all", "enforced", '`"any"` and schemas in the list (draft 3) too'),
    Keyword("enum", "all", "enforced"),
    Keyword("const", "6 on", "enforced"),
    Keyword("properties", "all", "enforced", "closes the object unless the schema says otherwise"),
    Keyword("required", "all", "enforced", "a boolean inside a property (draft 3) too"),
    Keyword("additionalProperties", "all", "enforced"),
    Keyword("unevaluatedProperties", "2019-09 on", "enforced"),
    Keyword("patternProperties", "all", "enforced", "loosened: more than 16, patterns that overlap"),
    Keyword("propertyNames", "6 on", "enforced", "`enum`, `const` and `pattern`; else loosened"),
    Keyword("minProperties", "4 on", "enforced", "loosened beside optional properties"),
    Keyword("maxProperties", "4 on", "enforced", "loosened beside optional properties"),
    Keyword("items", "all", "enforced"),
    Keyword("prefixItems", "2020-12", "enforced", "`items` as a list means the same"),
    Keyword("additionalItems", "3 to 2019-09", "enforced", "beside a list in `items`"),
    Keyword("unevaluatedItems", "2019-09 on", "enforced"),
    Keyword("minItems", "all", "enforced"),
    Keyword("maxItems", "all", "enforced"),
    Keyword("minLength", "all", "enforced", "up to 1,000,000"),
    Keyword("maxLength", "all", "enforced", "up to 1,000,000"),
    Keyword(
        "pattern",
        "all",
        "enforced",
        "loosened: look-around, word boundaries, back references, nested counts, more than 8 at one place",
    ),
    Keyword("format", "all", "enforced", "those named below; others are loosened and not checked"),
    Keyword("minimum", "all", "enforced", "loosened beyond what the grammar counts, about 10^18"),
    Keyword("maximum", "all", "enforced", "loosened beyond what the grammar counts, about 10^18"),
    Keyword("exclusiveMinimum", "all", "enforced", "a boolean (draft 4) too"),
    Keyword("exclusiveMaximum", "all", "enforced", "a boolean (draft 4) too"),
    Keyword("multipleOf", "4 on", "enforced", "up to four digits; loosened: beyond 20,000 in all"),
    Keyword("divisibleBy", "3", "enforced", "as `multipleOf`"),
    Keyword("allOf", "4 on", "enforced"),
    Keyword("extends", "3", "enforced", "as `allOf`"),
    Keyword("anyOf", "4 on", "enforced"),
    Keyword("oneOf", "4 on", "enforced", "loosened to `anyOf` unless types, values or a tag tell the branches apart"),
    Keyword("$ref", "all", "enforced", "inside the schema; nothing is fetched"),
    Keyword("$dynamicRef", "2020-12", "enforced", "as `$ref`"),
    Keyword("$recursiveRef", "2019-09", "enforced", "as `$ref`"),
    Keyword("nullable", "OpenAPI 3.0", "enforced"),
    Keyword("uniqueItems", "all", "loosened", "of an `enum` no array is longer than the values"),
    Keyword("not", "4 on", "refused", "`not: {}` and `not: true` forbid the place"),
    Keyword("disallow", "3", "refused"),
    Keyword("if", "7 on", "refused", "alone, without `then` and `else`, an annotation"),
    Keyword("then", "7 on", "annotation", "refused beside `if`"),
    Keyword("else", "7 on", "annotation", "refused beside `if`"),
    Keyword("contains", "6 on", "refused"),
    Keyword("minContains", "2019-09 on", "annotation", "refused beside `contains`"),
    Keyword("maxContains", "2019-09 on", "annotation", "refused beside `contains`"),
    Keyword("dependentRequired", "2019-09 on", "refused"),
    Keyword("dependentSchemas", "2019-09 on", "refused"),
    Keyword("dependencies", "3 to 7", "refused"),
    *(
        Keyword(name, drafts, "annotation")
        for name, drafts in (
            ("title", "all"),
            ("description", "all"),
            ("default", "all"),
            ("examples", "6 on"),
            ("deprecated", "2019-09 on"),
            ("readOnly", "7 on"),
            ("writeOnly", "7 on"),
            ("$comment", "7 on"),
            ("contentEncoding", "7 on"),
            ("contentMediaType", "7 on"),
            ("contentSchema", "2019-09 on"),
            ("discriminator", "OpenAPI"),
            ("$schema", "all"),
            ("$id", "6 on"),
            ("id", "3 and 4"),
            ("$anchor", "2019-09 on"),
            ("$dynamicAnchor", "2020-12"),
            ("$recursiveAnchor", "2019-09"),
            ("$vocabulary", "2019-09 on"),
            ("$defs", "2019-09 on"),
            ("definitions", "all"),
        )
    ),
)
"""One row for each; a name that is not here is an annotation."""

REFUSED = frozenset(keyword.name for keyword in KEYWORDS if keyword.treatment == "refused")
FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
"""Formats of strings that the grammar knows."""
UUID_FORMATS = tuple(f"uuid{version}" for version in range(1, 9))
"""Formats of pydantic, which are enforced as patterns."""
