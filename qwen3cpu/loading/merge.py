"""`qwen3cpu.merge`: writes a checkpoint with an adapter merged into its weights."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.adapters.base_model import check_base
from qwen3cpu.checkpoint.adapters.contents import AdapterContents, LowRank
from qwen3cpu.checkpoint.adapters.read import read_adapter
from qwen3cpu.checkpoint.dtypes import as_dtype, as_float32
from qwen3cpu.checkpoint.input_files import read_file
from qwen3cpu.checkpoint.json_fields import parse_object
from qwen3cpu.checkpoint.readers.safetensors_folder import FolderWeights
from qwen3cpu.checkpoint.safetensors_writer import TensorToWrite, write_model
from qwen3cpu.checkpoint.tensors import EMBEDDING, HEAD, tensors_of
from qwen3cpu.errors import AdapterError, ArgumentError
from qwen3cpu.loading.locate import locate
from qwen3cpu.loading.sources import may_be_packed, open_unpacked
from qwen3cpu.system.paths import checked_path
from qwen3cpu.system.progress_bar import Progress

_DTYPES: Final = {np.dtype("<u2"): "BF16", np.dtype("<f2"): "F16", np.dtype("<f4"): "F32"}
_TEXT_SUFFIXES: Final = (".json", ".jinja", ".txt", ".md")
_ROWS_BYTES: Final = 64 << 20  # of a piece in float32


def merge(base: str | os.PathLike[str], adapter: str | os.PathLike[str], out: str | os.PathLike[str]) -> dict[str, int]:
    """Write a checkpoint with an adapter merged into its weights.

    The arithmetic is float32, and every tensor is saved in its dtype of the base. If the base ties its head to the
    embedding and the adapter changes one of them, the merged model stores both.

    Args:
        base: a model folder in Hugging Face layout with weights in bfloat16, float16 or float32, or a hub id.
        adapter: as for `load(adapters=...)`.
        out: a folder that does not exist yet. It appears once everything is written.

    Returns:
        Number of changed tensors, and of all tensors: `{"changed": ..., "tensors": ...}`.

    Raises:
        ArgumentError: another kind of base; `out` exists or cannot be written.
        AdapterError, CheckpointError, DownloadError: as for `load`.
    """
    target = checked_path("out", out)
    if os.path.lexists(target):
        raise ArgumentError(f"out: expected a folder that does not exist yet, found {target}")
    name, _, folder = locate(base)
    opened = None if may_be_packed(folder) else open_unpacked(folder)
    if opened is None or not isinstance(opened.weights, FolderWeights):
        raise ArgumentError(
            f"base: expected a model folder with weights in bfloat16, float16 or float32, found {name}: merge into the "
            "checkpoint that it was made from"
        )
    contents = read_adapter(adapter, opened.config)
    check_base(contents, name)
    progress = Progress("Merging", None)
    merged = _Merged(opened.weights, contents, progress, tied=opened.config.tie_word_embeddings)
    tensors = {tensor.name: merged.tensor(tensor.name, tensor.shape) for tensor in tensors_of(opened.config)}
    if merged.unties:
        tensors[HEAD] = merged.tensor(HEAD, tensors[EMBEDDING].shape)
    try:
        with _appearing(target) as part, progress:
            _copy_texts(folder, part, unties=merged.unties)
            progress.start(f"Merging into {target.name}", sum(tensor.size for tensor in tensors.values()))
            write_model(part, tensors)
    except OSError as reason:
        raise ArgumentError(f"out: {target} cannot be written: {reason.strerror or reason}") from reason
    return {"changed": len(merged.changed & set(tensors)), "tensors": len(tensors)}


class _Merged:
    """The tensors of the merged model."""

    def __init__(self, weights: FolderWeights, contents: AdapterContents, progress: Progress, *, tied: bool) -> None:
        self._weights = weights
        self._contents = contents
        self._progress = progress
        self._tied = tied
        self.changed = {*contents.low_rank, *contents.whole}
        self.unties = tied and bool(self.changed & {EMBEDDING, HEAD})
        """Whether head and embedding differ after the merge, although the base ties them."""

    def _stored(self, name: str) -> str:
        """Return the name of the base's tensor. A tied head is the embedding."""
        return EMBEDDING if name == HEAD and self._tied else name

    def _base(self, name: str, first: int, last: int) -> NDArray[Any]:
        return self._weights.rows(self._stored(name), first, last)

    def tensor(self, name: str, shape: tuple[int, ...]) -> TensorToWrite:
        """Describe a tensor, which is computed while it is written."""
        dtype = self._base(name, 0, 1).dtype
        return TensorToWrite(_DTYPES[dtype], shape, lambda: self._pieces(name, shape, dtype))

    def _pieces(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
        whole, change = self._contents.whole.get(name), self._contents.low_rank.get(name)
        step = max(1, _ROWS_BYTES // (4 * (shape[1] if len(shape) == 2 else 1)))

        def rows(first: int, last: int) -> NDArray[Any]:
            return self._base(name, first, last) if whole is None else whole[first:last]

        factor = None if change is None or change.magnitude is None else self._factor(name, shape, change, rows, step)
        for first in range(0, shape[0], step):
            last = min(first + step, shape[0])
            piece = rows(first, last)
            if change is not None:
                piece = _changed(name, change, as_float32(piece), first, last)
            if factor is not None:
                piece = piece * (factor if name == EMBEDDING else factor[first:last, None])
            try:
                written = piece if piece.dtype == dtype else as_dtype(as_float32(piece), dtype)
                self._progress.advance(written.nbytes)
                yield written
            except OverflowError as reason:
                raise AdapterError(f"{self._contents.path}: {name}: {reason}") from None

    @staticmethod
    def _factor(name: str, shape: tuple[int, ...], change: LowRank, rows: Any, step: int) -> NDArray[np.float32]:
        """Return DoRA's factors: magnitude over norm, for each row, or for each column of the embedding."""
        assert change.magnitude is not None
        axis = 0 if name == EMBEDDING else 1
        squares = []
        for first in range(0, shape[0], step):
            last = min(first + step, shape[0])
            changed = _changed(name, change, as_float32(rows(first, last)), first, last).astype(np.float64)
            squares.append((changed * changed).sum(axis))
        sums = np.sum(squares, axis=0) if axis == 0 else np.concatenate(squares)
        factor: NDArray[np.float32] = change.magnitude / np.sqrt(sums).astype(np.float32)
        return factor


def _changed(name: str, change: LowRank, rows: NDArray[np.float32], first: int, last: int) -> NDArray[np.float32]:
    """Return rows [first, last) of `W + scale * b a`, or of `W + scale * (b a)^T` for the embedding."""
    product = change.a[:, first:last].T @ change.b.T if name == EMBEDDING else change.b[first:last] @ change.a
    changed: NDArray[np.float32] = rows + np.float32(change.scale) * product
    return changed


def _copy_texts(folder: Path, part: Path, *, unties: bool) -> None:
    """Copy the text files that lie directly in the base's folder."""
    for path in sorted(folder.iterdir()):
        if path.suffix not in _TEXT_SUFFIXES or path.name.endswith(".index.json") or not path.is_file():
            continue
        data = read_file(path)
        assert data is not None
        if path.name == "config.json" and unties:
            config = parse_object(data, str(path))
            data = (json.dumps({**config, "tie_word_embeddings": False}, indent=2) + "\n").encode()
        (part / path.name).write_bytes(data)


@contextlib.contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """Make a folder beside `target`. It is renamed to `target` when the block succeeds, and removed when it fails."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    part.mkdir(parents=True)
    try:
        yield part
        if target.exists() or target.is_symlink():
            raise ArgumentError(f"out: expected a folder that does not exist yet, found {target}")
        part.rename(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
