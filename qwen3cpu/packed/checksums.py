"""Computes the SHA-256 of whole files, in a thread of its own, and of the tensors of a packed file."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final

from qwen3cpu.errors import CheckpointError
from qwen3cpu.packed.packed_file import PackedFile

_PIECE: Final = 8 << 20  # bytes; a small piece lets the thread stop soon


class SumsOfFiles:
    """A context manager that computes digests of files in a thread. Leaving it early stops the thread."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(1, "qwen3cpu-sha256")

    def __enter__(self) -> SumsOfFiles:
        self._sums = self._pool.submit(self._work)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown()

    def result(self) -> dict[str, str]:
        """Wait for the digests and return name -> hex digits. Raises CheckpointError if a file cannot be read."""
        return self._sums.result()

    def _work(self) -> dict[str, str]:
        return {name: self._sum(path) for name, path in self._files.items()}

    def _sum(self, path: Path) -> str:
        digest, piece = hashlib.sha256(), bytearray(_PIECE)
        try:
            # Read, not mapped, because mapped pages count as this process's memory.
            with path.open("rb", buffering=0) as file:
                while not self._stop.is_set() and (count := file.readinto(piece)):
                    digest.update(memoryview(piece)[:count])
        except OSError as reason:
            raise CheckpointError(f"{path}: cannot be read: {reason.strerror or reason}") from reason
        return digest.hexdigest()


def damaged_tensors(file: PackedFile, threads: int) -> Iterator[tuple[str, int, bool]]:
    """Yield (name, bytes, whether it is damaged) of every tensor of a packed file, in order.

    Raises CheckpointError when the header lacks the digest of a tensor.
    """
    sums = file.sums()

    def is_damaged(name: str) -> bool:
        return hashlib.sha256(file.stored(name).data).hexdigest() != sums[name]

    with ThreadPoolExecutor(min(threads, os.cpu_count() or 1)) as pool:
        names = list(file.tensors)
        for name, damaged in zip(names, pool.map(is_damaged, names), strict=True):
            yield name, file.stored(name).size, damaged
