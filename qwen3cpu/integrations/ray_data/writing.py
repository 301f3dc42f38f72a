"""Runs jobs whose rows go into a folder of parts, and continues them after interruptions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray
from ray.data import Dataset

from qwen3cpu.errors import ArgumentError
from qwen3cpu.integrations.ray_data.actors import RowActor
from qwen3cpu.integrations.ray_data.folder import FileFormat, Part, PartFolder, Summary, write_part
from qwen3cpu.integrations.ray_data.job import Job
from qwen3cpu.integrations.ray_data.keys import MARK_BYTES, column_values, key_mark, marks_array, plain, row_keys
from qwen3cpu.integrations.ray_data.work import Work
from qwen3cpu.system.progress_bar import Progress


def write(job: Job, folder: Path, file_format: FileFormat, restart: bool, progress: Progress | None) -> Summary:
    """Answer the rows of a dataset that are not in the folder yet; see `datasets.generate_to`."""
    marks, digest = _scanned(job.dataset, job.work)
    about = {**job.about, "rows": digest, "file format": file_format}
    parts = PartFolder(folder, about, marks, restart=restart)
    if parts.finished is not None:
        return parts.finished
    with closing(parts):
        done = parts.done
        kept = len(done) // MARK_BYTES
        if progress is not None:
            progress.start("answering", len(marks) - kept, "rows")
        if kept < len(marks):
            for part in _written(job, parts.path, file_format, done):
                parts.add(part)
                if progress is not None:
                    progress.advance(len(part.marks) // MARK_BYTES)
        return parts.finish(kept)


def _written(job: Job, path: Path, file_format: FileFormat, done: bytes) -> Iterator[Part]:
    written = job.mapped(PartActor, str(path), file_format, [ray.put(done)])
    for table in written.iter_batches(batch_size=None, batch_format="pyarrow"):
        for row in table.to_pylist():
            yield Part(**row)


class PartActor(RowActor):
    """Writes tables with answers as parts, and returns a row for each part.

    Args:
        work: the work on each row.
        about: all that the rows depend on.
        path: the path of the folder.
        file_format: the format of the parts.
        done: a reference to the hashes of the keys of finished rows.
    """

    def __init__(
        self, work: Work, about: Mapping[str, Any], path: str, file_format: FileFormat, done: list[ray.ObjectRef]
    ) -> None:
        super().__init__(work, about)
        self._work = work
        self._path = Path(path)
        self._file_format = file_format
        self._done = np.sort(marks_array(ray.get(done[0])))

    def __call__(self, table: pa.Table) -> pa.Table:
        """A table with one row about the part; without a row if all rows were finished before."""
        marks = _row_marks(table, self._work)
        fresh = ~_among(marks, self._done)
        found: list[dict[str, Any]] = []
        if fresh.any():
            table = super().__call__(table.filter(pa.array(fresh)))
            errors = len(table) - table[self._work.output["error"]].null_count
            part = write_part(self._path, table, self._file_format, errors, marks[fresh].tobytes())
            found.append(vars(part))
        return pa.Table.from_pylist(
            found, pa.schema([("name", pa.string()), ("errors", pa.int64()), ("marks", pa.binary())])
        )


def _among(marks: NDArray[np.void], done: NDArray[np.void]) -> NDArray[np.bool_]:
    """Whether each of `marks` is in `done`, which is sorted."""
    places = np.searchsorted(done, marks)
    found: NDArray[np.bool_] = places < len(done)
    found[found] = done[places[found]] == marks[found]
    return found


def _row_marks(table: pa.Table, work: Work) -> NDArray[np.void]:
    """Hashes of the keys of rows. ArgumentError: a row has no key."""
    marks = bytearray()
    for key in row_keys(table, work.key, column_values(table, work.column)):
        if isinstance(key, ArgumentError):
            raise key
        marks += key_mark(key)
    return marks_array(bytes(marks))


def _scanned(dataset: Dataset, work: Work) -> tuple[NDArray[np.void], str]:
    """(hashes of the keys of all rows, a hash of all rows in any order).

    Raises:
        ArgumentError: a row has no key, or two rows have the same.
    """
    pieces, total = [], 0
    scan = dataset.map_batches(
        _scan, batch_size=None, batch_format="pyarrow", zero_copy_batch=True, fn_kwargs={"work": work}
    )
    for table in scan.iter_batches(batch_size=None, batch_format="pyarrow"):
        for row in table.to_pylist():
            if row["problem"] is not None:
                raise ArgumentError(row["problem"])
            pieces.append(row["marks"])
            total += int.from_bytes(row["digest"], "big")
    marks = marks_array(b"".join(pieces))
    if len(names := np.unique(marks)) < len(marks):
        by = "the same prompt; name a column of keys that differ" if work.key is None else f"the same {work.key}"
        raise ArgumentError(f"key: expected another one in each row, found {len(marks) - len(names)} rows with {by}")
    return marks, f"{total % (1 << 8 * MARK_BYTES):032x}"


def _scan(table: pa.Table, work: Work) -> pa.Table:
    problem, marks, total = None, b"", 0
    try:
        marks = _row_marks(table, work).tobytes()
    except ArgumentError as reason:
        problem = str(reason)
    for row in table.to_pylist():
        text = json.dumps(plain(row), sort_keys=True, default=repr)
        total += int.from_bytes(hashlib.blake2b(text.encode(), digest_size=MARK_BYTES).digest(), "big")
    digest = (total % (1 << 8 * MARK_BYTES)).to_bytes(MARK_BYTES, "big")
    return pa.table(
        {"problem": pa.array([problem], pa.string()), "marks": [marks], "digest": [digest]},
    )
