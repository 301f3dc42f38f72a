"""The tensors of a model folder in all of its files, by the names that Qwen3ForCausalLM gives them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.dtypes import finite_float32
from qwen3cpu.checkpoint.input_files import read_file
from qwen3cpu.checkpoint.json_fields import brief, parse_object
from qwen3cpu.checkpoint.mapped_tensors import DTYPE_BYTES, MappedTensors, TensorEntry
from qwen3cpu.checkpoint.readers.folder_kind import check_no_adapter, describe_other_weights
from qwen3cpu.checkpoint.safetensors_file import SafetensorsFile
from qwen3cpu.checkpoint.stacked_experts import split_stacks
from qwen3cpu.checkpoint.tensor_names import own_names
from qwen3cpu.errors import CheckpointError

FLOATS: Final = ("BF16", "F16", "F32")
"""The dtypes of weights that are not quantised."""
OpenFile = Callable[[Path], MappedTensors]


def _open_torch_file(path: Path) -> MappedTensors:
    # Imported here because few models are written by torch.save.
    from qwen3cpu.checkpoint.torch_file import TorchFile

    return TorchFile(path)


_KINDS: Final[tuple[tuple[str, str, OpenFile], ...]] = (
    ("model.safetensors", "model.safetensors.index.json", SafetensorsFile),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", _open_torch_file),
)
"""(a single file, the index of several, function that opens a file), in the order in which they are looked for."""


class WeightFiles:
    """The source of a folder's weight files: here, the folder itself."""

    def exists(self, path: Path) -> bool:
        """Whether a file exists. False for a name that the system does not allow."""
        try:
            return path.exists()
        except OSError:
            return False

    def open(self, path: Path, open_file: OpenFile) -> MappedTensors:
        """Open a file with the function for its kind. Raises CheckpointError."""
        return open_file(path)


IN_FOLDER: Final = WeightFiles()


class TensorFiles:
    """Every tensor of a model folder; read through mmap."""

    def __init__(self, folder: Path, files: WeightFiles = IN_FOLDER) -> None:
        """Open the files of a folder.

        The first of these is used, as in transformers: model.safetensors, the shards of its index, pytorch_model.bin,
        the shards of its index. Raises CheckpointError for files that are missing or damaged, and for two tensors that
        would get the same name.
        """
        self.path = folder
        self._file_of = split_stacks(_open_files(folder, files))
        self._stored = own_names(self._file_of, folder)

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def file(self, name: str) -> MappedTensors:
        """Return the file of a tensor."""
        return self._file_of[self._stored[name]]

    def entry(self, name: str) -> TensorEntry:
        """Return dtype, shape and place of a tensor."""
        return self.file(name).tensors[self._stored[name]]

    def where(self, name: str) -> str:
        """Name a tensor by its file and its name there, for messages."""
        return f"{self.file(name).path}: tensor {self._stored[name]}"

    def check(self, name: str, shape: tuple[int, ...], dtypes: Collection[str] = FLOATS) -> None:
        """Raise CheckpointError unless a tensor has this name and shape, and one of the dtypes."""
        if name not in self:
            raise CheckpointError(f"{self.path}: expected tensor {name} of shape {list(shape)}, found no such tensor")
        entry = self.entry(name)
        if entry.shape != shape:
            raise CheckpointError(f"{self.where(name)}: expected shape {list(shape)}, found {list(entry.shape)}")
        if entry.dtype not in dtypes:
            raise CheckpointError(f"{self.where(name)}: expected dtype {', '.join(dtypes)}, found {entry.dtype}")

    def array(self, name: str) -> NDArray[Any]:
        """Return a tensor in its shape, as `MappedTensors.array` does: a view of the file."""
        return self.file(name).array(self._stored[name])

    def rows(self, name: str, first: int, last: int) -> NDArray[Any]:
        """Return rows [first, last) of a tensor, aligned: a view of the file if possible, else a copy."""
        part = self.array(name)[first:last]
        return part if part.flags.aligned else part.copy()

    def raw(self, name: str) -> NDArray[np.uint8]:
        """Return the bytes of a tensor: a view of the file."""
        return self.file(name).raw(self._stored[name])

    def finite(self, name: str) -> NDArray[np.float32]:
        """Return a tensor of floats, a float32 copy. Raises CheckpointError when a value is not finite."""
        return finite_float32(self.array(name), self.where(name))

    def finite_part(self, name: str, part: Any) -> NDArray[np.float32]:
        """As `finite`, for the part of the tensor that a NumPy index selects."""
        return finite_float32(self.array(name)[part], self.where(name))

    def bytes_of(self, name: str) -> int:
        """Return the bytes of a tensor in its file."""
        entry = self.entry(name)
        return entry.stop - entry.start

    def width(self, name: str) -> int:
        """Return the bytes of an element of a tensor."""
        return DTYPE_BYTES.get(self.entry(name).dtype, 1)

    def advise(self, option: str, name: str, first: int, last: int, parts: int) -> None:
        """Call madvise with mmap.`option` for parts [first, last) of a tensor divided into `parts` equal ones."""
        entry = self.entry(name)
        size = entry.stop - entry.start
        self.file(name).advise(option, entry.start + size * first // parts, entry.start + size * last // parts)

    def files(self) -> dict[str, Path]:
        """Return name -> path of every file."""
        return dict(sorted((file.path.name, file.path) for file in self._file_of.values()))

    def fingerprint(self, config_json: bytes) -> str:
        """Return the SHA-256 (hex) over config.json and the name, size, modification time and header of every file.

        The weights themselves are not read, because reading 3 GB would take longer than mapping the packed file.
        """
        digest = hashlib.sha256(hashlib.sha256(config_json).digest())
        files = {file.path.name: file for file in self._file_of.values()}
        for name, file in sorted(files.items()):
            digest.update(f"{name}\0{file.size}\0{file.mtime_ns}\0".encode())
            digest.update(hashlib.sha256(file.header).digest())
        return digest.hexdigest()


def _open_files(folder: Path, files: WeightFiles) -> dict[str, MappedTensors]:
    """Open the files and return tensor name -> the file that holds it."""
    for single, index, open_file in _KINDS:
        if files.exists(folder / single):
            file = files.open(folder / single, open_file)
            return dict.fromkeys(file.tensors, file)
        if (found := read_file(folder / index)) is not None:
            return _open_shards(folder, files, index, found, open_file)
    check_no_adapter(folder)
    single, index, _ = _KINDS[0]
    raise CheckpointError(f"{folder}: expected {single} or {index}, found {describe_other_weights(folder)}")


def _open_shards(
    folder: Path, files: WeightFiles, index: str, data: bytes, open_file: OpenFile
) -> dict[str, MappedTensors]:
    source = f"{folder / index}"
    weight_map = parse_object(data, source).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{source}: weight_map: expected an object of tensor names, found {brief(weight_map)}")
    opened: dict[str, MappedTensors] = {}
    file_of = {}
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or shard in ("", ".", "..") or set(shard) & set("/\\\0"):
            raise CheckpointError(f"{source}: weight_map: {name!r}: expected a file name, found {brief(shard)}")
        if shard not in opened:
            if not files.exists(folder / shard):
                raise CheckpointError(f"{folder}: expected the file {shard} that {index} names, found none")
            opened[shard] = files.open(folder / shard, open_file)
        if name not in opened[shard].tensors:
            raise CheckpointError(f"{folder / shard}: expected tensor {name!r} as {index} says, found none")
        file_of[name] = opened[shard]
    return file_of
