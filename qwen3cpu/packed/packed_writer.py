"""Writes packed files (packed_file.py describes them)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.purpose import GENERATION
from qwen3cpu.checkpoint.tensors import vector_lengths
from qwen3cpu.packed.matrix import MatrixLayout, Pack
from qwen3cpu.packed.packed_file import FORMAT, FORMAT_VERSION, TOKENIZER, Origin
from qwen3cpu.packed.sealed_file import PAGE, replacing, seal
from qwen3cpu.system.memory import anonymous_bytes


def _header(
    texts: ModelTexts,
    quant: str,
    origin: Origin,
    matrices: Mapping[str, MatrixLayout],
    vectors: Mapping[str, int],
    sha256: Mapping[str, str],
    notes: Mapping[str, str],
) -> bytes:
    """Make length field and header of a packed file. The data follows in the order of the mappings, then the tokenizer.

    sha256: tensor -> hex digest. The header's length does not depend on the digests. notes: more entries of
    `__metadata__`.
    """
    described = {name: [matrix.format, matrix.rows, matrix.cols] for name, matrix in matrices.items()}
    metadata = {
        "format_version": FORMAT_VERSION,
        "package_version": _package_version(),
        "quant": quant,
        "fingerprint": origin.fingerprint,
        "source": json.dumps({"name": origin.name, "sha256": dict(origin.sha256)}, separators=(",", ":")),
        "sha256": json.dumps(dict(sha256), separators=(",", ":")),
        "matrices": json.dumps(described, separators=(",", ":")),
        "config": texts.config_json.decode("utf-8"),
        "generation_config": texts.generation_json.decode("utf-8"),
        "tokenizer_config": texts.tokenizer_config_json.decode("utf-8"),
        **({} if texts.chat_template is None else {"chat_template": texts.chat_template}),
        **({} if texts.purpose == GENERATION else {"purpose": texts.purpose.to_json().decode("utf-8")}),
        **notes,
    }
    tensors = [(name, "U8", [matrix.pages, PAGE], matrix.pages * PAGE) for name, matrix in matrices.items()]
    tensors += [(name, "F32", [length], 4 * length) for name, length in vectors.items()]
    tensors.append((TOKENIZER, "U8", [len(texts.tokenizer_json)], len(texts.tokenizer_json)))
    return seal(FORMAT, metadata, tensors)


def _package_version() -> str:
    # Imported here because it takes as long as numpy, and only writing needs it.
    from importlib import metadata

    try:
        return metadata.version("qwen3cpu")
    except metadata.PackageNotFoundError:
        return "unknown"  # a source tree that was never installed


def write_packed(
    path: Path,
    texts: ModelTexts,
    quant: str,
    origin: Origin,
    matrices: Mapping[str, MatrixLayout],
    pack: Pack,
    vector: Callable[[str], NDArray[np.float32]],
    source_sums: Callable[[], Mapping[str, str]],
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write a packed file beside `path` and rename it into place. After an error or Ctrl-C no partial file stays.

    Args:
        path: the file.
        texts: everything except the weights.
        quant: one of QUANTS.
        origin: the source of the weights.
        matrices: layouts of the matrices, in the order of `plan_matrices`.
        pack: fills one matrix after another; `out` is zeroed and page-aligned.
        vector: returns a norm weight or bias. Called after all matrices are packed.
        source_sums: returns the digests for `origin`. Called at the end, so they can be computed meanwhile.
        notes: more entries of `__metadata__`.

    Raises:
        OSError: the file cannot be written.
    """
    lengths = vector_lengths(texts.config)
    sha256 = dict.fromkeys((*matrices, *lengths, TOKENIZER), "0" * 64)
    buffer = anonymous_bytes(max(matrix.pages for matrix in matrices.values()) * PAGE)
    with replacing(path) as file:
        chunks = _ChunkWriter(file)

        def write(name: str, data: NDArray[np.uint8]) -> None:
            sha256[name] = hashlib.sha256(data.data).hexdigest()
            chunks.write(data)

        header = _header(texts, quant, origin, matrices, lengths, sha256, notes or {})
        chunks.write(np.frombuffer(header, np.uint8))
        for name, matrix in matrices.items():
            pages = buffer[: matrix.pages * PAGE]
            pages.fill(0)
            pack(name, matrix, pages[: matrix.bytes])
            write(name, pages)
        for name in lengths:
            write(name, vector(name).astype("<f4").view(np.uint8))
        write(TOKENIZER, np.frombuffer(texts.tokenizer_json, np.uint8))
        chunks.flush()
        file.seek(0)
        file.write(_header(texts, quant, replace(origin, sha256=source_sums()), matrices, lengths, sha256, notes or {}))


class _ChunkWriter:
    """Collects data and writes it to a file in pieces of 8 MiB that begin at multiples of 8 MiB.

    Linux keeps such a file in huge pages if the file system supports them (ext4 of Linux 6.18 does), and maps it with
    them. If it is written matrix by matrix, at odd offsets, less than half of it is in huge pages. Decoding is then up
    to a tenth slower.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._chunk = np.empty(8 << 20, np.uint8)
        self._used = 0

    def write(self, data: NDArray[np.uint8]) -> None:
        """Append uint8 [n]."""
        while data.size:
            if self._used == self._chunk.size:
                self.flush()
            part = data[: self._chunk.size - self._used]
            self._chunk[self._used : self._used + part.size] = part
            self._used += part.size
            data = data[part.size :]

    def flush(self) -> None:
        """Write the collected rest to the file."""
        self._file.write(self._chunk[: self._used].data)
        self._used = 0
