"""Times in Ollama's API: `keep_alive`, dates, and nanoseconds."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.json_words import shown

_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_DURATION = re.compile(rf"([+-]?)((?:{_PART.pattern})+|\d+\.?\d*)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
FOREVER = "9999-12-31T23:59:59Z"
"""The time that is reported for a model that stays in memory for ever."""


def keep_alive_seconds(value: float | str) -> float:
    """The seconds of `keep_alive`, which is a number of seconds, or a duration in Go's form (`5m`, `1h30m`).

    Less than 0 means for ever.

    Raises:
        ApiError: another value.
    """
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            expected = "expected seconds, or a duration such as 5m"
            raise ApiError(400, f"keep_alive: {expected}, found {shown(value)}", param="keep_alive")
        parts = _PART.findall(match[2])
        seconds = sum(float(count) * _SECONDS[unit] for count, unit in parts) if parts else float(match[2])
        return -seconds if match[1] == "-" else seconds
    return float(value)


def now() -> str:
    """The current time in Ollama's form."""
    return date(datetime.now(timezone.utc).timestamp())


def date(seconds: float) -> str:
    """A time, in seconds since 1970, in Ollama's form."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def nanoseconds(seconds: float) -> int:
    """A duration in nanoseconds, at least 1, because clients divide by it."""
    return max(1, round(seconds * 1e9))
