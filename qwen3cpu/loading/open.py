"""Opens a model: from what the user names (a folder, a file, a hub id, "tiny") to everything that a model object needs.

Large models are packed once, into the user's cache (packed/cache.py), and mapped from there.
"""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from qwen3cpu.arguments import check_flag
from qwen3cpu.checkpoint import hub
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.tensors import EARLIER, check_quant
from qwen3cpu.checkpoint.weight_source import OpenedModel, read_vectors
from qwen3cpu.errors import ArgumentError, CheckpointError
from qwen3cpu.loading.loaded_model import Checkpoint
from qwen3cpu.loading.locate import EMBEDDED, Located, locate
from qwen3cpu.loading.sources import may_be_packed, open_unpacked, read_unpacked_config
from qwen3cpu.packed.matrix import plan_matrices
from qwen3cpu.packed.packed_file import PackedFile
from qwen3cpu.quantization.pack_model import pack_in_memory, pack_to_file
from qwen3cpu.system.free_memory import available_memory
from qwen3cpu.system.progress_bar import Progress, check_progress
from qwen3cpu.system.use_lock import InUseError, UseLock, use_locks

_logger = logging.getLogger("qwen3cpu")

_CACHED_FROM: Final = 64 << 20  # bytes of source weights; for smaller models, packing is cheaper than a file


def open_checkpoint(
    source: str | os.PathLike[str],
    quant: str | None = None,
    *,
    threads: int,
    cache: bool = True,
    progress: Progress | None = None,
) -> Checkpoint:
    """Open a model.

    Args:
        source: a folder in Hugging Face layout, a packed file, a GGUF file, a hub id "owner/name", or the name of a
            released model. "tiny" and "tiny-embedding" are models inside the package; write "./tiny" for a folder.
        quant: one of QUANTS. None: the format of a packed file; for a quantised folder or GGUF file, the format that
            keeps its levels; otherwise "q4".
        threads: to pack with.
        cache: keep large models as packed files in the user's cache directory (QWEN3CPU_CACHE).
        progress: a bar to use instead of a new one.

    Raises:
        ArgumentError: an unknown quant, or one that a packed file does not hold; another wrong argument.
        CheckpointError, ConfigError: a missing or damaged model.
        DownloadError: a hub id cannot be fetched.
    """
    if quant is not None:
        check_quant(quant)
    check_flag("cache", cache)
    check_progress(progress)
    located = locate(source)
    locks = () if located.name in EMBEDDED else _locks(located.path)
    checkpoint = _open(located, quant, threads, cache, progress)
    packed = checkpoint.packed_path
    if packed is not None and packed != located.path:
        locks += _locks(packed)
    return replace(checkpoint, locks=locks, fits=packed is None or _fits(checkpoint))


def _fits(checkpoint: Checkpoint) -> bool:
    """Whether memory holds the weights. Call before they are touched, because a control group counts touched pages."""
    left = available_memory()
    return left is None or sum(matrix.data.nbytes for matrix in checkpoint.matrices.values()) <= left.bytes


def _locks(path: Path) -> tuple[UseLock, ...]:
    try:
        return use_locks([path])
    except InUseError:
        raise CheckpointError(f"{path}: another process is removing it; try again") from None


def _open(located: Located, quant: str | None, threads: int, cache: bool, progress: Progress | None) -> Checkpoint:
    if may_be_packed(located.path):
        return _from_packed(located.name, PackedFile(located.path), quant)
    opened = open_unpacked(located.path, located.label)
    job = _Packing(located, opened, quant or opened.preferred_quant, threads)
    if progress is not None:
        return job.run(cache, progress)
    with Progress("Packing", None) as own:
        return job.run(cache, own)


