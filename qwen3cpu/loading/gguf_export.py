"""Writes a model as a GGUF file that llama.cpp reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import chain, groupby
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.arguments import check_choice
from qwen3cpu.checkpoint.dtypes import as_float32
from qwen3cpu.checkpoint.gguf_file import is_gguf
from qwen3cpu.checkpoint.gguf_types import BLOCKS
from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.readers.gguf_keys import DENSE, WITH_EXPERTS
from qwen3cpu.checkpoint.readers.gguf_weights import GgufWeights
from qwen3cpu.checkpoint.tensors import NARROW, WIDE, Tensor, tensors_of
from qwen3cpu.checkpoint.weight_source import WeightSource, read_vectors
from qwen3cpu.errors import ArgumentError, CheckpointError
from qwen3cpu.loading.gguf_metadata import add_metadata
from qwen3cpu.loading.locate import locate
from qwen3cpu.loading.sources import may_be_packed, open_unpacked
from qwen3cpu.packed.ggml_blocks import q8_0_rows
from qwen3cpu.packed.packed_file import PackedFile
from qwen3cpu.packed.sealed_file import replacing
from qwen3cpu.system.paths import checked_path
from qwen3cpu.system.progress_bar import Progress

GgufType: TypeAlias = Literal["BF16", "Q8_0", "Q4_0"]
GGUF_TYPES: Final[tuple[GgufType, ...]] = get_args(GgufType)
_FILE_TYPES: Final = {"BF16": 32, "Q8_0": 7, "Q4_0": 2}
"""Type -> `general.file_type`, of enum llama_ftype in include/llama.h."""
_NUMBERS: Final = {name: number for number, (name, _, _) in BLOCKS.items()}
_BLOCKS: Final = {name: (weights, size) for name, weights, size in BLOCKS.values()}
_CHUNK_BYTES: Final = 16 << 20  # of source weights in float32

Bytes = NDArray[np.uint8]


class _Source(NamedTuple):
    """A model to export.

    Attributes:
        rows: takes a matrix's name, first and last row; returns float32, float16 or bits of bfloat16.
        stored_type: takes a matrix's name; returns the ggml type it is stored in, or None.
        stored_rows: takes the same as `rows`; returns bytes in `stored_type`.
    """

    texts: ModelTexts
    vectors: dict[str, NDArray[np.float32]]
    rows: Callable[[str, int, int], NDArray[Any]]
    stored_type: Callable[[str], str | None]
    stored_rows: Callable[[str, int, int], Bytes]


def export_gguf(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    kind: GgufType = "BF16",
    *,
    progress: Progress | None = None,
) -> int:
    """Write a model as a GGUF file.

    Args:
        source: as for `load`. Q8_0 keeps the numbers of a packed file in q8. A packed file in 4 bits is refused.
        path: the file. An existing GGUF file is replaced once everything is written.
        kind: "BF16", "Q8_0" or "Q4_0". With "Q4_0" the embedding, the head and v_proj are Q8_0. Matrices that a source
            in GGUF stores in this type are copied.
        progress: a bar to use instead of a new one.

    Returns:
        Bytes of the file.

    Raises:
        ArgumentError: an unknown type; a path that exists and is not a GGUF file, or cannot be written; the package
            `gguf` is not installed.
        CheckpointError, ConfigError, DownloadError: as for `load`, and for models that llama.cpp cannot compute.
    """
    check_choice("type", kind, GGUF_TYPES)
    out = checked_path("path", path)
    if os.path.exists(out) and not (out.is_file() and is_gguf(out)):
        raise ArgumentError(f"path: expected no file or a GGUF file to replace, found something else at {out}")
    try:
        import gguf
    except ImportError:
        raise ArgumentError(
            "GGUF files are written with the package gguf, which is not installed: pip install 'qwen3cpu[gguf]'"
        ) from None
    name, label, found = locate(source)
    opened = _open_packed(PackedFile(found), kind) if may_be_packed(found) else _open(found, label)
    _check(opened.texts, name)
    try:
        with (
            replacing(out) as file,
            nullcontext(progress) if progress is not None else Progress("Exporting", None) as bar,
        ):
            writer = gguf.GGUFWriter(None, DENSE if opened.texts.config.experts is None else WITH_EXPERTS)
            add_metadata(writer, opened.texts, label, _FILE_TYPES[kind])
            _write_tensors(writer, file, opened, kind, bar)
        return out.stat().st_size
    except OSError as reason:
        raise ArgumentError(f"path: {out} cannot be written: {reason.strerror or reason}") from reason


def _open(path: Path, label: str) -> _Source:
    opened = open_unpacked(path, label)
    weights: WeightSource = opened.weights
    own = weights if isinstance(weights, GgufWeights) else None
    return _Source(
        opened.read_texts(),
        read_vectors(weights),
        weights.rows,
        lambda name: None if own is None else own.stored_type(name),
        weights.rows if own is None else own.stored_rows,
    )


def _open_packed(file: PackedFile, kind: str) -> _Source:
    for name, matrix in file.matrices.items():
        if matrix.format not in ("f32", "bf16", WIDE):
            raise CheckpointError(
                f"{file.path}: expected weights in f32, bf16 or q8, found {matrix.format} in {name}: {kind} would "
                "round them once more; export the model that the file was packed from"
            )

    def rows(name: str, first: int, last: int) -> NDArray[np.float32]:
        matrix = file.matrices[name]
        return _native.unpack(matrix.format, matrix.data, matrix.rows, matrix.cols, 1, first, last)

    def stored_type(name: str) -> str | None:
        matrix = file.matrices[name]
        return "Q8_0" if matrix.format == WIDE and matrix.cols % 32 == 0 else None

    def stored_rows(name: str, first: int, last: int) -> Bytes:
        return q8_0_rows(file.matrices[name], first, last)

    return _Source(file.texts, file.vectors, rows, stored_type, stored_rows)


def _check(texts: ModelTexts, name: str) -> None:
    if texts.purpose.task == "reranking":
        raise CheckpointError(f"{name}: expected a model for generation or embedding, found a reranker")
    experts = texts.config.experts
    if experts is not None and experts.dense_layers:
        raise CheckpointError(
            f"{name}: expected experts in all layers, as llama.cpp does, found none in layer {experts.dense_layers[0]}"
        )
    if experts is not None and not experts.normalised:
        raise CheckpointError(f"{name}: norm_topk_prob: expected true, which llama.cpp always does, found false")
    if texts.config.attention_bias:
        raise CheckpointError(f"{name}: attention_bias: expected false (llama.cpp has no bias of o_proj), found true")


def _write_tensors(writer: Any, file: BinaryIO, source: _Source, kind: str, progress: Progress) -> None:
    from gguf.gguf_writer import WriterState

    # A GGUF file has the experts of a layer in one tensor, one after another.
    tensors = {name: list(group) for name, group in groupby(tensors_of(source.texts.config), lambda t: t.gguf_name)}
    types = {name: _type_of(group[0], source.texts, kind) for name, group in tensors.items()}
    total = 0
    for name, own in types.items():
        *rows, cols = tensors[name][0].gguf_shape
        shape = (*rows, _row_bytes(cols, own))
        writer.add_tensor_info(name, shape, np.dtype(np.uint8), prod(shape), raw_dtype=_NUMBERS[own])
        total += prod(shape)
    writer.fout, writer.state = [file], WriterState.EMPTY  # the state of a writer that opened the file itself
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.write_padding(file, file.tell())
    progress.start("Exporting", total, "B")
    for name, own in types.items():
        written = 0
        for data in chain.from_iterable(_pieces(tensor, own, source) for tensor in tensors[name]):
            file.write(data.data)
            written += data.nbytes
            progress.advance(data.nbytes)
        writer.write_padding(file, written)


def _type_of(tensor: Tensor, texts: ModelTexts, kind: str) -> str:
    """Return the type that a tensor is written in.

    Vectors and routers are F32. A matrix whose rows are not a whole number of blocks is BF16.
    """
    if not tensor.is_matrix or tensor.row.role == "router":
        return "F32"
    if kind == "Q4_0" and tensor.format(NARROW, texts.config) != NARROW:
        kind = "Q8_0"
    return kind if tensor.shape[-1] % _BLOCKS[kind][0] == 0 else "BF16"


def _row_bytes(cols: int, kind: str) -> int:
    weights, size = _BLOCKS[kind]
    return cols // weights * size


def _pieces(tensor: Tensor, kind: str, source: _Source) -> Iterator[Bytes]:
    """Yield the bytes of a tensor, some rows at a time."""
    if not tensor.is_matrix:
        yield np.ascontiguousarray(source.vectors[tensor.name], "<f4").view(np.uint8)
        return
    rows, cols = tensor.shape
    step = max(_CHUNK_BYTES // (4 * cols) // _native.TILE_ROWS, 1) * _native.TILE_ROWS
    for first in range(0, rows, step):
        last = min(first + step, rows)
        if source.stored_type(tensor.name) == kind:
            yield np.ascontiguousarray(source.stored_rows(tensor.name, first, last))
        else:
            yield _encode(source.rows(tensor.name, first, last), kind, tensor.name)


def _encode(rows: NDArray[Any], kind: str, name: str) -> Bytes:
    import gguf

    if kind == "BF16" and rows.dtype == np.uint16:
        return np.ascontiguousarray(rows).view(np.uint8)
    values = as_float32(rows)
    if not np.isfinite(values).all():
        raise CheckpointError(f"tensor {name}: expected finite numbers, found others")
    encoded: Bytes = gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])
    return np.ascontiguousarray(encoded).view(np.uint8)
