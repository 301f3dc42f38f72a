"""The JSON of tool calls as models write it: strict JSON, or a few other spellings with only one possible meaning."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

_FENCE_OPENS: Final = re.compile(r"\s*```[A-Za-z]*[ \t]*\n")
_BETWEEN: Final = re.compile(r"\s*,?\s*")
_PIECE: Final = re.compile(
    r"""(?P<space>\s+) | (?P<double>"(?:[^"\\]|\\.)*") | (?P<single>'(?:[^'\\]|\\.)*') | (?P<word>[A-Za-z_]\w*)
    | (?P<number>-?\d[\d.eE+-]*) | (?P<mark>[][{}:,])""",
    re.DOTALL | re.VERBOSE,
)
_WORDS: Final = {"True": "true", "False": "false", "None": "null", "true": "true", "false": "false", "null": "null"}
_ESCAPE: Final = re.compile(r'\\(.)|(")', re.DOTALL)


def read_values(text: str) -> list[Any]:
    """The JSON values in a text, one after the other, at least one.

    Besides strict JSON it reads control characters inside strings (a raw line break) and a code fence around the text.
    It also reads commas between the values or before a closing bracket, strings in single quotes, names without quotes,
    and True, False and None.

    Raises:
        ValueError: the text is ambiguous or has no meaning. The message is the one for strict JSON.
        RecursionError: the nesting is too deep.
    """
    opening = _FENCE_OPENS.match(text)
    body = text if opening is None else text[opening.end() :].rstrip().removesuffix("```")
    try:
        return _values(body)
    except json.JSONDecodeError as error:
        try:
            return _values(_as_json(body))
        except ValueError:
            raise error from None


def ends_in_string(text: str) -> bool:
    """Whether a text is the beginning of objects or lists of JSON that ends inside a string."""
    error = _first_error(text)
    return error is not None and error.msg.startswith("Unterminated string")


def is_json(text: str) -> bool:
    """Whether a text is one or several objects or lists in JSON. A code fence and a comma at the end are allowed.

    More objects may follow the comma. No other deviation of `read_values` from strict JSON is allowed.
    """
    body = text.rstrip().removesuffix("```") if _FENCE_OPENS.match(text) else text
    return _first_error(body.rstrip().removesuffix(",")) is None


def may_become_json(text: str) -> bool:
    """Whether a text that ends with a quotation mark can be the beginning of objects or lists of JSON."""
    error = _first_error(text)
    return error is None or error.pos >= len(text) or error.msg.startswith("Unterminated string")


def _first_error(text: str) -> json.JSONDecodeError | None:
    opening = _FENCE_OPENS.match(text)
    # Blanks replace the fence, so that positions do not change.
    body = text if opening is None else " " * opening.end() + text[opening.end() :]
    if not body.lstrip().startswith(("{", "[")):
        return json.JSONDecodeError("Expecting an object", text, 0)
    try:
        _values(body)
    except json.JSONDecodeError as error:
        return error
    except (ValueError, RecursionError) as error:
        return json.JSONDecodeError(str(error), text, 0)
    return None


def _values(text: str) -> list[Any]:
    decoder = json.JSONDecoder(strict=False, parse_constant=_no_constant, object_pairs_hook=_object)
    values: list[Any] = []
    place = len(text) - len(text.lstrip())
    while True:
        if values and text[place] not in "{[":
            raise json.JSONDecodeError("Extra data", text, place)
        value, place = decoder.raw_decode(text, place)
        values.append(value)
        place = _BETWEEN.match(text, place).end()  # type: ignore[union-attr]  # matches everywhere
        if place == len(text):
            if text.rstrip().endswith(","):
                raise json.JSONDecodeError("Expecting value", text, place)
            return values


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found and found[name] != value:
            raise ValueError(f"the name {name[:60]!r} appears twice with different values")
        found[name] = value
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _as_json(text: str) -> str:
    """Rewrite the text in strict JSON. ValueError for a character that cannot begin a piece."""
    pieces = list(_pieces(text))
    out: list[str] = []
    for place, (kind, piece) in enumerate(pieces):
        following = pieces[place + 1][1] if place + 1 < len(pieces) else ""
        if kind == "single":
            out.append(_double_quoted(piece))
        elif kind == "word":
            # A word is a name if a colon follows, otherwise one of the constants.
            out.append(json.dumps(piece) if following == ":" else _WORDS.get(piece, piece))
        elif piece == "," and following in ("}", "]") and out and out[-1] not in (",", "[", "{", ":"):
            continue
        else:
            out.append(piece)
    return " ".join(out)


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    place = 0
    while place < len(text):
        found = _PIECE.match(text, place)
        if found is None:
            raise ValueError("not JSON")
        if found.lastgroup != "space":
            yield str(found.lastgroup), found[0]
        place = found.end()


def _double_quoted(piece: str) -> str:
    def escaped(found: re.Match[str]) -> str:
        if found[2]:
            return '\\"'
        return "'" if found[1] == "'" else found[0]

    return f'"{_ESCAPE.sub(escaped, piece[1:-1])}"'
