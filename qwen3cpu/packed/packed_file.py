"""The packed file: a whole model with weights in the engine's own layout, used straight from mmap.

It is a safetensors file that any reader of that format can list:

    header    one run of JSON, padded with spaces so that the data starts on a page
    matrices  U8 [pages, 4096] each: the bytes that `_native.pack_into` made, zeros up to the end of the last page
    vectors   F32 [n] each: norm weights and biases
    tokenizer.json   U8 [n]: the file

`__metadata__` has, in this order and all as strings: header_sha256, format ("qwen3cpu"), format_version,
package_version, quant, fingerprint (of the source), source (JSON: its name, and the SHA-256 of each of its weight
files), sha256 (JSON: tensor -> SHA-256 of its bytes), matrices (JSON: name -> [format, rows, cols]), config,
generation_config, tokenizer_config (the files' texts), when the model has one chat_template, when it was calibrated
calibration (calibration/report.py), and when it was measured quality (receipt.py). header_sha256 (sealed.py) shows when
the file is opened that a byte before the data has changed; sums.py compares the data with the tensors' digests.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.hf_folder import ModelTexts, parse_texts
from qwen3cpu.checkpoint.json_fields import Fields, brief, parse_object
from qwen3cpu.checkpoint.safetensors_file import SafetensorsFile
from qwen3cpu.checkpoint.tensors import QUANTS, format_of, matrix_shapes, vector_lengths
from qwen3cpu.errors import CheckpointError
from qwen3cpu.packed.sealed_file import PAGE, PART_SUFFIX, check_seal, is_sealed, replacing, seal
from qwen3cpu.system.memory import anonymous_bytes

SUFFIX: Final = ".qwen3"
FORMAT_VERSION: Final = "2"
_YOUNG_SECONDS: Final = 60.0
_TOKENIZER: Final = "tokenizer.json"
_FORMAT: Final = "qwen3cpu"


@dataclass(frozen=True)
class PackedMatrix:
    """Weight format and shape of one packed matrix."""

    format: str
    rows: int
    cols: int

    @property
    def bytes(self) -> int:
        """Bytes of the packed matrix, without the padding to a whole page."""
        return _native.matrix_bytes(self.format, self.rows, self.cols)

    @property
    def pages(self) -> int:
        """Pages that it takes in a file."""
        return -(-self.bytes // PAGE)

    def room(self) -> NDArray[np.uint8]:
        """New memory for it, uint8 [bytes], zeroed and page-aligned."""
        return anonymous_bytes(self.pages * PAGE)[: self.bytes]


def plan_matrices(config: ModelConfig, quant: str) -> dict[str, PackedMatrix]:
    """Name -> format and shape of every matrix of a model packed as `quant`."""
    return {
        name: PackedMatrix(format_of(name, quant, config), rows, cols)
        for name, (rows, cols) in matrix_shapes(config).items()
    }


# Writing


@dataclass(frozen=True)
class Origin:
    """What a file was packed from.

    name: as the user gave it. fingerprint: FolderWeights.fingerprint(). sha256: weight file -> hex digest of its bytes.
    """

    name: str
    fingerprint: str
    sha256: Mapping[str, str]


def build_header(
    texts: ModelTexts,
    quant: str,
    origin: Origin,
    matrices: Mapping[str, PackedMatrix],
    vectors: Mapping[str, int],
    sha256: Mapping[str, str],
    notes: Mapping[str, str],
) -> bytes:
    """Length field and header of a packed file; the data follows in the order of the mappings, then the tokenizer.

    sha256: tensor -> hex digest. Its length does not depend on the digests. notes: more entries of `__metadata__`.
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
        **notes,
    }
    tensors = [(name, "U8", [matrix.pages, PAGE], matrix.pages * PAGE) for name, matrix in matrices.items()]
    tensors += [(name, "F32", [length], 4 * length) for name, length in vectors.items()]
    tensors.append((_TOKENIZER, "U8", [len(texts.tokenizer_json)], len(texts.tokenizer_json)))
    return seal(_FORMAT, metadata, tensors)


def is_packed(start: bytes) -> bool:
    """Whether a file that begins with these bytes (a page is enough) was written as a packed file of any version."""
    return is_sealed(start, _FORMAT)


