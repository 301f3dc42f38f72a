"""Reads one file of torch.save (pytorch_model.bin) through mmap, after checking all of its metadata.

The file is a ZIP archive without compression. `NAME/data.pkl` has the names and shapes (torch_pickle.py), and
`NAME/data/KEY` the bytes of a storage, so tensors are read without a copy. Files from before torch 1.6 are not archives
and are refused.
"""

from __future__ import annotations

import math
import mmap
import os
import zipfile
from pathlib import Path
from typing import BinaryIO, Final

from qwen3cpu.checkpoint.file_kinds import START, describe_kind
from qwen3cpu.checkpoint.input_files import open_regular
from qwen3cpu.checkpoint.json_fields import brief
from qwen3cpu.checkpoint.mapped_tensors import DTYPE_BYTES, MappedTensors, TensorEntry
from qwen3cpu.checkpoint.torch_pickle import PickledTensor, read_tensors
from qwen3cpu.errors import CheckpointError

_PICKLE: Final = "data.pkl"
_MAX_PICKLE_BYTES: Final = 100_000_000
_MAX_DIMENSIONS: Final = 32
_LOCAL_HEADER: Final = 30  # bytes before the name
_ZIP: Final = b"PK\x03\x04"


class TorchFile(MappedTensors):
    """An open file of torch.save."""

    def __init__(self, path: Path) -> None:
        """Open and check `path`. Raises CheckpointError for anything that is not a whole file of tensors."""
        self.path = path
        try:
            with open_regular(path) as file:
                status = os.fstat(file.fileno())
                self.size = status.st_size
                self.mtime_ns = status.st_mtime_ns
                start = file.read(START)
                if not start.startswith(_ZIP):
                    kind = describe_kind(start)
                    raise CheckpointError(
                        f"{path}: expected a ZIP archive, as torch.save writes them, found none{kind}"
                    )
                places, pickled, listing = _read_archive(file, path, self.size)
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as reason:
            raise CheckpointError(f"{path}: cannot be read: {reason.strerror or reason}") from reason
        self.header = listing + pickled
        found = read_tensors(pickled, f"{path}: {_PICKLE}")
        self.tensors = {name: _entry(tensor, places, f"{path}: tensor {name!r}") for name, tensor in found.items()}


def _read_archive(file: BinaryIO, path: Path, size: int) -> tuple[dict[str, tuple[int, int]], bytes, bytes]:
    """Return (storage -> (first byte, size), the pickle, a listing that identifies this archive)."""
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            pickles = [info for info in infos if info.filename.rpartition("/")[2] == _PICKLE]
            if len(pickles) != 1:
                raise CheckpointError(f"{path}: expected one {_PICKLE} in the archive, found {len(pickles)}")
            if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
                raise CheckpointError(f"{path}: expected an archive without compression, found a compressed one")
            if pickles[0].file_size > _MAX_PICKLE_BYTES:
                raise CheckpointError(
                    f"{path}: {_PICKLE}: expected at most {_MAX_PICKLE_BYTES} bytes, found {pickles[0].file_size}"
                )
            root = pickles[0].filename.removesuffix(_PICKLE)
            byte_order = f"{root}byteorder"
            if any(info.filename == byte_order for info in infos) and archive.read(byte_order) != b"little":
                raise CheckpointError(
                    f"{path}: expected little-endian numbers, found {archive.read(byte_order)[:20]!r}"
                )
            pickled = archive.read(pickles[0])
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as reason:
        raise CheckpointError(f"{path}: expected a whole ZIP archive: {reason}") from None
    data = f"{root}data/"
    places = {}
    for info in infos:
        if info.filename.startswith(data):
            places[info.filename.removeprefix(data)] = (_first_byte(file, info, path, size), info.file_size)
    listing = "".join(f"{info.filename}\0{info.header_offset}\0{info.file_size}\0{info.CRC}\0" for info in infos)
    return places, pickled, listing.encode("utf-8", "replace")


def _first_byte(file: BinaryIO, info: zipfile.ZipInfo, path: Path, size: int) -> int:
    """Return the first byte of a member's data. It follows the member's own header, which may be longer than listed."""
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or not header.startswith(_ZIP):
        raise CheckpointError(f"{path}: {info.filename}: expected a member at byte {info.header_offset}, found none")
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    first = info.header_offset + _LOCAL_HEADER + lengths
    if first + info.file_size > size:
        raise CheckpointError(f"{path}: {info.filename}: expected {info.file_size} bytes, found the end of the file")
    return first


def _entry(tensor: PickledTensor, places: dict[str, tuple[int, int]], where: str) -> TensorEntry:
    if tensor.key not in places:
        raise CheckpointError(f"{where}: expected the storage {tensor.key!r} in the archive, found none")
    width = DTYPE_BYTES[tensor.dtype]
    start, size = places[tensor.key]
    if size != tensor.elements * width:
        raise CheckpointError(f"{where}: expected a storage of {tensor.elements * width} bytes, found {size}")
    count = math.prod(tensor.shape)
    if tensor.first + count > tensor.elements:
        raise CheckpointError(
            f"{where}: expected {tensor.first + count} numbers in its storage, found {tensor.elements}"
        )
    if len(tensor.shape) > _MAX_DIMENSIONS:
        raise CheckpointError(f"{where}: expected at most {_MAX_DIMENSIONS} dimensions, found {len(tensor.shape)}")
    steps = [math.prod(tensor.shape[place + 1 :]) for place in range(len(tensor.shape))]
    if len(tensor.stride) != len(steps) or any(
        size > 1 and found != step for size, found, step in zip(tensor.shape, tensor.stride, steps, strict=False)
    ):
        raise CheckpointError(
            f"{where}: expected numbers in the order of rows (contiguous), found strides {brief(list(tensor.stride))}; "
            "load it with transformers and save_pretrained(FOLDER)"
        )
    first = start + tensor.first * width
    return TensorEntry(tensor.dtype, tensor.shape, first, first + count * width)
