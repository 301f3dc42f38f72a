"""What an index says: passages that were found, and what an update did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Hit:
    """A passage that was found.

    file: its path in the folder, with slashes. line: its first line, counted from 1, in the file or, of a PDF, in the
    page. page: of a PDF, counted from 1. score: the cosine of question and passage, or a reranker's score.
    """

    file: str
    line: int
    page: int | None
    score: float
    text: str

    @property
    def place(self) -> str:
        """`file:line`, or `file: page N` of a PDF."""
        return f"{self.file}:{self.line}" if self.page is None else f"{self.file}: page {self.page}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Skipped:
    """A file that could not be read, and why."""

    file: str
    reason: str


@dataclass
class Update:
    """What an update of an index did: numbers of files and of embedded passages, and the files that it left out."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    passages: int = 0
    skipped: list[Skipped] = field(default_factory=list)
