"""Splits a long text into pieces that are encoded one after the other, with the same ids as the whole text.

The pre-tokenizer holds Python's global interpreter lock. In one piece, a text of 2 MB would stop all other threads for
seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

PIECE = 8192
"""Least characters of a piece. It is longer if the text cannot be cut there."""
_WORD = (
    "[0-9A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017f\u0391-\u03a1\u03a3-\u03c9\u0410-\u044f"
    "\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff]"
)
_CUT = (
    "(?<=[^\\s\u180e])(?=[ \t])"
    f"|(?<={_WORD})(?=[\\x00-\\x2f\\x3a-\\x40\\x5b-\\x60\\x7b-\\x7f\u3001\u3002\uff0c])"
    "|(?<=[0-9])(?=[0-9A-Za-z])|(?<=[A-Za-z])(?=[0-9])"
)
"""Before a space or tab that follows anything but white space, between a letter or digit and a mark, and beside a
digit. No match of the patterns below spans such a place, and no Unicode normalization joins the characters on both
sides of it."""
_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def can_be_cut(tokenizer_json: dict[str, Any]) -> bool:
    """Whether a tokenizer is known to give the same ids for pieces as for the whole.

    Known are the one of the Qwen models, and the pattern of GPT-2 with each digit for itself.
    """
    outer = tokenizer_json.get("pre_tokenizer") or {}
    parts = outer.get("pretokenizers") or []
    normalizer = tokenizer_json.get("normalizer") or {"type": "NFC"}
    if outer.get("type") != "Sequence" or len(parts) != 2 or normalizer.get("type") != "NFC":
        return False
    split, bytes_ = parts
    if bytes_.get("type") != "ByteLevel" or bytes_.get("add_prefix_space") is not False:
        return False
    if split.get("type") == "Digits":
        return split.get("individual_digits") is True and bytes_.get("use_regex") is True
    return (
        split.get("type") == "Split"
        and split.get("pattern") == {"Regex": _PATTERN}
        and (split.get("behavior"), split.get("invert")) == ("Isolated", False)
        and bytes_.get("use_regex") is False
    )


def pieces(text: str, size: int = PIECE) -> Iterator[str]:
    """The text in pieces of at least `size` characters; the last one may be shorter."""
    start = 0
    if len(text) <= size:
        yield text
        return
    between_words = re.compile(_CUT)  # compiled here, because few texts are so long; `re` caches it
    while len(text) - start > size:
        cut = between_words.search(text, start + size)
        if cut is None:
            break
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:]
