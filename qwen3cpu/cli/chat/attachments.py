"""Files that go with a message: text, code, and PDF."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from qwen3cpu.errors import ArgumentError
from qwen3cpu.model import Model
from qwen3cpu.search.files import Found, UnreadableFileError, parts, read

_LONGEST_TOKEN: Final = 64
"""Characters of a token, far more than the average. A text that is too long by this measure is refused uncounted."""


class Attachment(NamedTuple):
    """A file of a message. name: without its folder. tokens: of its text."""

    name: str
    text: str
    tokens: int


def attach(path: Path, model: Model) -> Attachment:
    """Read a file. Raises ArgumentError when it cannot be read, is neither text nor PDF, or is larger than the context.

    Args:
        path: the file's path.
        model: its tokenizer counts the tokens, and its context is the limit.
    """
    try:
        about = path.stat()
        pages = parts(read(Found(path.name, path, about.st_size, about.st_mtime_ns)))
    except (OSError, UnreadableFileError) as reason:
        raise ArgumentError(f"{path}: cannot be read: {getattr(reason, 'strerror', None) or reason}") from None
    if not pages:
        raise ArgumentError(f"{path}: expected a text or a PDF, found a binary file")
    text = "\n\n".join(page.text for page in pages).strip("\n")
    if not text.strip():
        raise ArgumentError(f"{path}: expected a text, found none")
    if len(text) > model.context * _LONGEST_TOKEN:
        raise ArgumentError(f"{path}: expected at most {model.context} tokens, found {len(text)} characters")
    tokens = len(model.tokenizer.encode(text))
    if tokens >= model.context:
        raise ArgumentError(f"{path}: expected fewer than {model.context} tokens, the context, found {tokens}")
    return Attachment(path.name, text, tokens)


def with_files(files: Iterable[Attachment], message: str) -> str:
    """A message with files in front, each in a fence that is longer than any in its text."""
    blocks = []
    for file in files:
        ticks = max((len(run) for run in re.findall(r"`{3,}", file.text)), default=2)
        fence = "`" * (ticks + 1)
        blocks.append(f"File {file.name}:\n{fence}\n{file.text}\n{fence}")
    return "\n\n".join([*blocks, message])
