"""Names values in messages to clients in the words of JSON, not in those of Python."""

from __future__ import annotations

import re
import reprlib
from typing import Any

_KINDS = {
    "str": "a string",
    "list": "a list",
    "dict": "an object",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "NoneType": "null",
    "None": "null",
}
_TYPE = re.compile(rf"\b(found|expected) (?:an? )?({'|'.join(_KINDS)})\b")
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def kind_of(value: Any) -> str:
    """The kind of a value of JSON, as a message names it."""
    return shown(value) if isinstance(value, bool) else _KINDS[type(value).__name__]


def shown(value: Any) -> str:
    """A value of JSON, shortened for a message."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return _SHORT.repr(value)


def in_json_words(message: str) -> str:
    """A message of the package with the words of JSON for the types that it names."""
    return _TYPE.sub(lambda match: f"{match[1]} {_KINDS[match[2]]}", message)
