"""The file that keeps what was typed in earlier conversations. Other users cannot read it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from prompt_toolkit.history import FileHistory

from qwen3cpu.cli.chat.remarks import remark
from qwen3cpu.system.files import make_private, user_folder

_LARGEST: Final = 1 << 20
"""Bytes of the file above which the older half is dropped."""


def history_file() -> Path:
    """The path of the file: in XDG_STATE_HOME, or ~/.local/state. Raises RuntimeError for a user without a home."""
    return user_folder("state") / "qwen3cpu" / "chat_history"


class PrivateHistory(FileHistory):
    """What was typed, in a file that only this user can read.

    Args:
        path: the file's path. The file and its folder are made if necessary.

    Raises:
        OSError: they cannot be made.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            make_private(file)
        finally:
            os.close(file)
        _shorten(path)
        super().__init__(os.fspath(path))

    def store_string(self, string: str) -> None:
        """Append a message. A full disk does not end the conversation."""
        with suppress(OSError):
            super().store_string(string.encode("utf-8", "replace").decode("utf-8"))


def open_history() -> PrivateHistory | None:
    """The history. None when it cannot be kept, which a remark reports."""
    try:
        return PrivateHistory(history_file())
    except (OSError, RuntimeError) as reason:
        remark(f"what is typed is not kept for the next conversation: {reason}")
        return None


def _shorten(path: Path) -> None:
    """Drop the older half of a file that is too large."""
    if path.stat().st_size <= _LARGEST:
        return
    data = path.read_bytes()
    begin = data.find(b"\n# ", len(data) - _LARGEST // 2)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(file, "wb") as shorter:
        shorter.write(b"" if begin < 0 else data[begin:])
    beside.replace(path)
