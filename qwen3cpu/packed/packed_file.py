"""Reads the packed file: a whole model with weights in the engine's own layout, used directly from mmap.

It is a safetensors file that any reader of that format can list:

    header    one run of JSON, padded with spaces so that the data starts on a page
    matrices  U8 [pages, 4096] each: the bytes that `_native.pack_into` made, zeros up to the end of the last page
    vectors   F32 [n] each: norm weights and biases
    tokenizer.json   U8 [n]: the file

`__metadata__` has these strings, in this order:

    header_sha256, format ("qwen3cpu"), format_version, package_version, quant
    fingerprint      of the source
    source           JSON: its name, and the SHA-256 of each of its weight files
    sha256           JSON: tensor -> SHA-256 of its bytes
    matrices         JSON: name -> [format, rows, cols]
    config, generation_config, tokenizer_config   the texts of the files
    chat_template    if the model has one
    purpose          if it was not made for generation (checkpoint/purpose.py)
    calibration      if it was calibrated (quantization/calibration_report.py)
    quality          if it was measured (evaluation/quality_receipt.py)

Opening a file checks header_sha256 (sealed_file.py), so a changed byte before the data is found. The data is compared
with the tensors' digests by checksums.py. The file is written by packed_writer.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.json_fields import Fields, brief, parse_object
from qwen3cpu.checkpoint.model_texts import ModelTexts, parse_texts
from qwen3cpu.checkpoint.purpose import Purpose
from qwen3cpu.checkpoint.safetensors_file import SafetensorsFile
from qwen3cpu.checkpoint.tensors import HEAD, MATRIX_FORMATS, QUANTS, matrix_shapes, read_format, vector_lengths
from qwen3cpu.errors import CheckpointError
from qwen3cpu.packed.matrix import MatrixLayout, PackedMatrix
from qwen3cpu.packed.sealed_file import PAGE, check_seal, is_sealed

SUFFIX: Final = ".qwen3"
FORMAT_VERSION: Final = "4"
_WITH_WIDE_HEADS: Final = "3"
"""A version with one difference: heads of a model in q4 are in q8."""
_EARLIER_VERSION: Final = "2"
"""A version with one more difference: its "q4" is EARLIER."""
TOKENIZER: Final = "tokenizer.json"
FORMAT: Final = "qwen3cpu"


@dataclass(frozen=True)
class Origin:
    """The source that a file was packed from.

    name: as the user gave it. fingerprint: WeightSource.fingerprint(). sha256: weight file -> hex digest of its bytes.
    """

    name: str
    fingerprint: str
    sha256: Mapping[str, str]


def is_packed(start: bytes) -> bool:
    """Whether a file that begins with these bytes is a packed file of any version. A page is enough."""
    return is_sealed(start, FORMAT)


class PackedFile:
    """An open packed file. `matrices` are read-only views of the mapping and keep it alive."""

    def __init__(self, path: Path) -> None:
        """Map `path` and check its whole header. Raises CheckpointError when it is damaged or of another kind."""
        self.path = path
        self._file = SafetensorsFile(path)
        self._check_header()
        self.metadata = metadata = self._file.metadata
        self.quant = self._format_of(self._field("quant", QUANTS))
        self.fingerprint = self._field("fingerprint", None)
        self.origin = self._read_origin()
        self.texts = self._read_texts(metadata)
        self.plan = self._read_plan()
        self._check_names()
        self.matrices: dict[str, PackedMatrix] = {
            name: layout.with_data(self._matrix_bytes(name, layout)) for name, layout in self.plan.items()
        }
        self.vectors = {name: self._vector(name, length) for name, length in vector_lengths(self.texts.config).items()}
        self._advise()

    def _check_header(self) -> None:
        header, found = self._file.header, self._file.metadata
        if not is_packed(header) or found.get("format") != FORMAT:
            raise CheckpointError(
                f"{self.path}: expected a packed qwen3cpu file, found a safetensors file of another kind; "
                "pass the folder of a Hugging Face checkpoint instead of a file in it"
            )
        check_seal(header, self.path)
        if found.get("format_version") not in (FORMAT_VERSION, _WITH_WIDE_HEADS, _EARLIER_VERSION):
            raise CheckpointError(
                f"{self.path}: format_version: expected {FORMAT_VERSION}, found {brief(found.get('format_version'))} "
                "(written by another version of qwen3cpu; pack the model again)"
            )

    def _field(self, name: str, allowed: tuple[str, ...] | None) -> str:
        value = self._file.metadata.get(name)
        if value is None or (allowed is not None and value not in allowed):
            raise CheckpointError(f"{self.path}: {name}: expected {allowed or 'a string'}, found {brief(value)}")
        return value

    def _format_of(self, name: str) -> str:
        """Return the weight format for a name in the file."""
        return read_format(name, earlier=self.metadata["format_version"] == _EARLIER_VERSION)

    def _read_origin(self) -> Origin:
        source = f"{self.path}: source"
        values = parse_object(self._field("source", None).encode("utf-8", "replace"), source)
        fields = Fields(values, source, CheckpointError)
        sums = values.get("sha256")
        if not isinstance(sums, dict) or not all(isinstance(each, str) for each in sums.values()):
            raise fields.fail("sha256", "an object of hex digests")
        return Origin(fields.text("name") or "", self.fingerprint, sums)

    def sums(self) -> dict[str, str]:
        """Return tensor -> SHA-256 of its bytes when they were written. Raises CheckpointError if one is missing."""
        source = f"{self.path}: sha256"
        found = parse_object(self._field("sha256", None).encode("utf-8", "replace"), source)
        for name in self._file.tensors:
            if not isinstance(found.get(name), str):
                raise CheckpointError(f"{source}: expected the digest of {name}, found {brief(found.get(name))}")
        return found

    def check_size(self) -> None:
        """Raise CheckpointError when the file has become shorter since it was opened."""
        self._file.check_size()

    @property
    def header(self) -> bytes:
        """Length field and header."""
        return self._file.header

    @property
    def tensors(self) -> list[str]:
        """The names of all tensors, in the order of the file."""
        return sorted(self._file.tensors, key=lambda name: self._file.tensors[name].start)

    def stored(self, name: str) -> NDArray[np.uint8]:
        """Return all bytes of a tensor in the file, including padding."""
        return self._file.raw(name)

    def _read_texts(self, metadata: Mapping[str, str]) -> ModelTexts:
        tokenizer = self._file.tensors.get(TOKENIZER)
        if tokenizer is None or tokenizer.dtype != "U8":
            raise CheckpointError(f"{self.path}: expected U8 tensor {TOKENIZER}, found {tokenizer}")
        files = {TOKENIZER: self._file.array(TOKENIZER).tobytes()}
        for name in ("config", "generation_config", "tokenizer_config"):
            # A lone surrogate in the JSON text cannot be encoded; the parser then reports the replacement.
            files[name + ".json"] = self._field(name, None).encode("utf-8", "replace")
        # The file has its own weights, so quantisation methods of the source do not matter.
        texts = parse_texts(files, metadata.get("chat_template"), str(self.path), quant_methods=None)
        purpose = metadata.get("purpose")
        if purpose is None:
            return texts
        read = Purpose.from_json(purpose.encode("utf-8", "replace"), f"{self.path}: purpose")
        return texts.for_purpose(read, has_head=HEAD in self._file.tensors)

    def _read_plan(self) -> dict[str, MatrixLayout]:
        source = f"{self.path}: matrices"
        described = parse_object(self._field("matrices", None).encode("utf-8", "replace"), source)
        shapes = matrix_shapes(self.texts.config)
        if list(described) != list(shapes):
            wrong = sorted(set(described) ^ set(shapes)) or ["another order"]
            raise CheckpointError(
                f"{source}: expected the {len(shapes)} matrices of the config, found a difference: {wrong[0]}"
            )
        plan = {}
        for name, (rows, cols) in shapes.items():
            found = described[name]
            if not isinstance(found, list) or found[1:] != [rows, cols] or found[0] not in MATRIX_FORMATS:
                raise CheckpointError(f"{source}: {name}: expected [format, {rows}, {cols}], found {brief(found)}")
            plan[name] = MatrixLayout(self._format_of(found[0]), rows, cols)
        return plan

    def _check_names(self) -> None:
        expected = {*self.plan, *vector_lengths(self.texts.config), TOKENIZER}
        wrong = sorted(expected ^ set(self._file.tensors))
        if wrong:
            what = "no such tensor" if wrong[0] in expected else "a tensor that the config does not describe"
            raise CheckpointError(f"{self.path}: tensor {wrong[0]!r}: found {what}")

    def _matrix_bytes(self, name: str, layout: MatrixLayout) -> NDArray[np.uint8]:
        entry = self._file.tensors[name]
        if entry.dtype != "U8" or entry.shape != (layout.pages, PAGE) or entry.start % PAGE:
            raise CheckpointError(
                f"{self.path}: tensor {name}: expected U8 [{layout.pages}, {PAGE}] at the start of a page, "
                f"found {entry.dtype} {list(entry.shape)} at byte {entry.start}"
            )
        return self._file.array(name).reshape(-1)[: layout.bytes]

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
        # No MADV_WILLNEED. Touching the pages reads them from the disk as fast, and into huge pages.
        self._file.advise("MADV_HUGEPAGE", start, stop)
