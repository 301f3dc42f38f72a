"""The index of a folder: it is updated when files change, and searched with questions."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.arguments import whole_number
from qwen3cpu.errors import ArgumentError
from qwen3cpu.search.database import JOURNAL_SUFFIXES
from qwen3cpu.search.files import Found, UnreadableFileError, parts, read, walk
from qwen3cpu.search.hits import Hit, Skipped, Update
from qwen3cpu.search.passages import Passage, passages
from qwen3cpu.search.store import FileRow, Store, about_model
from qwen3cpu.system.paths import checked_path, printable
from qwen3cpu.system.progress_bar import Progress, check_progress
from qwen3cpu.text.tokenizer import check_text

if TYPE_CHECKING:
    from qwen3cpu.model import Model

INDEX_NAME: Final = ".qwen3cpu-index"
"""Default name of the index file in a folder. It is hidden, so it is not indexed itself."""
_MARKDOWN: Final = (".md", ".markdown", ".mdx")
_RERANKED: Final = 4
"""Passages that a reranker reads for each requested one."""
_LEAST_RERANKED: Final = 20


class _Piece(NamedTuple):
    """A passage that waits for its vector.

    Attributes:
        found: its file.
        passage: the passage; None: the file has none.
        page: page of a PDF.
        digest: SHA-256 of the file, set only in the last piece of a file.
    """

    found: Found
    passage: Passage | None
    page: int | None
    digest: bytes | None


class SearchIndex:
    """The index of one folder by one embedding model, open until `close` or the end of a `with` block.

    Several threads may use it. Updates come one after the other, and a search sees what is committed.

    Args:
        folder: the folder to search.
        model: an embedding model.
        path: the index file; default: `.qwen3cpu-index` in the folder. It is created if it is missing.
        dimensions: number of dimensions of the vectors to keep, the first ones; default: all.

    Raises:
        ArgumentError: the folder or a library is missing, or the model was not made for embedding.
        SearchIndexError: the file cannot be opened, or was made with another model, format or number of dimensions, or
            by another version.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        model: Model,
        *,
        path: str | os.PathLike[str] | None = None,
        dimensions: int | None = None,
    ) -> None:
        self._folder = checked_path("folder", folder)
        if not os.path.isdir(self._folder):
            found = "a file" if os.path.exists(self._folder) else "none"
            raise ArgumentError(f"{folder}: expected a folder, found {found}")
        if not callable(getattr(model, "embed", None)):
            raise ArgumentError(f"model: expected an embedding model, found {type(model).__name__}")
        self._model = model
        self._dimensions = model.embed([], dimensions=dimensions).shape[1]
        self.path = self._folder / INDEX_NAME if path is None else checked_path("path", path)
        """The index file."""
        about = about_model(
            model.fingerprint, model.quant, model.kv, model.config.rope_digest(), model.activations, self._dimensions
        )
        self._updating = threading.Lock()
        self._store = Store(self.path, about, self._dimensions)

    def __enter__(self) -> SearchIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Every later use raises SearchIndexError."""
        self._store.close()

    def __len__(self) -> int:
        """Return the number of passages."""
        return self._store.passage_count()

    def update(self, progress: Progress | None = None) -> Update:
        """Update the index: embed new and changed files, and remove deleted ones.

        A file with the same size and modification time counts as unchanged. A file with another time but the same
        SHA-256 is not embedded again. After an error or Ctrl-C the finished work is kept, and the next update goes on.

        Args:
            progress: a bar to use; default: none.

        Raises:
            SearchIndexError: the index cannot be written, for example because the disk is full; it is
                damaged or closed.
        """
        check_progress(progress)
        with self._updating:
            return self._update(progress)

    def _update(self, progress: Progress | None) -> Update:
        done = Update()
        known = self._store.files()
        files = []
        for found in walk(self._folder):
            if printable(found.name) != found.name:
                done.skipped.append(Skipped(printable(found.name), "expected a name in UTF-8"))
            elif not self._is_own(found):
                files.append(found)
        gone = known.keys() - {found.name for found in files}
        if gone:
            with self._store.transaction():
                for name in gone:
                    self._store.remove(known[name].id)
            done.removed = len(gone)
        pending = [found for found in files if not _is_unchanged(found, known.get(found.name))]
        done.unchanged = len(files) - len(pending)
        if progress is not None:
            progress.start("Reading and embedding", len(pending), "files")
        self._embed(pending, known, done, progress)
        return done

    def _is_own(self, found: Found) -> bool:
        """Whether a file is the index or its SQLite journal."""
        own = [f"{self.path.name}{suffix}" for suffix in ("", *JOURNAL_SUFFIXES)]
        return found.path.name in own and found.path.parent.resolve() == self.path.parent.resolve()

    def _embed(self, pending: list[Found], known: dict[str, FileRow], done: Update, progress: Progress | None) -> None:
        """Embed passages, some hundred at a time across files. Each time they are committed."""
        waiting: deque[_Piece] = deque()  # read, but not stored yet

        def texts() -> Iterator[str]:
            for piece in self._pieces(pending, known, done):
                waiting.append(piece)
                if piece.passage is not None:
                    yield piece.passage.text

        ids: dict[str, int] = {}

        def keep(piece: _Piece, vector: NDArray[np.float32] | None) -> None:
            name = piece.found.name
            if name not in ids:
                if name in known:
                    self._store.remove(known[name].id)
                ids[name] = self._store.add_file(name, piece.found.size, piece.found.changed)
            if piece.passage is not None and vector is not None:
                self._store.add_passage(ids[name], piece.passage.line, piece.page, piece.passage.text, vector)
                done.passages += 1
            if piece.digest is not None:
                self._store.complete(ids.pop(name), piece.found.changed, piece.digest)
                done.added += name not in known
                done.changed += name in known
                if progress is not None:
                    progress.advance(1)

        windows = self._model.embed_stream(texts(), dimensions=self._dimensions, truncate=True)
        with closing(windows):
            for vectors in windows:
                with self._store.transaction():
                    for vector in vectors:
                        while waiting[0].passage is None:
                            keep(waiting.popleft(), None)
                        keep(waiting.popleft(), vector)
        with self._store.transaction():
            while waiting:
                keep(waiting.popleft(), None)

    def _pieces(self, pending: list[Found], known: dict[str, FileRow], done: Update) -> Iterator[_Piece]:
        for found in pending:
            before = known.get(found.name)
            try:
                data = read(found)
                digest = hashlib.sha256(data).digest()
                if before is not None and before.digest == digest:
                    with self._store.transaction():
                        self._store.complete(before.id, found.changed, digest)
                    done.unchanged += 1
                    continue
                markdown = found.path.suffix.lower() in _MARKDOWN
                cut = [(each, part.page) for part in parts(data) for each in passages(part.text, markdown=markdown)]
            except UnreadableFileError as reason:
                done.skipped.append(Skipped(found.name, str(reason)))
                if before is not None:
                    with self._store.transaction():
                        self._store.remove(before.id)
                continue
            for number, (passage, page) in enumerate(cut, 1):
                yield _Piece(found, passage, page, digest if number == len(cut) else None)
            if not cut:  # a binary or empty file is stored too, so that it is not read again until it changes
                yield _Piece(found, None, None, digest)

    def search(
        self,
        question: str,
        *,
        top_n: int = 5,
        instruction: str | None = None,
        reranker: Model | None = None,
        progress: Progress | None = None,
    ) -> list[Hit]:
        """Return the passages that answer a question best, best first.

        Args:
            question: the question or search text.
            top_n: most passages.
            instruction: what questions look for; see `qwen3cpu.EmbedOptions`. It is used for the reranker, too.
            reranker: a reranking model. It reads the nearest passages; order and scores are then the reranker's.
            progress: a bar for the reranker.

        Raises:
            ArgumentError: an empty question, an invalid number, or a reranker that was not made for reranking.
            SearchIndexError: the index is damaged or closed.
        """
        check_text(question, "question")
        if not question.strip():
            raise ArgumentError("question: expected a text, found white space")
        check_progress(progress)
        if reranker is not None and not callable(getattr(reranker, "rerank", None)):
            raise ArgumentError(f"reranker: expected a reranking model, found {type(reranker).__name__}")
        top_n = whole_number("top_n", top_n, 1, 1000, what="a number of passages")
        vector = self._model.embed(question, kind="query", instruction=instruction, dimensions=self._dimensions)
        count = top_n if reranker is None else max(_RERANKED * top_n, _LEAST_RERANKED)
        near = self._store.nearest(vector, count)
        hits = [Hit(each.file, each.line, each.page, each.cosine, each.text) for each in near]
        if reranker is None:
            return hits
        texts = [hit.text for hit in hits]
        ranking = reranker.rerank(
            question, texts, progress=progress, instruction=instruction, top_n=top_n, truncate=True
        )
        return [replace(hits[place], score=score) for place, score in ranking]


def _is_unchanged(found: Found, known: FileRow | None) -> bool:
    return known is not None and known.digest != b"" and (known.size, known.changed) == (found.size, found.changed)
