"""The tables of an index: files, passages, vectors, and the settings they were made with.

A file is complete when it has a digest. The next update reads incomplete files of an interrupted one again. Until then,
all committed passages can be searched.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.engine.formats import recorded_activations
from qwen3cpu.errors import SearchIndexError
from qwen3cpu.retrieval.exact import dot
from qwen3cpu.search import database

VERSION: Final = "2"
"""Raise this number whenever the tables or the rules for splitting texts into passages change."""
_REMOVE: Final = "; remove the file, so that the next search makes a new one"
_MOST_NEAR: Final = 4096  # limit of sqlite-vec for one question
_MORE: Final = 32
"""Additional vectors that are compared exactly, because rounding in sqlite-vec depends on the machine."""

_TABLES: Final = """
create table about (name text primary key, value text not null) without rowid;
create table files (
    id integer primary key, name text not null unique, size integer not null, changed integer not null,
    digest blob not null
);
create table passages (
    id integer primary key, file integer not null references files (id) on delete cascade, line integer not null,
    page integer, text text not null
);
create index passages_of_files on passages (file);
create virtual table vectors using vec0 (vector float[{dimensions}] distance_metric=cosine);
"""


class FileRow(NamedTuple):
    """A file in the index. digest: SHA-256; empty while the file is incomplete."""

    id: int
    size: int
    changed: int
    digest: bytes


class PassageRow(NamedTuple):
    """A passage that was found, with its cosine."""

    file: str
    line: int
    page: int | None
    text: str
    cosine: float


class Store:
    """An index file. Several threads may use it; one at a time reads or writes.

    Args:
        path: the file. It is created if it is missing or empty.
        about: settings that the vectors depend on, name -> value. A file with other settings is refused.
        dimensions: of a vector.

    Raises:
        SearchIndexError: the file was made with other settings or by another version, or cannot be opened.
        ArgumentError: sqlite-vec is missing.
    """

    def __init__(self, path: Path, about: Mapping[str, str], dimensions: int) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._closed = False
        self._database = database.connect(path)
        expected = {"version": VERSION, **about}
        try:
            with self._reading():
                tables = self._rows("select name from sqlite_schema where type = 'table' and name = 'about'")
                if not tables and self._rows("select 1 from sqlite_schema limit 1"):
                    raise SearchIndexError(f"{path}: expected a search index, found another SQLite database")
                if not tables:
                    self._make(expected, dimensions)
                self._check(expected)
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Close the file. Every later use raises SearchIndexError."""
        with self._lock:
            self._closed = True
            self._database.close()

    def _make(self, about: Mapping[str, str], dimensions: int) -> None:
        with self.transaction():
            if self._rows("select 1 from sqlite_schema limit 1"):
                return  # another process has made the tables
            for statement in _TABLES.format(dimensions=dimensions).split(";"):
                if statement.strip():
                    self._database.execute(statement)
            self._database.executemany("insert into about values (?, ?)", about.items())

    def _check(self, expected: Mapping[str, str]) -> None:
        found = dict(self._rows("select name, value from about"))
        for name, value in expected.items():
            if found.get(name) != value:
                raise SearchIndexError(
                    f"{self._path}: was made with another {name}: expected {value}, found {found.get(name, 'none')}; "
                    "remove the file, so that the next search makes a new one, or choose another with --index or path="
                )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all changes of the block, or none if it fails."""
        with self._errors():
            self._database.execute("begin immediate")
            try:
                yield
                self._database.execute("commit")
            except BaseException:
                with contextlib.suppress(*database.errors()):  # on a full disk SQLite has already rolled back
                    self._database.execute("rollback")
                raise

    def files(self) -> dict[str, FileRow]:
        """Return all files by name."""
        with self._reading():
            rows = self._rows("select name, id, size, changed, digest from files")
            for row in rows:
                _check_kinds(row, (str, int, int, int, bytes))
        return {row[0]: FileRow(*row[1:]) for row in rows}

    def passage_count(self) -> int:
        """Return the number of passages."""
        with self._reading():
            return int(self._rows("select count(*) from passages")[0][0])

    def remove(self, file: int) -> None:
        """Remove a file with its passages."""
        self._database.execute("delete from vectors where rowid in (select id from passages where file = ?)", [file])
        self._database.execute("delete from files where id = ?", [file])

    def add_file(self, name: str, size: int, changed: int) -> int:
        """Add a file, which is incomplete, and return its id."""
        values = [name, size, changed, b""]
        row = self._database.execute("insert into files (name, size, changed, digest) values (?, ?, ?, ?)", values)
        return int(row.lastrowid or 0)

    def add_passage(self, file: int, line: int, page: int | None, text: str, vector: NDArray[np.float32]) -> None:
        """Add a passage of a file with its vector, float32 [dimensions]."""
        row = self._database.execute(
            "insert into passages (file, line, page, text) values (?, ?, ?, ?)", [file, line, page, text]
        )
        values = [row.lastrowid, vector.astype("<f4").tobytes()]
        self._database.execute("insert into vectors (rowid, vector) values (?, ?)", values)

    def complete(self, file: int, changed: int, digest: bytes) -> None:
        """Note that a file has all its passages, or a new modification time."""
        self._database.execute("update files set changed = ?, digest = ? where id = ?", [changed, digest, file])

    def nearest(self, vector: NDArray[np.float32], count: int) -> list[PassageRow]:
        """Return the passages whose vectors have the largest cosines with a vector of length 1, best first.

        Cosines are summed exactly, so results are the same on every machine. Equal ones are ordered by name and line.
        """
        query = "select rowid from vectors where vector match ? and k = ?"
        with self._reading():
            near = self._rows(query, [vector.astype("<f4").tobytes(), min(count + _MORE, _MOST_NEAR)])
            found = [self._passage(id_, vector) for (id_,) in near]
        found.sort(key=lambda each: (-each.cosine, each.file, each.page or 0, each.line))
        return found[:count]

    def _passage(self, id_: int, vector: NDArray[np.float32]) -> PassageRow:
        ((name, line, page, text, stored),) = self._rows(
            "select name, line, page, text, vector from passages, files, vectors "
            "where passages.id = ? and files.id = file and vectors.rowid = passages.id",
            [id_],
        )
        _check_kinds((name, line, 0 if page is None else page, text, stored), (str, int, int, str, bytes))
        return PassageRow(name, line, page, text, dot(vector, np.frombuffer(stored, "<f4").astype(np.float32)))

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._database.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """As `_errors`, for blocks that only read: what they find may have any type or size in a damaged file."""
        with self._errors():
            try:
                yield
            except (TypeError, ValueError, MemoryError, OverflowError) as reason:
                found = str(reason) or type(reason).__name__
                raise SearchIndexError(f"{self._path}: cannot be read or written: {found}{_REMOVE}") from None

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Keep other threads out, and turn errors of SQLite into SearchIndexError."""
        with self._lock:
            if self._closed:
                raise SearchIndexError(f"{self._path}: expected an open index, found a closed one")
            try:
                yield
            except database.errors() as reason:
                damaged = any(sign in str(reason) for sign in ("malformed", "not a database", "decode"))
                hint = _REMOVE if damaged else ""
                raise SearchIndexError(f"{self._path}: cannot be read or written: {reason}{hint}") from None


def _check_kinds(row: Sequence[object], kinds: Sequence[type]) -> None:
    """Raise ValueError unless the values of a row have these types, as they have in every file that is not damaged."""
    for value, kind in zip(row, kinds, strict=True):
        if not isinstance(value, kind):
            raise ValueError(f"expected a value of type {kind.__name__}, found {type(value).__name__}")


def about_model(fingerprint: str, quant: str, kv: str, rope: str, activations: str, dimensions: int) -> dict[str, str]:
    """Return the settings that vectors depend on, with the names that messages use."""
    return {
        "model": fingerprint,
        "weight format": quant,
        "KV format": kv,
        "RoPE": rope,
        **recorded_activations(activations),
        "number of dimensions": json.dumps(dimensions),
    }
