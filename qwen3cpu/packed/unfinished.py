"""Unfinished packed files: whether a process still writes one, and removing those of processes that were killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Final

from qwen3cpu.packed.packed_file import SUFFIX
from qwen3cpu.packed.sealed_file import PART_SUFFIX

_YOUNG_SECONDS: Final = 60.0


def is_being_written(part: Path) -> bool:
    """Whether a process still writes an unfinished file, as far as can be told. Raises FileNotFoundError."""
    try:
        with part.open("rb") as file:
            # A file this young may belong to a writer that has not come to locking it yet.
            if time.time() - os.fstat(file.fileno()).st_mtime <= _YOUNG_SECONDS:
                return True
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        raise
    except OSError:
        return True  # locked by its writer, or not ours to touch


def remove_abandoned(folder: Path) -> None:
    """Remove the unfinished files of processes that were killed while packing into `folder`."""
    for path in folder.glob(f"*{SUFFIX}.*{PART_SUFFIX}"):
        with contextlib.suppress(OSError):  # another process was quicker
            if not is_being_written(path):
                path.unlink()
