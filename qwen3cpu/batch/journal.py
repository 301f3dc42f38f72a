"""The journal of a job: keeps the answered lines beside the output, so that no line is answered twice.

The first line describes the job. Every other line is one answered line: a checksum, the line's number, 1 for an error
and else 0, and the line of the output. A line is written with one call, so a killed process leaves at most the last
line incomplete. An incomplete or damaged line counts as not answered.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.errors import ArgumentError
from qwen3cpu.system.file_locks import open_locked
from qwen3cpu.system.files import renames_open_files, sync_folder

SUFFIX: Final = ".part"
SYNC_SECONDS: Final = 5.0
"""Seconds between two calls of fsync. A power failure loses the answers of this time, a kill none."""
_NEW: Final = ".new"


def journal_path(output: Path) -> Path:
    """The path of the journal of an output."""
    return output.with_name(output.name + SUFFIX)


class Journal:
    """The journal of one job, locked while it is open.

    Args:
        output: the file to make; the journal is beside it.
        about: all that the results depend on, ready for JSON. A journal with another value is refused.
        numbers: the numbers of the lines, int64, ascending.
        restart: drop the content of an existing journal.

    Raises:
        ArgumentError: another process uses it; it belongs to another job, or is not a journal; it cannot be written.
    """

    def __init__(
        self, output: Path, about: Mapping[str, Any], numbers: NDArray[np.int64], *, restart: bool = False
    ) -> None:
        self._output = output
        self._numbers = numbers
        self.path = journal_path(output)
        """The path of the journal."""
        self._starts = np.full(len(numbers), -1, np.int64)
        self._failed = np.zeros(len(numbers), bool)
        self._synced = monotonic()
        try:
            self._file = open_locked(self.path)
        except BlockingIOError:
            raise ArgumentError(f"{self.path}: another process is working on it") from None
        except OSError as reason:
            raise ArgumentError(f"{self.path}: cannot be written: {reason.strerror or reason}") from None
        try:
            if restart or os.fstat(self._file.fileno()).st_size == 0:
                self._begin(_header(about))
            self._load(about)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the journal; it stays on the disk."""
        self._file.close()

    # What is done

    @property
    def done(self) -> NDArray[np.bool_]:
        """Whether each line is answered, bool [lines]."""
        return self._starts >= 0

    @property
    def errors(self) -> NDArray[np.int64]:
        """Numbers of the lines whose result is an error."""
        return self._numbers[self._failed]

    def add(self, place: int, result: bytes, *, failed: bool) -> None:
        """Note the result of a line.

        Args:
            place: the place of the line among the numbers.
            result: the line of the output, without its line break.
            failed: whether it is an error.

        Raises:
            ArgumentError: it cannot be written.
        """
        record = _record(int(self._numbers[place]), failed, result)
        try:
            if self._file.write(record) != len(record):
                raise OSError("the disk is full")
            if monotonic() - self._synced > SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = monotonic()
        except OSError as reason:
            raise ArgumentError(f"{self.path}: cannot be written: {reason.strerror or reason}") from None
        self._starts[place] = self._end + len(record) - len(result) - 1
        self._failed[place] = failed
        self._end += len(record)

    def finish(self) -> None:
        """Write the results into the output, in the order of the lines, and remove the journal."""
        write_file(self._output, self._results())
        if not renames_open_files():
            self._file.close()
        self.path.unlink()

    def _results(self) -> Iterator[bytes]:
        with open(self.path, "rb") as file:
            for start in self._starts:
                file.seek(int(start))
                yield file.readline()

    # The file

    def _begin(self, header: bytes) -> None:
        try:
            self._file.truncate(0)
            if self._file.write(header) != len(header):
                raise OSError("the disk is full")
            os.fsync(self._file.fileno())
            sync_folder(self.path.parent)
        except OSError as reason:
            self._file.truncate(0)  # an empty journal is a new one
            raise ArgumentError(f"{self.path}: cannot be written: {reason.strerror or reason}") from None

    def _load(self, about: Mapping[str, Any]) -> None:
        self._end = 0
        with open(self.path, "rb") as file:
            found = _read(file.readline())
            if found is None or found[0] != 0:
                raise ArgumentError(f"{self.path}: expected the journal of a job, found something else")
            check_same(self.path, json.loads(found[2]), about)
            self._end = file.tell()
            while raw := file.readline():
                if not raw.endswith(b"\n"):
                    break
                if (record := _read(raw)) is not None:
                    number, failed, result = record
                    place = int(np.searchsorted(self._numbers, number))
                    self._starts[place] = self._end + len(raw) - len(result) - 1
                    self._failed[place] = failed
                self._end += len(raw)
        self._file.truncate(self._end)
        self._file.seek(self._end)


def _header(about: Mapping[str, Any]) -> bytes:
    return _record(0, False, json.dumps(about).encode())


def _record(number: int, failed: bool, result: bytes) -> bytes:
    data = b"%d %d %s" % (number, failed, result)
    return b"%s %s\n" % (_sum(data), data)


def _read(raw: bytes) -> tuple[int, bool, bytes] | None:
    """(number, failed, result) of a line; None if it is damaged."""
    given, _, data = raw.removesuffix(b"\n").partition(b" ")
    if given != _sum(data):
        return None
    number, failed, result = data.split(b" ", 2)
    return int(number), failed == b"1", result


def _sum(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest()[:16].encode()


def check_same(path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuse to continue another job. The ArgumentError names the first property that differs."""
    for name in {**expected, **found}:
        if found.get(name) != expected.get(name):
            was, now = (json.dumps(each.get(name))[:80] for each in (found, expected))
            raise ArgumentError(
                f"{path}: this job was started with another {name}: expected {was}, found {now}; use the arguments of "
                "its start, or start it again with --restart (in Python restart=True)"
            )


def write_file(path: Path, pieces: Iterator[bytes] | list[bytes]) -> None:
    """Write a file that gets its name only when it is complete and on the disk. ArgumentError when that fails."""
    new = path.with_name(path.name + _NEW)
    try:
        with open(new, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
        sync_folder(path.parent)
    except OSError as reason:
        raise ArgumentError(f"{path}: cannot be written: {reason.strerror or reason}") from None
