"""From what the user names (a folder, a file, a hub id, "tiny") to everything that a model object needs."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import cache as packed_cache
from qwen3cpu import hub
from qwen3cpu.calibration.recipe import Recipe, check_recipe
from qwen3cpu.config import GenerationDefaults, ModelConfig
from qwen3cpu.errors import ArgumentError, CheckpointError
from qwen3cpu.gguf_file import GgufFile, is_gguf
from qwen3cpu.hf_folder import FolderWeights, ModelTexts, read_folder_config, read_texts
from qwen3cpu.packed import PackedFile, is_packed, plan_matrices, remove_abandoned
from qwen3cpu.progress import Progress
from qwen3cpu.quantize import WeightSource, calibrate_to_file, pack_in_memory, pack_to_file, read_vectors
from qwen3cpu.sealed import PAGE
from qwen3cpu.threads import resolve_threads
from qwen3cpu.weights import DEFAULT_QUANT, QUANTS, check_quant

__all__ = ["QUANTS", "Checkpoint", "open_checkpoint", "pack", "read_config"]

_logger = logging.getLogger("qwen3cpu")

EMBEDDED: Final = "tiny"
_CACHED_FROM: Final = 64 << 20  # bytes of source weights; smaller models are packed faster than a file is worth


@dataclass
class Checkpoint:
    """A model ready to run: texts, and weights in the layout of `_native.Model`.

    matrices: HF name -> (format, rows, cols, packed bytes); vectors: norm weights and biases. weight_bytes counts both.
    packed_path: the file that the matrices are mapped from, None when they are in anonymous memory.
    """

    source: str
    config: ModelConfig
    generation: GenerationDefaults
    tokenizer_json: bytes
    tokenizer_config: dict[str, Any]
    chat_template: str | None
    matrices: dict[str, tuple[str, int, int, NDArray[np.uint8]]]
    vectors: dict[str, NDArray[np.float32]]
    quant: str
    weight_bytes: int
    fingerprint: str
    packed_path: Path | None


def open_checkpoint(
    source: str | os.PathLike[str],
    quant: str | None = None,
    *,
    threads: int,
    cache: bool = True,
    progress: Progress | None = None,
) -> Checkpoint:
    """Open a model.

    source: a folder in Hugging Face layout, a packed file, a GGUF file, a hub id "owner/name", or "tiny" for the
    embedded model (say "./tiny" for a folder of that name). quant: one of QUANTS; None means "q4", or what a packed
    file holds, or "q8" where a GGUF file is in more than 4 bits. cache: keep large models as packed files in the user's
    cache directory (QWEN3CPU_CACHE). progress: a bar to use instead of an own one.

    Raises ArgumentError for an unknown quant or one that a packed file does not hold, CheckpointError (ConfigError) for
    a missing or damaged model, DownloadError when a hub id cannot be fetched.
    """
    if quant is not None:
        check_quant(quant)
    name, label, path = _locate(source)
    if path.is_file() and not is_gguf(path):
        return _from_packed(name, PackedFile(path), quant)
    opened = _open_weights(path)
    job = _Packing(name, label, opened, quant or opened.preferred_quant, threads)
    if progress is not None:
        return job.run(cache, progress)
    with Progress("Packing", None) as own:
        return job.run(cache, own)


@dataclass(frozen=True)
class _Opened:
    """A model folder or GGUF file.

    read_texts: everything but the weights. texts_in_fingerprint: other texts give another fingerprint, so that those of
    the packed file are the same. preferred_quant: what is best for it when the user names none.
    """

    config: ModelConfig
    weights: WeightSource
    read_texts: Callable[[], ModelTexts]
    texts_in_fingerprint: bool
    preferred_quant: str


def _open_weights(path: Path) -> _Opened:
    if path.is_dir():
        texts = read_texts(path)
        folder = FolderWeights(path, texts.config, texts.config_json)
        return _Opened(texts.config, folder, lambda: texts, False, DEFAULT_QUANT)
    if not is_gguf(path):
        raise CheckpointError(f"{path}: expected a model folder, a packed file or a GGUF file, found neither")
    # Imported here, as it is rarely needed.
    from qwen3cpu.gguf_model import GgufWeights, read_gguf_config, read_gguf_texts

    file = GgufFile(path)
    config = read_gguf_config(file)
    weights = GgufWeights(file, config)
    # Making tokenizer.json takes longer than all else when the weights come from the cache.
    return _Opened(config, weights, partial(read_gguf_texts, file), True, weights.preferred_quant())


def pack(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    quant: str | None = None,
    *,
    calibrate: bool | Recipe = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[int, int]:
    """Pack a model into one file, which `load` maps from then on, here or on another machine.

    Args:
        source: as for `load`, but not a packed file.
        path: the file, by custom with the suffix .qwen3; an existing packed file is replaced when all is written.
        quant: one of QUANTS; default: "q4", or "q8" where a GGUF file is in more than 4 bits.
        calibrate: round to q4 by text that the model writes itself, which takes minutes and costs less quality, and
            keep in q8 what gains most from it; a `qwen3cpu.Recipe` says how and how many. Quant is "q4" then.
        threads: as for `load`.
        progress: a bar to use instead of an own one.

    Returns:
        Bytes of the weight matrices as they were read, and of the file.

    Raises:
        ArgumentError: an unknown quant; another than "q4" with `calibrate`, or a recipe that makes no sense; a path
            that is something else than a packed file, or cannot be written.
        CheckpointError, ConfigError, DownloadError: as for `load`.
    """
    recipe = _checked_recipe(calibrate, quant)
    quant = "q4" if recipe is not None else quant
    if quant is not None:
        check_quant(quant)
    threads = resolve_threads(threads)
    out = Path(path)
    if out.exists():
        _check_replaceable(out)
    name, _, found = _locate(source)
    if found.is_file() and not is_gguf(found):
        raise ArgumentError(f"source: expected a model folder, a GGUF file or a hub id, found the file {found}")
    opened = _open_weights(found)
    weights, texts, quant = opened.weights, opened.read_texts(), quant or opened.preferred_quant
    try:
        with nullcontext(progress) if progress is not None else Progress("Packing", None) as bar:
            if recipe is not None:
                calibrate_to_file(out, weights, texts, recipe, name=name, threads=threads, progress=bar)
            else:
                pack_to_file(out, weights, texts, quant, name=name, threads=threads, progress=bar)
        return weights.stored_bytes, out.stat().st_size
    except OSError as reason:
        raise ArgumentError(f"path: {out} cannot be written: {reason.strerror or reason}") from reason


def _checked_recipe(calibrate: bool | Recipe, quant: str | None) -> Recipe | None:
    """The recipe to follow, None for none."""
    if calibrate is False:
        return None
    if calibrate is not True and not isinstance(calibrate, Recipe):
        raise ArgumentError(f"calibrate: expected True, False or a Recipe, found {calibrate!r}")
    if quant not in (None, "q4"):
        raise ArgumentError(f"calibrate: rounds to 'q4' only, found quant {quant!r}")
    recipe = Recipe() if calibrate is True else calibrate
    check_recipe(recipe)
    return recipe


def _check_replaceable(path: Path) -> None:
    """Raise ArgumentError unless a path is that of a packed file, of whatever version."""
    try:
        with path.open("rb") as file:
            if is_packed(file.read(PAGE)):
                return
    except OSError:
        pass
    raise ArgumentError(f"path: expected no file or a packed one to replace, found something else at {path}")


def read_config(source: str | os.PathLike[str]) -> tuple[ModelConfig, PackedFile | None]:
    """The configuration of a model, and its file when it is a packed one; weights are neither needed nor downloaded.

    source: as for `open_checkpoint`, which says what is raised.
    """
    _, _, path = _locate(source, hub.CONFIG)
    if path.is_file() and is_gguf(path):
        from qwen3cpu.gguf_model import read_gguf_config

        return read_gguf_config(GgufFile(path)), None
    if path.is_file():
        file = PackedFile(path)
        return file.texts.config, file
    return read_folder_config(path), None


def _locate(source: str | os.PathLike[str], wanted: Sequence[str] = hub.WHOLE) -> tuple[str, str, Path]:
    """(the source as text, a short name for it, its file or folder), `wanted` downloaded first when it is a hub id."""
    if not isinstance(source, (str, os.PathLike)):
        raise ArgumentError(f"source: expected a path or a hub id, found {type(source).__name__}")
    text = os.fsdecode(source)
    if text == EMBEDDED and isinstance(source, str):
        return text, text, Path(__file__).parent / "assets" / EMBEDDED
    path = os.path.expanduser(text)
    if text and os.path.exists(path):
        return text, Path(path).resolve().name, Path(path)
    if isinstance(source, str) and hub.is_hub_id(text):
        return text, text, hub.download(text, wanted)
    raise CheckpointError(
        f"{text!r}: expected an existing model folder, packed file or GGUF file, or a hub id of the form owner/name; "
        "found neither"
    )


def _from_packed(name: str, file: PackedFile, quant: str | None) -> Checkpoint:
    if quant is not None and quant != file.quant:
        raise ArgumentError(
            f"quant: {file.path} is packed as {file.quant!r}; expected that or no quant, found {quant!r}"
        )
    return _checkpoint(name, file.texts, file.matrices, file.vectors, file.quant, file.fingerprint, file.path)


def _checkpoint(
    name: str,
    texts: ModelTexts,
    matrices: dict[str, tuple[str, int, int, NDArray[np.uint8]]],
    vectors: dict[str, NDArray[np.float32]],
    quant: str,
    fingerprint: str,
    packed_path: Path | None,
) -> Checkpoint:
    weight_bytes = sum(data.nbytes for _, _, _, data in matrices.values()) + sum(v.nbytes for v in vectors.values())
    return Checkpoint(
        source=name,
        config=texts.config,
        generation=texts.generation,
        tokenizer_json=texts.tokenizer_json,
        tokenizer_config=texts.tokenizer_config,
        chat_template=texts.chat_template,
        matrices=matrices,
        vectors=vectors,
        quant=quant,
        weight_bytes=weight_bytes,
        fingerprint=fingerprint,
        packed_path=packed_path,
    )


@dataclass
class _Packing:
    """A model folder or GGUF file on its way into the engine's layout."""

    name: str
    label: str
    source: _Opened
    quant: str
    threads: int

    def run(self, cache: bool, progress: Progress) -> Checkpoint:
        weights = self.source.weights
        file = self._cached(progress) if cache and weights.stored_bytes >= _CACHED_FROM else None
        if file is not None:
            texts = file.texts if self.source.texts_in_fingerprint else self.source.read_texts()
            matrices, vectors, path = file.matrices, file.vectors, file.path
        else:
            texts, path = self.source.read_texts(), None
            matrices = pack_in_memory(weights, texts, self.quant, threads=self.threads, progress=progress)
            vectors = read_vectors(weights)
        return _checkpoint(self.name, texts, matrices, vectors, self.quant, weights.fingerprint(), path)

    def _cached(self, progress: Progress) -> PackedFile | None:
        """The packed file from the cache, made first when it is not there; None when the cache cannot be used."""
        try:
            folder = packed_cache.cache_folder()
            folder.mkdir(parents=True, exist_ok=True)
            path = packed_cache.packed_path(folder, self.label, self.source.weights.fingerprint(), self.quant)
            found = self._open_cached(path)
            if found is not None:
                return found
            remove_abandoned(folder)
            self._check_space(folder)
            pack_to_file(
                path,
                self.source.weights,
                self.source.read_texts(),
                self.quant,
                name=self.name,
                threads=self.threads,
                progress=progress,
            )
            return self._open_cached(path)
        except (OSError, RuntimeError) as reason:
            _logger.warning(
                "The packed model cannot be kept (%s); packing it in memory, as every load will. QWEN3CPU_CACHE "
                "chooses another cache directory.",
                reason,
            )
            return None

    def _open_cached(self, path: Path) -> PackedFile | None:
        if not path.is_file():
            return None
        try:
            file = PackedFile(path)
        except CheckpointError as reason:
            _logger.warning("Packing again, for the cached file is not usable: %s", reason)
            return None
        if file.fingerprint != self.source.weights.fingerprint() or file.quant != self.quant:
            _logger.warning("Packing again, for %s holds another model than its name says", path)
            return None
        packed_cache.note_use(path)
        return file

    def _check_space(self, folder: Path) -> None:
        """Raise OSError now rather than after minutes of work."""
        needed = sum(matrix.bytes for matrix in plan_matrices(self.source.config, self.quant).values())
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise OSError(f"{folder}: {needed} bytes needed, {free} free")
