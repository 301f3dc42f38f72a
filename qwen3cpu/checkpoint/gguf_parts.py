"""A model in GGUF, in one file or in several: NAME-00001-of-00003.gguf and so on, as llama-gguf-split writes them.

The first part has the metadata. Each part has its own tensors. Its keys split.no, split.count and split.tensors.count
are its number from 0, the number of parts, and the number of tensors in all parts.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.arguments import as_whole
from qwen3cpu.checkpoint.gguf_file import GgufFile, GgufTensor
from qwen3cpu.checkpoint.json_fields import brief
from qwen3cpu.errors import CheckpointError

PART: Final = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")


class GgufModel(Protocol):
    """The source of a model's texts: a GgufFile, or the GgufParts of a whole model."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor]


class GgufParts:
    """All files of a model. path, metadata: those of the first file. tensors: of all files; each lies within one."""

    def __init__(self, path: Path) -> None:
        """Open the model that has `path` as a part, usually the first.

        Raises CheckpointError for a part that is missing, damaged or of another model.
        """
        self.files: list[GgufFile] = [GgufFile(each) for each in _paths(path)]
        self.path: Path = self.files[0].path
        self.metadata: dict[str, Any] = self.files[0].metadata
        self.tensors: dict[str, GgufTensor] = {}
        self._file_of: dict[str, GgufFile] = {}
        for number, file in enumerate(self.files):
            self._check_part(file, number)
            for name, tensor in file.tensors.items():
                if name in self._file_of:
                    raise CheckpointError(f"{file.path}: tensor {name!r}: found it in {self._file_of[name].path} too")
                self._file_of[name] = file
                self.tensors[name] = tensor
        expected = self.metadata.get("split.tensors.count")
        if len(self.files) > 1 and as_whole(expected) != len(self.tensors):
            raise CheckpointError(
                f"{self.path}: split.tensors.count: expected the number of tensors in all parts, "
                f"{len(self.tensors)}, found {brief(expected)}"
            )

    def _check_part(self, file: GgufFile, number: int) -> None:
        for key, expected, alone in (("split.no", number, 0), ("split.count", len(self.files), 1)):
            found = file.metadata.get(key)
            if found is None and len(self.files) == 1:
                continue
            whole = as_whole(found)
            if whole != expected and not (key == "split.count" and len(self.files) == 1 and whole in (0, alone)):
                advice = (
                    "; a part of several has a name such as model-00001-of-00003.gguf and lies beside the others"
                    if len(self.files) == 1
                    else ""
                )
                raise CheckpointError(f"{file.path}: {key}: expected {expected}, found {brief(found)}{advice}")

    def rows(self, name: str, first: int, last: int) -> NDArray[np.uint8]:
        """Return the stored bytes of rows [first, last): uint8 [rows, bytes of a row], a view of the tensor's file."""
        return self._file_of[name].rows(name, first, last)

    def advise(self, option: str, name: str, start: int, stop: int) -> None:
        """Call madvise with mmap.`option` on bytes [start, stop) of the file that has a tensor."""
        self._file_of[name].advise(option, start, stop)


def is_later_part(path: Path) -> bool:
    """Whether a file's name is that of a later part of a model, not of the first."""
    found = PART.fullmatch(path.name)
    return found is not None and int(found[2]) > 1


def _paths(path: Path) -> list[Path]:
    """Return the paths of all parts of a model, given any of them."""
    found = PART.fullmatch(path.name)
    if found is None:
        return [path]
    name, _, count = found.groups()
    paths = [path.with_name(f"{name}-{number:05d}-of-{count}.gguf") for number in range(1, int(count) + 1)]
    for each in paths:
        if not each.is_file():
            raise CheckpointError(f"{path}: expected its part {each.name} beside it, found no such file")
    return paths or [path]