def read_config(source: str | os.PathLike[str]) -> tuple[ModelConfig, PackedFile | None]:
    """Read a model's configuration, and return it with the file if it is a packed one. Weights are not downloaded.

    source: as for `open_checkpoint`, which documents the errors.
    """
    path = locate(source, hub.CONFIG).path
    if may_be_packed(path):
        file = PackedFile(path)
        return file.texts.config, file
    return read_unpacked_config(path), None


def _from_packed(name: str, file: PackedFile, quant: str | None) -> Checkpoint:
    if quant is not None and quant != file.quant:
        raise ArgumentError(
            f"quant: {file.path} is packed as {file.quant!r}; expected that or no quant, found {quant!r}"
            + (" (the format has changed since that file; pack the model again)" if file.quant == EARLIER else "")
        )
    return Checkpoint.of(
        name,
        file.texts,
        file.matrices,
        file.vectors,
        file.quant,
        fingerprint=file.fingerprint,
        packed=file,
    )


@dataclass
class _Packing:
    """Packs a model into the engine's layout."""

    located: Located
    source: OpenedModel
    quant: str
    threads: int

    def run(self, cache: bool, progress: Progress) -> Checkpoint:
        """Return the packed model: a large one from the cache if `cache` allows it, otherwise packed in memory."""
        weights = self.source.weights
        file = self._cached(progress) if cache and weights.stored_bytes >= _CACHED_FROM else None
        if file is not None:
            texts = file.texts if self.source.texts_in_fingerprint else self.source.read_texts()
            matrices, vectors = file.matrices, file.vectors
        else:
            texts = self.source.read_texts()
            matrices = pack_in_memory(weights, texts, self.quant, threads=self.threads, progress=progress)
            vectors = read_vectors(weights)
        return Checkpoint.of(
            self.located.name, texts, matrices, vectors, self.quant, fingerprint=weights.fingerprint(), packed=file
        )

    def _cached(self, progress: Progress) -> PackedFile | None:
        """Return the packed file from the cache, and write it first if it is missing. None: the cache is unusable."""
        # Imported here because packed files and small models do not need it.
        from qwen3cpu.packed import cache as packed_cache

        try:
            folder = packed_cache.cache_folder()
            folder.mkdir(parents=True, exist_ok=True)
            path = packed_cache.packed_path(folder, self.located.label, self.source.weights.fingerprint(), self.quant)
            found = self._open_cached(path)
            if found is None:
                with packed_cache.alone_packing(folder):
                    found = self._open_cached(path) or self._packed_to(path, progress)
            if found is not None:
                packed_cache.note_use(path)
            return found
        except (OSError, RuntimeError) as reason:
            _logger.warning(
                "The packed model cannot be kept (%s), so every load packs it in memory. QWEN3CPU_CACHE chooses "
                "another cache directory.",
                reason,
            )
            return None

    def _packed_to(self, path: Path, progress: Progress) -> PackedFile | None:
        from qwen3cpu.packed import cache as packed_cache

        packed_cache.remove_abandoned(path.parent)
        self._check_space(path.parent)
        pack_to_file(
            path,
            self.source.weights,
            self.source.read_texts(),
            self.quant,
            name=self.located.name,
            threads=self.threads,
            progress=progress,
        )
        return self._open_cached(path)

    def _open_cached(self, path: Path) -> PackedFile | None:
        if not path.is_file():
            return None
        try:
            file = PackedFile(path)
        except CheckpointError as reason:
            _logger.warning("Packing again, because the cached file is not usable: %s", reason)
            return None
        if file.fingerprint != self.source.weights.fingerprint() or file.quant != self.quant:
            _logger.warning("Packing again, because %s holds another model than its name says", path)
            return None
        return file

    def _check_space(self, folder: Path) -> None:
        """Raise OSError when the packed file does not fit. Checked first because packing may take minutes."""
        plan = plan_matrices(self.source.config, self.quant, self.source.weights)
        needed = sum(matrix.bytes for matrix in plan.values())
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise OSError(f"{folder}: {needed} bytes needed, {free} free")
