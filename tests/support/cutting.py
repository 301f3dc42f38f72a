"""Cuts output into tokens in every way."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from small_tokenizer import CONFIG, with_vocabulary

from qwen3cpu.text.tokenizer import Tokenizer


def tokenizer_for(texts: Iterable[bytes]) -> tuple[Tokenizer, dict[bytes, int]]:
    """A tokenizer that has every substring of the texts as a token."""
    entries = sorted({text[i:j] for text in texts for i in range(len(text)) for j in range(i + 1, len(text) + 1)})
    tokenizer = Tokenizer(with_vocabulary(entries), CONFIG, source="substrings")
    return tokenizer, {entry: id_ for id_, entry in enumerate(entries)}


def cuts(text: bytes) -> Iterator[list[bytes]]:
    """Every way of cutting a text into tokens."""
    for borders in itertools.product([False, True], repeat=max(0, len(text) - 1)):
        places = [0, *(i + 1 for i, border in enumerate(borders) if border), len(text)]
        yield [text[a:b] for a, b in itertools.pairwise(places)]
