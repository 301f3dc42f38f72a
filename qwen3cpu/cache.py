"""The user's cache of packed models: where it is and what its files are called."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Final

from qwen3cpu.packed import FORMAT_VERSION, SUFFIX

_PACKING: Final = "1"
"""Raised whenever `_native.pack_into` computes other bytes from the same weights, so that they are packed again."""


def cache_folder() -> Path:
    """QWEN3CPU_CACHE, or `qwen3cpu` in this user's cache directory. Raises RuntimeError for a user without a home."""
    chosen = os.environ.get("QWEN3CPU_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    if base and Path(base).is_absolute():
        return Path(base) / "qwen3cpu"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "qwen3cpu"


def packed_path(folder: Path, label: str, fingerprint: str, quant: str) -> Path:
    """The cache file for the weights with this fingerprint; an existing one is found under whatever name it has.

    `label`, a short name of the source, only helps people to tell the files apart.
    """
    key = hashlib.sha256(f"{fingerprint}\0{quant}\0{FORMAT_VERSION}\0{_PACKING}".encode()).hexdigest()[:20]
    for path in sorted(folder.glob(f"*-{quant}-{key}{SUFFIX}")):
        return path
    readable = re.sub(r"[^A-Za-z0-9._]+", "-", label).strip("-.")[-60:] or "model"
    return folder / f"{readable}-{quant}-{key}{SUFFIX}"
