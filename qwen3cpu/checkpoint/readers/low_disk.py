"""A model folder for a disk that cannot hold both its weights and the packed file.

Each file is deleted as soon as none of its matrices will be read again. Files of a model on the hub are fetched one by
one, each when one of its tensors is read. Before that, the headers of all files are fetched, so that a wrong model is
found at once.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.hub_files import HubFile, HubModel, RefusedError, StopFetchingError, fetch_file, part_of
from qwen3cpu.checkpoint.input_files import pieces_of
from qwen3cpu.checkpoint.mapped_tensors import MappedTensors
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.readers.safetensors_folder import FolderWeights
from qwen3cpu.checkpoint.readers.tensor_files import OpenFile, WeightFiles
from qwen3cpu.checkpoint.safetensors_file import SafetensorsFile, SafetensorsStart, has_header
from qwen3cpu.checkpoint.tensors import EMBEDDING, HEAD, tensors_of
from qwen3cpu.errors import CheckpointError, DownloadError

_logger = logging.getLogger("qwen3cpu")

WAITS: Final = [5, 30, 120]
"""Seconds before each new attempt to fetch a file. A short failure must not end hours of packing."""
Shown = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""shown(name, bytes) shows the progress of a file during a block, and gives a function that takes the bytes so far."""


class Shard(MappedTensors):
    """A file that is opened when one of its tensors is read, and deleted at the end.

    The system frees its space on disk once no view of it is left.
    """

    def __init__(self, start: MappedTensors, open_whole: Callable[[], MappedTensors]) -> None:
        """Take the file's header from `start`. `open_whole` opens the whole file, which may take long."""
        self.path, self.size, self.mtime_ns = start.path, start.size, start.mtime_ns
        self.header, self.tensors = start.header, start.tensors
        self._open_whole = open_whole
        self._file: MappedTensors | None = None

    def between(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return bytes [start, stop), a view of the file. Raises CheckpointError, DownloadError."""
        return self._whole().between(start, stop)

    def _whole(self) -> MappedTensors:
        if self._file is None:
            self._file = self._open_whole()
            if self._file.header != self.header:
                raise CheckpointError(
                    f"{self.path}: expected the same tensors as when the file was first opened, found others"
                )
        return self._file

    def advise(self, option: str, start: int, stop: int) -> None:
        """Call madvise as MappedTensors does, if the file is open."""
        if self._file is not None:
            self._file.advise(option, start, stop)

    def delete(self) -> str:
        """Delete the file and return the SHA-256 (hex) of its contents. Raises CheckpointError, DownloadError."""
        self._whole()
        digest = hashlib.sha256()
        try:
            for piece in pieces_of(self.path):
                digest.update(piece)
            self._file = None
            self.path.unlink()
        except OSError as reason:
            raise CheckpointError(f"{self.path}: cannot be deleted: {reason.strerror or reason}") from reason
        return digest.hexdigest()


class FilesHere(WeightFiles):
    """The files of a folder on this machine."""

    def open(self, path: Path, open_file: OpenFile) -> MappedTensors:
        """Open a file. Raises CheckpointError, also for a link, because deleting it would free no space."""
        if path.is_symlink():
            raise CheckpointError(f"{path}: expected a file that can be deleted, found a link to {path.resolve()}")
        return Shard(open_file(path), partial(open_file, path))


class FilesOnHub(WeightFiles):
    """The safetensors files of a model on the hub, fetched into a temporary folder.

    A file in the hub's cache is used through a link. Only the link is deleted.
    """

    def __init__(self, model: HubModel, folder: Path, shown: Shown) -> None:
        self._model, self._folder, self._shown = model, folder, shown
        self._files = {file.name: file for file in model.files}

    def exists(self, path: Path) -> bool:
        """Whether the repository has such a file."""
        return path.name in self._files

    def open(self, path: Path, open_file: OpenFile) -> MappedTensors:
        """Open a file after fetching its header. Raises CheckpointError, DownloadError."""
        file = self._files[path.name]
        part = self.fetch(file, start_only=True)
        return Shard(SafetensorsStart(part, path, file.size), lambda: SafetensorsFile(self.fetch(file)))

    def fetch(self, file: HubFile, *, start_only: bool = False) -> Path:
        """Fetch a file, or with `start_only` at least its header, and return its path. Raises DownloadError."""
        from huggingface_hub import try_to_load_from_cache

        path = self._folder / file.name
        cached = try_to_load_from_cache(self._model.id, file.name, revision=self._model.commit)
        if isinstance(cached, str) and not path.exists():
            path.symlink_to(cached)
        with self._shown(file.name, file.size) as show:

            def attempt() -> Path:
                try:
                    return fetch_file(self._model, file, self._folder, note)
                except StopFetchingError:
                    return part_of(file, self._folder)

            def note(size: int) -> None:
                if start_only and has_header(part_of(file, self._folder)):
                    raise StopFetchingError
                show(size)

            for wait in WAITS:
                try:
                    return attempt()
                except RefusedError:
                    raise
                except DownloadError as reason:
                    _logger.warning("%s; trying again in %d seconds", reason, wait)
                    time.sleep(wait)
            return attempt()


class LowDiskFolder(FolderWeights):
    """A model folder whose files are deleted. The caller calls `done` after the last read of a matrix."""

    def __init__(self, folder: Path, texts: ModelTexts, files: WeightFiles) -> None:
        """Open FilesHere or FilesOnHub; arguments and errors as for FolderWeights."""
        super().__init__(folder, texts, files)
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._sums: dict[str, str] = {}
        self._waiting: dict[Shard, set[str]] = {self._shard(name): set() for name in self.tensors}
        for name in self.matrices:
            for each in self._read_with(name):
                self._waiting[self._shard(each)].add(each)

    @property
    def deleted(self) -> list[str]:
        """Names of the files that have been deleted."""
        return list(self._sums)

    def vector(self, name: str) -> NDArray[np.float32]:
        """Return a norm weight or bias as FolderWeights does, also when its file has been deleted."""
        if name not in self._vectors:
            self._vectors[name] = super().vector(name)
        return self._vectors[name]

    def done(self, name: str) -> None:
        """Note that no row of this matrix will be read again, and delete files that are not needed."""
        for each in self._read_with(name):
            shard = self._shard(each)
            self._waiting[shard].remove(each)
            if not self._waiting[shard]:
                self._delete(shard)

    def finish(self) -> dict[str, str]:
        """Delete the remaining files. Return name -> SHA-256 (hex) of every file, in the order of `files`."""
        for shard in self._waiting:
            if shard.path.name not in self._sums:
                self._delete(shard)
        return {name: self._sums[name] for name in self.files()}

    def disk_needed(self, sizes: Mapping[str, int], out: Path) -> int:
        """Return the bytes that must be free in folder `out`, where matrices of these sizes (bytes) are written."""
        same_disk = out.stat().st_dev == self.path.stat().st_dev
        waiting = {shard: set(names) for shard, names in self._waiting.items()}
        here = {shard for shard in waiting if shard.path.exists()}
        before = used = most = sum(shard.size for shard in here)
        tensors = (tensor for tensor in tensors_of(self.config) if tensor.is_matrix)
        for _, group in groupby(tensors, lambda tensor: tensor.layer):
            names = [tensor.name for tensor in group]
            # A layer runs before its first matrix is packed, so all of its files are fetched.
            fetched = {self._shard(each) for name in names for each in self._read_with(name)} - here
            used += sum(shard.size for shard in fetched)
            here |= fetched
            for name in names:
                used += sizes[name]
                most = max(most, used)
                for each in self._read_with(name):
                    shard = self._shard(each)
                    waiting[shard].remove(each)
                    if same_disk and not waiting[shard]:
                        used -= shard.size
        return most - before

    def _read_with(self, name: str) -> tuple[str, ...]:
        """Return the tensors that are read together with a matrix."""
        return (name, HEAD) if name == EMBEDDING and self.has_twin else (name,)

    def _shard(self, name: str) -> Shard:
        shard = self.tensors.file(name)
        assert isinstance(shard, Shard)
        return shard

    def _delete(self, shard: Shard) -> None:
        for name in self.vectors:
            if self._shard(name) is shard:
                self.vector(name)
        self._sums[shard.path.name] = shard.delete()
