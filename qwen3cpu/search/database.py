"""Opens the database of an index file: SQLite with the extension sqlite-vec."""

from __future__ import annotations

import importlib
import os
import sqlite3
from pathlib import Path
from typing import Any, Final, TypeAlias

from qwen3cpu.errors import ArgumentError, SearchIndexError

Connection: TypeAlias = sqlite3.Connection

_WAIT_SECONDS: Final = 10.0
_MAGIC: Final = b"SQLite format 3\0"
JOURNAL_SUFFIXES: Final = ("-journal", "-wal", "-shm")
"""What SQLite appends to the name of a database for the files beside it."""


def connect(path: Path) -> Connection:
    """Open a database with sqlite-vec loaded. A missing file becomes an empty database.

    Any thread may use it, but only one at a time.

    Raises:
        ArgumentError: sqlite-vec, or an SQLite that loads extensions, is missing.
        SearchIndexError: the file cannot be opened, or is not a database.
    """
    sqlite = _sqlite()
    try:
        import sqlite_vec
    except ImportError as reason:
        raise ArgumentError("search needs sqlite-vec: pip install 'qwen3cpu[search]'") from reason
    check_file(path)
    try:
        database: Connection = sqlite.connect(
            os.fspath(path), timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
        )
    except sqlite.Error as reason:
        raise SearchIndexError(
            f"{path}: cannot be opened: {reason}; choose another place with --index or path="
        ) from None
    try:
        database.enable_load_extension(True)
        sqlite_vec.load(database)
        database.enable_load_extension(False)
        database.execute("pragma foreign_keys = on")
        return database
    except sqlite.Error as reason:
        database.close()
        raise SearchIndexError(f"{path}: cannot be opened: {reason}") from None


def check_file(path: Path) -> None:
    """Raise SearchIndexError for an existing file that is not an SQLite database."""
    try:
        if not path.exists():
            return
        if not path.is_file():
            raise SearchIndexError(f"{path}: expected a file for the index, found something else")
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
    except OSError as reason:
        raise SearchIndexError(f"{path}: cannot be read: {reason.strerror or reason}") from None
    if start and start != _MAGIC:
        raise SearchIndexError(f"{path}: expected a search index, found another kind of file")


def errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of the SQLite module in use for a locked, full or damaged database."""
    return (_sqlite().Error,)


def _sqlite() -> Any:
    """Return Python's own sqlite3, or pysqlite3 if Python's cannot load extensions."""
    if hasattr(sqlite3.Connection, "enable_load_extension"):
        return sqlite3
    try:
        return importlib.import_module("pysqlite3.dbapi2")
    except ImportError as reason:
        raise ArgumentError(
            "search needs an SQLite that loads extensions, and this Python's does not: pip install pysqlite3"
        ) from reason
