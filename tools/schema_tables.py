"""Writes the tables of docs/schemas.md: the treatment of every keyword and of every type of pydantic's fields.

python tools/schema_tables.py
"""

from __future__ import annotations

import datetime
import decimal
import enum
import ipaddress
import pathlib
import re
import uuid
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pydantic

from qwen3cpu.generation.schemas.narrowing import narrowed
from qwen3cpu.text.schemas.keywords import FORMATS, KEYWORDS, UUID_FORMATS

PAGE = Path(__file__).parents[1] / "docs" / "schemas.md"


class Color(enum.Enum):
    """An enum of text."""

    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    """An enum of numbers."""

    LOW = 1
    HIGH = 2


class Pair(NamedTuple):
    """A named tuple."""

    a: int
    b: str


class Inner(pydantic.BaseModel):
    """A model inside another."""

    x: int


class Cat(pydantic.BaseModel):
    """One of two models that `kind` tells apart."""

    kind: Literal["cat"]
    lives: int


class Dog(pydantic.BaseModel):
    """The other one."""

    kind: Literal["dog"]
    good: bool


class Node(pydantic.BaseModel):
    """A model that refers to itself."""

    value: int
    child: Node | None = None


FIELDS: dict[str, Any] = {
    "`str`": str,
    "`int`": int,
    "`float`": float,
    "`bool`": bool,
    "`None`": None,
    "`Any`": Any,
    "`bytes`": bytes,
    "`date`": datetime.date,
    "`datetime`": datetime.datetime,
    "`AwareDatetime`": pydantic.AwareDatetime,
    "`time`": datetime.time,
    "`timedelta`": datetime.timedelta,
    "`Decimal`": decimal.Decimal,
    "`condecimal(max_digits=5)`": Annotated[decimal.Decimal, pydantic.Field(max_digits=5)],
    "`UUID`": uuid.UUID,
    "`UUID1`": pydantic.UUID1,
    "`UUID4`": pydantic.UUID4,
    "`Path`": pathlib.Path,
    "`FilePath`": pydantic.FilePath,
    "`HttpUrl`": pydantic.HttpUrl,
    "`IPv4Address`": ipaddress.IPv4Address,
    "`IPv6Address`": ipaddress.IPv6Address,
    "`IPv4Network`": ipaddress.IPv4Network,
    "`SecretStr`": pydantic.SecretStr,
    "`Json`": pydantic.Json,
    "`Base64Str`": pydantic.Base64Str,
    "`ByteSize`": pydantic.ByteSize,
    "`Pattern`": re.Pattern,
    "`Enum`": Color,
    "`IntEnum`": Level,
    "`Literal`": Literal["a", 1],
    "`list[int]`": list[int],
    "`set[int]`": set[int],
    "`frozenset[str]`": frozenset[str],
    "`set[Enum]`": set[Color],
    "`tuple[int, str]`": tuple[int, str],
    "`tuple[int, ...]`": tuple[int, ...],
    "`deque[int]`": deque[int],
    "`Sequence[int]`": Sequence[int],
    "`Iterable[int]`": Iterable[int],
    "`dict[str, int]`": dict[str, int],
    "`dict[Literal, int]`": dict[Literal["a", "b"], int],
    "`dict[int, str]`": dict[int, str],
    "`dict[UUID, int]`": dict[uuid.UUID, int],
    "`Mapping[str, int]`": Mapping[str, int],
    "`Counter[str]`": Counter[str],
    "<code>int &#124; None</code>": int | None,
    "<code>int &#124; str</code>": int | str,
    "<code>Cat &#124; Dog</code>": Cat | Dog,
    "<code>Cat &#124; Dog</code> with a discriminator": Annotated[Cat | Dog, pydantic.Field(discriminator="kind")],
    "a model": Inner,
    "a model that refers to itself": Node,
    "`NamedTuple`": Pair,
    "`conint(gt=0, multiple_of=2)`": Annotated[int, pydantic.Field(gt=0, multiple_of=2)],
    "`int` of 64 bits": Annotated[int, pydantic.Field(ge=-(2**63), le=2**63 - 1)],
    "`confloat(ge=0, lt=1)`": Annotated[float, pydantic.Field(ge=0, lt=1)],
    "`constr(max_length=5, pattern=...)`": Annotated[str, pydantic.Field(max_length=5, pattern="^a")],
    "`conlist(int, max_length=3)`": Annotated[list[int], pydantic.Field(min_length=1, max_length=3)],
}
"""Types of fields by their names in the table."""


def field_schema(kind: Any) -> dict[str, Any]:
    """The schema of a model with one required field `x`."""
    return pydantic.create_model("Model", x=(kind, ...)).model_json_schema()


def keyword_table() -> str:
    """The table of keywords."""
    rows = [f"| `{each.name}` | {each.drafts} | {each.treatment} | {each.note} |" for each in KEYWORDS]
    return "\n".join(["| keyword | drafts | treatment | exceptions |", "|---|---|---|---|", *rows])


def field_table() -> str:
    """The table of pydantic's types."""
    rows = []
    for name, kind in FIELDS.items():
        lost = ", ".join(f"`{pointer.rpartition('/')[2]}`" for pointer in narrowed(field_schema(kind)).unenforced)
        rows.append(f"| {name} | {'loosened: ' + lost if lost else 'enforced'} |")
    return "\n".join(["| type | treatment |", "|---|---|", *rows])


def formats() -> str:
    """The list of formats."""
    return ", ".join(f"`{name}`" for name in (*FORMATS, *UUID_FORMATS))


def filled(page: str) -> str:
    """The page with its tables, made from the code."""
    for name, text in (("keywords", keyword_table()), ("fields", field_table()), ("formats", formats())):
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, rest = page.split(begin)
        page = f"{before}{begin}\n{text}\n\n{end}" + rest.split(end)[1]
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
