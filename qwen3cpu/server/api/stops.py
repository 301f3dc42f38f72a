"""Checks the stop strings of a request."""

from __future__ import annotations

from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.text.tokenizer import check_text

MOST_STOPS = 64
"""The largest number of stop strings. OpenAI allows 4, but evaluation harnesses send more."""


def checked_stop(stop: str | list[str] | None) -> str | list[str] | None:
    """The field `stop`, checked. ApiError for too many strings, ArgumentError for one that is not Unicode text."""
    if isinstance(stop, str):
        check_text(stop, "stop")
    elif stop is not None:
        if len(stop) > MOST_STOPS:
            raise ApiError(400, f"stop: expected at most {MOST_STOPS} strings, found {len(stop)}", param="stop")
        for place, each in enumerate(stop):
            check_text(each, f"stop[{place}]")
    return stop
