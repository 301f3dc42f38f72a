"""`qwen3cpu.write_drafts`: makes a file of texts from which answers are drafted."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import nullcontext

import numpy as np

from qwen3cpu.arguments import is_iterable
from qwen3cpu.engine.text_drafts import GAP, sorted_places
from qwen3cpu.errors import ArgumentError
from qwen3cpu.loading.locate import locate
from qwen3cpu.loading.sources import may_be_packed, open_unpacked
from qwen3cpu.packed.draft_file import check_replaceable, write_draft_file
from qwen3cpu.packed.packed_file import PackedFile
from qwen3cpu.system.paths import checked_path
from qwen3cpu.system.progress_bar import Progress, check_progress
from qwen3cpu.text.tokenizer import Tokenizer

MOST_TOKENS = 1 << 30
"""Limit for all texts together, because places are stored as 32-bit numbers."""


def write_drafts(
    source: str | os.PathLike[str],
    texts: Iterable[str],
    path: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
) -> int:
    """Write a file of texts (earlier answers, or a corpus) from which `load(..., drafts_from=path)` drafts answers.

    Args:
        source: a model, as for `load`; its weights are not read. All models with its tokenizer can use the file.
        texts: of any length; none is cut or joined with another.
        path: the file. An existing draft file is replaced once everything is written.
        progress: a bar to use instead of a new one.

    Returns:
        Number of tokens in all texts.

    Raises:
        ArgumentError: no list of texts; no tokens, or more than 2^30; `path` is not a path.
        DraftFileError: the path is not a draft file, or cannot be written.
        CheckpointError, DownloadError: as for `load`.
    """
    if isinstance(texts, (str, bytes)) or not is_iterable(texts):
        raise ArgumentError(f"texts: expected a list of texts, found {type(texts).__name__}")
    check_progress(progress)
    out = checked_path("path", path)
    check_replaceable(out)
    tokenizer = tokenizer_of(source)
    with nullcontext(progress) if progress is not None else Progress("Reading", None, unit="tok") as bar:
        pieces = []
        count = 0
        for text in texts:
            ids = tokenizer.encode(text, control_tokens=True)
            pieces.append(np.array([*ids, GAP], np.int32))
            count += len(ids)
            bar.advance(len(ids))
            if count > MOST_TOKENS:
                raise ArgumentError(f"texts: expected at most {MOST_TOKENS} tokens, found more")
        if not count:
            raise ArgumentError("texts: expected at least one token, found none")
        tokens = np.concatenate(pieces)
        bar.start("Sorting", 4, "rounds")
        places = sorted_places(tokens, lambda: bar.advance(1))
    write_draft_file(out, tokens, places, tokenizer.fingerprint)
    return count


def tokenizer_of(source: str | os.PathLike[str]) -> Tokenizer:
    """Make the tokenizer of a model without reading its weights. Raises CheckpointError and DownloadError as `load`."""
    located = locate(source)
    if may_be_packed(located.path):
        texts = PackedFile(located.path).texts
    else:
        texts = open_unpacked(located.path, located.label).read_texts()
    return Tokenizer(texts.tokenizer_json, texts.tokenizer_config, source=located.name)
