"""Makes errors name the client's own options, and the places in its own body."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from qwen3cpu.errors import ArgumentError, ContextLengthError
from qwen3cpu.server.api.errors import PLACE, ApiError, moved
from qwen3cpu.server.api.json_words import in_json_words

MOST_CHARACTERS = 1000
"""The largest length of a message, which may quote text of a client."""


@contextmanager
def client_names(
    prompt: str,
    names: Mapping[str, str] | None = None,
    places: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Turn an ArgumentError into an ApiError that names a field of the request. An ApiError gets the client's places.

    Args:
        prompt: the field with the prompt, which is named if an error names no other field.
        names: option of this package -> field of the request.
        places: place in the body, as this server reads it -> the place in the request.
    """
    try:
        yield
    except ApiError as error:
        raise error.moved(places or {}) from error.__cause__
    except ArgumentError as error:
        code = "context_length_exceeded" if isinstance(error, ContextLengthError) else "invalid_value"
        message, param = _renamed(in_json_words(str(error)), prompt, names or {})
        if param != (place := moved(param, places or {})):
            message, param = place + message.removeprefix(param), place
        if len(message) > MOST_CHARACTERS:
            message = f"{message[:MOST_CHARACTERS]}..."
        raise ApiError(400, message, code=code, param=param) from error


def _renamed(message: str, prompt: str, names: Mapping[str, str]) -> tuple[str, str]:
    """The message with the client's name of the field in front, and that name."""
    match = PLACE.match(message)
    if match is None:
        return f"{prompt}: {message}", prompt
    name, rest = match[1], match[2]
    place = prompt + rest if name in ("prompt", "text") else names.get(name, name) + rest
    return place + message[match.end() :], place