def _package_version() -> str:
    # Imported here: it takes as long as numpy, and only writing needs it.
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
    matrices: Mapping[str, PackedMatrix],
    pack: Callable[[str, PackedMatrix, NDArray[np.uint8]], None],
    vectors: Mapping[str, NDArray[np.float32]],
    source_sums: Callable[[], Mapping[str, str]],
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write a packed file beside `path` and rename it into place; on an error or Ctrl-C nothing stays behind.

    matrices: what it will hold, in the order of `plan_matrices`. pack(name, matrix, out) fills out, uint8
    [matrix.bytes], zeroed and page-aligned. source_sums is asked when all is
    packed; its digests, which may be worked out meanwhile, take the place of those of `origin`. notes: more entries of
    `__metadata__`. Raises OSError of the file system.
    """
    lengths = {name: vector.size for name, vector in vectors.items()}
    sha256 = dict.fromkeys((*matrices, *vectors, _TOKENIZER), "0" * 64)
    buffer = anonymous_bytes(max(matrix.pages for matrix in matrices.values()) * PAGE)
    with replacing(path) as file:
        chunks = _ChunkWriter(file)

        def write(name: str, data: NDArray[np.uint8]) -> None:
            sha256[name] = hashlib.sha256(data.data).hexdigest()
            chunks.write(data)

        header = build_header(texts, quant, origin, matrices, lengths, sha256, notes or {})
        chunks.write(np.frombuffer(header, np.uint8))
        for name, matrix in matrices.items():
            pages = buffer[: matrix.pages * PAGE]
            pages.fill(0)
            pack(name, matrix, pages[: matrix.bytes])
            write(name, pages)
        for name, vector in vectors.items():
            write(name, vector.astype("<f4").view(np.uint8))
        write(_TOKENIZER, np.frombuffer(texts.tokenizer_json, np.uint8))
        chunks.flush()
        file.seek(0)
        file.write(
            build_header(texts, quant, replace(origin, sha256=source_sums()), matrices, lengths, sha256, notes or {})
        )


class _ChunkWriter:
    """Writes a file in pieces of 8 MiB that begin at multiples of 8 MiB, whatever pieces it is given.

    Linux keeps such a file in huge pages where the file system can (ext4 of Linux 6.18 does), and maps it with them.
    Written matrix by matrix, at odd offsets, fewer than half of it lies in huge pages, and decoding is up to a tenth
    slower.
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
        """Hand what is left to the file."""
        self._file.write(self._chunk[: self._used].data)
        self._used = 0


def is_being_written(part: Path) -> bool:
    """Whether a process still writes an unfinished file, as far as can be told. Raises FileNotFoundError."""
    try:
        with part.open("rb") as file:
            # A file this young may belong to a writer that has not come to locking it yet.
            if time.time() - os.fstat(file.fileno()).st_mtime <= _YOUNG_SECONDS:
                return True
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        raise
    except OSError:
        return True  # locked by its writer, or not ours to touch


def remove_abandoned(folder: Path) -> None:
    """Remove the unfinished files of processes that were killed while packing into `folder`."""
    for path in folder.glob(f"*{SUFFIX}.*{PART_SUFFIX}"):
        with contextlib.suppress(OSError):  # another process was quicker
            if not is_being_written(path):
                path.unlink()


# Reading


