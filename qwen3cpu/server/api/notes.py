"""What is known of a request for answers, vectors or scores when it is over, for whoever traces it.

Endpoints note it as they come to know it. Where nobody traces, there are no notes, and nothing is done.
"""

from __future__ import annotations

from typing import Any

from starlette.types import Scope

from qwen3cpu.server.scheduling.records import AnswersRecord

OPTIONS = (
    "model",
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "seed",
    "n",
    "stream",
    "presence_penalty",
    "frequency_penalty",
    "dimensions",
    "encoding_format",
)
"""Fields of bodies that are noted; none of them holds what users write."""

_KEY = "qwen3cpu.notes"


class Notes:
    """Of one request."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        """Fields of the body that were given, those of OPTIONS."""
        self.model: str | None = None
        """That answers."""
        self.response_id: str | None = None
        self.answers: AnswersRecord | None = None
        """Of a request for answers."""
        self.input_tokens: int | None = None
        """Of a request for vectors or scores."""
        self.error: str | None = None
        """What went wrong, in a word."""


def begin_notes(scope: Scope) -> Notes:
    """Let the endpoints note what they come to know of a request."""
    notes: Notes = scope.setdefault(_KEY, Notes())
    return notes


def notes_of(scope: Scope) -> Notes:
    """Those of a request; where nobody traces, some that nobody reads."""
    notes: Notes | None = scope.get(_KEY)
    return Notes() if notes is None else notes


def note_body(scope: Scope, body: object, model: str) -> None:
    """Note what a request asks for, and the model that it is for."""
    notes: Notes | None = scope.get(_KEY)
    if notes is not None:
        given = ((name, getattr(body, name, None)) for name in OPTIONS)
        notes.options = {name: value for name, value in given if value is not None}
        notes.model = model
