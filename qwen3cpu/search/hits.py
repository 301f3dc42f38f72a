"""The results of an index: passages that were found, and the changes of an update."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Hit:
    """A passage that was found.

    Attributes:
        file: its path in the folder, with slashes.
        line: its first line in the file, or in the page of a PDF, counted from 1.
        page: page of a PDF, counted from 1; None: not a PDF.
        score: cosine of question and passage, or a reranker's score.
        text: the passage.
    """

    file: str
    line: int
    page: int | None
    score: float
    text: str

    @property
    def place(self) -> str:
        """`file:line`, or `file: page N` for a PDF."""
        return f"{self.file}:{self.line}" if self.page is None else f"{self.file}: page {self.page}"

    def to_dict(self) -> dict[str, Any]:
        """Convert to a dictionary for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Skipped:
    """A file that could not be read, and why."""

    file: str
    reason: str


@dataclass
class Update:
    """The result of updating an index: numbers of files and of embedded passages, and the skipped files."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    passages: int = 0
    skipped: list[Skipped] = field(default_factory=list)
