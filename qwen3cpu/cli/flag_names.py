"""Errors of the library in the words of the command line: `-n` for `max_new_tokens`."""

from __future__ import annotations

import argparse
import re
from typing import Final

_NAMES: Final = {
    "max_new_tokens": ("n_predict", "-n"),
    "temperature": ("temp", "--temp"),
    "repetition_penalty": ("repeat_penalty", "--repeat-penalty"),
    "context": ("ctx_size", "--ctx-size"),
    "dry_sequence_breakers": ("dry_sequence_breaker", "--dry-sequence-breaker"),
    "adapters": ("adapter", "--adapter"),
    "source": ("source", "SOURCE"),
    "path": ("out", "OUT"),
    "out": ("out", "OUT"),
    "base": ("base", "BASE"),
    "output": ("input", "OUT.jsonl"),
    "texts": ("files", "FILE"),
    "question": ("question", "QUESTION"),
}
"""Argument in Python -> the parser's name of what it comes from, and how that is typed, where the names differ."""


def in_words_of_flags(message: str, args: argparse.Namespace) -> str:
    """Replace the name of a Python argument at the start of an error by what the user types.

    Args:
        message: of the error.
        args: what was parsed. Names that the command does not have stay.
    """
    if "task" in args:
        message = re.sub(r"load\(\.\.\., task='(\w+)'\)", r"--task \1", message)
    else:
        message = re.sub(r"; load\(\.\.\., task='\w+'\).*", "", message)
    found = re.match(r"([a-z_]+)((?:\[\d+\])?(?:: (?!cannot be read)| must be ))", message)
    if found is None:
        return message
    owner, flag = _NAMES.get(found[1], (found[1], "--" + found[1].replace("_", "-")))
    return flag + message[found.end(1) :] if owner in args else message