class PackedFile:
    """An open packed file; `matrices` are read-only views of the mapping, which they keep alive."""

    def __init__(self, path: Path) -> None:
        """Map `path` and check its header whole. Raises CheckpointError when it is damaged or of another kind."""
        self.path = path
        self._file = SafetensorsFile(path)
        self._check_header()
        self.metadata = metadata = self._file.metadata
        self.quant = self._field("quant", QUANTS)
        self.fingerprint = self._field("fingerprint", None)
        self.origin = self._read_origin()
        self.texts = self._read_texts(metadata)
        self.plan = self._read_plan()
        self._check_names()
        self.matrices = {
            name: (matrix.format, matrix.rows, matrix.cols, self._matrix(name, matrix))
            for name, matrix in self.plan.items()
        }
        self.vectors = {name: self._vector(name, length) for name, length in vector_lengths(self.texts.config).items()}
        self._advise()

    def _check_header(self) -> None:
        header, found = self._file.header, self._file.metadata
        if not is_packed(header) or found.get("format") != _FORMAT:
            raise CheckpointError(
                f"{self.path}: expected a packed qwen3cpu file, found a safetensors file of another kind; "
                "pass the folder of a Hugging Face checkpoint instead of a file in it"
            )
        check_seal(header, self.path)
        if found.get("format_version") != FORMAT_VERSION:
            raise CheckpointError(
                f"{self.path}: format_version: expected {FORMAT_VERSION}, found {brief(found.get('format_version'))} "
                "(written by another version of qwen3cpu; pack the model again)"
            )

    def _field(self, name: str, allowed: tuple[str, ...] | None) -> str:
        value = self._file.metadata.get(name)
        if value is None or (allowed is not None and value not in allowed):
            raise CheckpointError(f"{self.path}: {name}: expected {allowed or 'a string'}, found {brief(value)}")
        return value

    def _read_origin(self) -> Origin:
        source = f"{self.path}: source"
        values = parse_object(self._field("source", None).encode("utf-8", "replace"), source)
        fields = Fields(values, source, CheckpointError)
        sums = values.get("sha256")
        if not isinstance(sums, dict) or not all(isinstance(each, str) for each in sums.values()):
            raise fields.fail("sha256", "an object of hex digests")
        return Origin(fields.text("name") or "", self.fingerprint, sums)

    def sums(self) -> dict[str, str]:
        """Tensor -> the SHA-256 that its bytes had when they were written. Raises CheckpointError when one lacks."""
        source = f"{self.path}: sha256"
        found = parse_object(self._field("sha256", None).encode("utf-8", "replace"), source)
        for name in self._file.tensors:
            if not isinstance(found.get(name), str):
                raise CheckpointError(f"{source}: expected the digest of {name}, found {brief(found.get(name))}")
        return found

    @property
    def header(self) -> bytes:
        """Length field and header."""
        return self._file.header

    @property
    def tensors(self) -> list[str]:
        """The names of everything in the file, in its order."""
        return sorted(self._file.tensors, key=lambda name: self._file.tensors[name].start)

    def stored(self, name: str) -> NDArray[np.uint8]:
        """All bytes of a tensor as they lie in the file, padding included."""
        return self._file.raw(name)

    def _read_texts(self, metadata: Mapping[str, str]) -> ModelTexts:
        tokenizer = self._file.tensors.get(_TOKENIZER)
        if tokenizer is None or tokenizer.dtype != "U8":
            raise CheckpointError(f"{self.path}: expected U8 tensor {_TOKENIZER}, found {tokenizer}")
        files = {_TOKENIZER: self._file.array(_TOKENIZER).tobytes()}
        for name in ("config", "generation_config", "tokenizer_config"):
            # A lone surrogate in the JSON text cannot be encoded; the parser then reports the replacement.
            files[name + ".json"] = self._field(name, None).encode("utf-8", "replace")
        return parse_texts(files, metadata.get("chat_template"), str(self.path))

    def _read_plan(self) -> dict[str, PackedMatrix]:
        source = f"{self.path}: matrices"
        described = parse_object(self._field("matrices", None).encode("utf-8", "replace"), source)
        shapes = matrix_shapes(self.texts.config)
        if list(described) != list(shapes):
            wrong = sorted(set(described) ^ set(shapes)) or ["another order"]
            raise CheckpointError(
                f"{source}: expected the {len(shapes)} matrices of the config, found {wrong[0]} amiss"
            )
        plan = {}
        for name, (rows, cols) in shapes.items():
            found = described[name]
            if not isinstance(found, list) or found[1:] != [rows, cols] or found[0] not in _native.FORMATS:
                raise CheckpointError(f"{source}: {name}: expected [format, {rows}, {cols}], found {brief(found)}")
            plan[name] = PackedMatrix(found[0], rows, cols)
        return plan

    def _check_names(self) -> None:
        expected = {*self.plan, *vector_lengths(self.texts.config), _TOKENIZER}
        wrong = sorted(expected ^ set(self._file.tensors))
        if wrong:
            what = "no such tensor" if wrong[0] in expected else "a tensor that the config does not call for"
            raise CheckpointError(f"{self.path}: tensor {wrong[0]!r}: found {what}")

    def _matrix(self, name: str, matrix: PackedMatrix) -> NDArray[np.uint8]:
        entry = self._file.tensors[name]
        if entry.dtype != "U8" or entry.shape != (matrix.pages, PAGE) or entry.start % PAGE:
            raise CheckpointError(
                f"{self.path}: tensor {name}: expected U8 [{matrix.pages}, {PAGE}] at the start of a page, "
                f"found {entry.dtype} {list(entry.shape)} at byte {entry.start}"
            )
        return self._file.array(name).reshape(-1)[: matrix.bytes]

    def _vector(self, name: str, length: int) -> NDArray[np.float32]:
        entry = self._file.tensors[name]
        if entry.dtype != "F32" or entry.shape != (length,):
            raise CheckpointError(
                f"{self.path}: tensor {name}: expected F32 [{length}], found {entry.dtype} {list(entry.shape)}"
            )
        return self._file.array(name).astype(np.float32)

    def _advise(self) -> None:
        entries = [self._file.tensors[name] for name in self.plan]
        start, stop = min(entry.start for entry in entries), max(entry.stop for entry in entries)
        # No MADV_WILLNEED: touching the pages reads them from the disk as fast, and all of them into huge pages.
        self._file.advise("MADV_HUGEPAGE", start, stop)
