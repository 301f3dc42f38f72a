"""Places in a source text where a fault can be put, and faults, which are drawn places."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

OPERATORS = (
    "comparison",
    "off by one",
    "swapped sign",
    "dropped call",
    "wrong constant",
    "dropped check",
    "neighbouring index",
)


@dataclasses.dataclass(frozen=True)
class Place:
    """One edit: `before` at `start` (an index into the file's text) becomes `after`."""

    operator: str
    start: int
    before: str
    after: str


@dataclasses.dataclass(frozen=True)
class Fault:
    """A drawn place. `line` counts from 1, `column` from 0. `source` is its whole line, to find it in changed files."""

    id: str
    file: str
    line: int
    column: int
    operator: str
    before: str
    after: str
    source: str
    commit: str

    def patched(self, text: str) -> str:
        """The file's text with the fault in it.

        If lines above have moved, the place is the only line with the same text. Raises ValueError if no line or
        several lines have this text.
        """
        lines = text.split("\n")
        number = self.line - 1
        if number >= len(lines) or lines[number] != self.source:
            same = [i for i, line in enumerate(lines) if line == self.source]
            if len(same) != 1:
                raise ValueError(
                    f"{self.id}: expected the line {self.source.strip()!r} in {self.file}, found {len(same)}"
                )
            number = same[0]
        start = sum(len(line) + 1 for line in lines[:number]) + self.column
        found = text[start : start + len(self.before)]
        if found != self.before:
            raise ValueError(f"{self.id}: expected {self.before!r} in {self.file}, found {found!r}")
        return text[:start] + self.after + text[start + len(self.before) :]


def fault_at(place: Place, text: str, *, name: str, file: str, commit: str) -> Fault:
    """The fault `name` of a place in the text of `file`."""
    above = text[: place.start]
    line = above.count("\n") + 1
    column = place.start - (above.rfind("\n") + 1)
    return Fault(
        id=name,
        file=file,
        line=line,
        column=column,
        operator=place.operator,
        before=place.before,
        after=place.after,
        source=text.split("\n")[line - 1],
        commit=commit,
    )


def write_faults(path: Path, faults: Iterable[Fault], drawn: dict[str, Any]) -> None:
    """Write faults as JSON, one a line. drawn: how they were drawn."""
    rows = ",\n".join("    " + json.dumps(dataclasses.asdict(fault), ensure_ascii=False) for fault in faults)
    path.write_text(f'{{\n  "drawn": {json.dumps(drawn)},\n  "faults": [\n{rows}\n  ]\n}}\n', encoding="utf-8")


def read_faults(path: Path) -> list[Fault]:
    """Read a file of `write_faults`."""
    return [Fault(**row) for row in json.loads(path.read_text(encoding="utf-8"))["faults"]]
