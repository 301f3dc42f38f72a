"""The soft switches /think and /no_think in the text of a prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

_SWITCH: Final = re.compile(r"(?<!\S)/(no_)?think(?!\S)")


def latest_switch(prompt: Any) -> bool | None:
    """True if the last switch of the user or system text is /think, False for /no_think; None without a switch.

    A switch must have white space around it, as in training, so a path has none. The text of a tool does not count.

    Args:
        prompt: text of a user, or messages, checked or not; anything else has no switch.
    """
    if isinstance(prompt, str):
        found = [match[1] is None for match in _SWITCH.finditer(prompt)]
        return found[-1] if found else None
    if not isinstance(prompt, (list, tuple)):
        return None
    for message in reversed(prompt):
        if isinstance(message, Mapping) and message.get("role") in ("user", "system"):
            switch = latest_switch(_text(message.get("content")))
            if switch is not None:
                return switch
    return None


def _text(content: Any) -> str:
    if isinstance(content, Sequence) and not isinstance(content, (str, bytes)):
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""
