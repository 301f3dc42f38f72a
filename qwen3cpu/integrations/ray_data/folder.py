"""A folder of finished rows, from which an interrupted job continues.

While the job runs, the folder is named `answers.part` instead of `answers`. It has `_job`, which says what the rows
depend on, a part for each finished block, and beside each part the hashes of its keys. Each file gets its name when it
is complete. A part is named by its hashes, so a block that is repeated after a node was lost replaces its own part.
When the parts have every row of the dataset exactly once, the folder is renamed to `answers`.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from qwen3cpu.batch.journal import SUFFIX, check_same, write_file
from qwen3cpu.errors import ArgumentError
from qwen3cpu.integrations.ray_data.keys import marks_array
from qwen3cpu.packed.sealed_file import replacing
from qwen3cpu.system.file_locks import open_locked

FileFormat = Literal["parquet", "jsonl"]
_JOB: Final = "_job"  # with an underscore, because readers of folders of Parquet files skip such names
_KEYS: Final = ".keys"


@dataclass(frozen=True)
class Summary:
    """The outcome of a job.

    Attributes:
        rows: the number of rows of the dataset and of the folder.
        errors: the number of rows with an error instead of an answer.
        kept: the number of rows that were finished before this run.
    """

    rows: int
    errors: int
    kept: int


@dataclass(frozen=True)
class Part:
    """A finished block. name: of its file. errors: number of rows with errors. marks: the joined hashes of its keys."""

    name: str
    errors: int
    marks: bytes


def write_part(folder: Path, table: pa.Table, file_format: FileFormat, errors: int, marks: bytes) -> Part:
    """Write a block of finished rows, either completely or not at all.

    Raises:
        ArgumentError: the folder is not on this node, or the file format cannot hold a value of the rows.
    """
    part = Part(f"part-{hashlib.sha256(marks).hexdigest()[:32]}.{file_format}", errors, marks)
    if not folder.is_dir():
        raise ArgumentError(f"folder: expected one that all nodes have; found no {folder} on a node")
    with replacing(folder / f"{part.name}{_KEYS}") as file:
        file.write(json.dumps({"errors": errors, "marks": marks.hex()}).encode())
    with replacing(folder / part.name) as file:
        if file_format == "parquet":
            pyarrow.parquet.write_table(table, file)
        else:
            file.writelines(_json_line(row) for row in table.to_pylist())
    return part


def _json_line(row: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as reason:
        raise ArgumentError(f"file_format: expected 'parquet' for values that JSON has not: {reason}") from None


class PartFolder:
    """The folder of one job, locked while it is open.

    Args:
        folder: the folder to make.
        about: all that the rows depend on, ready for JSON.
        marks: hashes of the keys of all rows.
        restart: drop the finished rows of any job.

    Raises:
        ArgumentError: another process uses it; it belongs to another job, or to none; it cannot be written.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], marks: NDArray[np.void], *, restart: bool) -> None:
        self._folder = folder
        self._about = about
        self._marks = np.sort(marks)
        self._parts: dict[str, Part] = {}
        self.path = folder.with_name(folder.name + SUFFIX)
        """The folder of the parts."""
        self.finished: Summary | None = None
        """The outcome of the job, if it is complete."""
        if folder.exists() and not (folder / _JOB).is_file():
            raise ArgumentError(f"{folder}: expected no such folder, or that of a job; found something else")
        if folder.exists() and not self.path.exists() and not restart:
            found = json.loads((folder / _JOB).read_bytes())
            check_same(folder, found["about"], about)
            self._tidy(folder)
            self.finished = Summary(len(marks), found["errors"], len(marks))
            return
        self._open(restart)

    def _open(self, restart: bool) -> None:
        job = self.path / _JOB
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open_locked(job)
        except BlockingIOError:
            raise ArgumentError(f"{self.path}: another process is working on it") from None
        except OSError as reason:
            raise ArgumentError(f"{self.path}: cannot be written: {reason.strerror or reason}") from None
        try:
            if restart or job.stat().st_size == 0:
                job.write_bytes(json.dumps({"about": self._about}).encode())
            else:
                check_same(self.path, json.loads(self._lock.read())["about"], self._about)
                self._load()
            self._remove_others()
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """Release the lock."""
        if self.finished is None:
            self._lock.close()

    @property
    def done(self) -> bytes:
        """The joined hashes of the keys of finished rows."""
        return b"".join(part.marks for part in self._parts.values())

    def add(self, part: Part) -> None:
        """Note a part that has been written."""
        self._parts[part.name] = part

    def finish(self, kept: int) -> Summary:
        """Give the folder its final name.

        kept: the number of rows that were finished before this run.

        Raises:
            ArgumentError: the dataset had other rows when it was read again, or a part is missing.
        """
        done = np.sort(marks_array(self.done))
        missing = [name for name in self._parts if not (self.path / name).is_file()]
        if missing:
            raise ArgumentError(f"folder: expected one that all nodes have; found no {self.path / missing[0]}")
        if not np.array_equal(done, self._marks):
            raise ArgumentError(
                f"dataset: expected the same {len(self._marks)} rows each time it is read, found {len(done)} rows, "
                "some of which are others"
            )
        self._remove_others()
        summary = Summary(len(done), sum(part.errors for part in self._parts.values()), kept)
        write_file(self.path / _JOB, [json.dumps({"about": self._about, "errors": summary.errors}).encode()])
        if self._folder.exists():
            old = self._folder.with_name(f"{self._folder.name}.{secrets.token_hex(8)}.old")
            self._folder.rename(old)
            self.path.rename(self._folder)
            shutil.rmtree(old)
        else:
            self.path.rename(self._folder)
        self._tidy(self._folder)
        return summary

    def _load(self) -> None:
        """Load the complete parts whose rows are in no other part."""
        taken: set[bytes] = set()
        known = set(self._marks.tolist())
        for path in sorted(self.path.glob(f"*{_KEYS}")):
            part = _read_part(path)
            if part is None:
                continue
            marks = marks_array(part.marks).tolist()
            if known.issuperset(marks) and taken.isdisjoint(marks):
                taken.update(marks)
                self._parts[part.name] = part

    def _remove_others(self) -> None:
        """Remove files that do not belong to this job: incomplete ones, and parts of nodes that were given up."""
        wanted = {_JOB, *self._parts, *(f"{name}{_KEYS}" for name in self._parts)}
        for path in self.path.iterdir():
            if path.name not in wanted:
                path.unlink(missing_ok=True)

    def _tidy(self, folder: Path) -> None:
        for path in folder.glob(f"*{_KEYS}"):
            with suppress(OSError):
                path.unlink()


def _read_part(path: Path) -> Part | None:
    """The part whose keys are in this file; None if the part is missing."""
    name = path.name.removesuffix(_KEYS)
    if not path.with_name(name).is_file():
        return None
    found = json.loads(path.read_bytes())
    return Part(name, found["errors"], bytes.fromhex(found["marks"]))
