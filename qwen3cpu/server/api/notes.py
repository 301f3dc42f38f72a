"""Notes about a request for answers, vectors or scores, from which tracing makes its span.

Endpoints fill them in. Without tracing there are no notes.
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
"""Fields of bodies that are noted. None of them holds text of users."""

_KEY = "qwen3cpu.notes"


class Notes:
    """The notes of one request."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        """Those fields of OPTIONS that the body has."""
        self.model: str | None = None
        """The model that answers."""
        self.response_id: str | None = None
        self.answers: AnswersRecord | None = None
        """The record of a request for answers."""
        self.input_tokens: int | None = None
        """Tokens of a request for vectors or scores."""
        self.error: str | None = None
        """The name of the error that ended the request."""


def begin_notes(scope: Scope) -> Notes:
    """Make the notes of a request, for the endpoints to fill in."""
    notes: Notes = scope.setdefault(_KEY, Notes())
    return notes


def notes_of(scope: Scope) -> Notes:
    """The notes of a request; without tracing, new ones that are never read."""
    notes: Notes | None = scope.get(_KEY)
    return Notes() if notes is None else notes


def note_body(scope: Scope, body: object, model: str) -> None:
    """Note the options of a request, and its model."""
    notes: Notes | None = scope.get(_KEY)
    if notes is not None:
        given = ((name, getattr(body, name, None)) for name in OPTIONS)
        notes.options = {name: value for name, value in given if value is not None}
        notes.model = model
