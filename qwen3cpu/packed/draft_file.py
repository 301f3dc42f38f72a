"""Files of texts to draft from. They hold tokens of one tokenizer and sorted positions, and are mapped for use."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.input_files import start_of
from qwen3cpu.checkpoint.json_fields import brief, parse_object
from qwen3cpu.checkpoint.safetensors_file import SafetensorsFile
from qwen3cpu.errors import CheckpointError, DraftFileError
from qwen3cpu.packed.sealed_file import PAGE, check_seal, is_sealed, replacing, seal

FORMAT: Final = "qwen3cpu drafts"
FORMAT_VERSION: Final = "1"
_NAMES: Final = ("tokens", "places")


class DraftFile:
    """An open draft file. All of its bytes are checked when it is opened.

    Args:
        path: of the file.

    Attributes:
        tokens: int32 [n], the texts one after another, each followed by -1; a mapping of the file.
        places: int32 [at most n], positions of tokens in sorted order; a mapping of the file.
        tokenizer: fingerprint of the tokenizer that made the tokens.

    Raises:
        DraftFileError: the file is missing or damaged, or not a draft file.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = file = SafetensorsFile(path)
            if not is_sealed(file.header, FORMAT):
                raise DraftFileError(f"{path}: expected a file that `qwen3cpu drafts` wrote, found another")
            check_seal(file.header, path)
            self._check(path)
        except CheckpointError as error:
            raise DraftFileError(str(error)) from None
        self.tokens, self.places = (file.raw(name).view("<i4") for name in _NAMES)
        self.tokenizer = file.metadata["tokenizer"]

    def usable(self) -> bool:
        """Whether the file still has its length. Reading the mapping of a shorter file would end the process."""
        try:
            self._file.check_size()
        except CheckpointError:
            return False
        return True

    def _check(self, path: Path) -> None:
        version = self._file.metadata.get("format_version")
        if version != FORMAT_VERSION:
            raise DraftFileError(f"{path}: format_version: expected {FORMAT_VERSION}, found {brief(version)}")
        sums = parse_object(self._file.metadata.get("sha256", "").encode(), f"{path}: sha256")
        for name in _NAMES:
            entry = self._file.tensors.get(name)
            if entry is None or entry.dtype != "I32":
                raise DraftFileError(f"{path}: expected a tensor {name!r} of type I32, found none")
            digest = hashlib.sha256(self._file.raw(name).data).hexdigest()
            if sums.get(name) != digest:
                raise DraftFileError(
                    f"{path}: damaged: {name}: expected SHA-256 {brief(sums.get(name))}, found {digest}"
                )


def write_draft_file(path: Path, tokens: NDArray[np.int32], places: NDArray[np.int32], tokenizer: str) -> None:
    """Write a file beside `path` and rename it into place. Arguments: as the attributes of DraftFile.

    Raises:
        DraftFileError: the file cannot be written.
    """
    arrays = {"tokens": tokens.astype("<i4", copy=False), "places": places.astype("<i4", copy=False)}
    sums = {name: hashlib.sha256(array.data).hexdigest() for name, array in arrays.items()}
    metadata = {"format_version": FORMAT_VERSION, "tokenizer": tokenizer, "sha256": json.dumps(sums)}
    header = seal(FORMAT, metadata, [(name, "I32", [len(each)], each.nbytes) for name, each in arrays.items()])
    try:
        with replacing(path) as file:
            file.write(header)
            for array in arrays.values():
                file.write(array.data)
    except OSError as reason:
        raise DraftFileError(f"{path}: cannot be written: {reason.strerror or reason}") from reason


def check_replaceable(path: Path) -> None:
    """Raise DraftFileError unless a path is free or a draft file."""
    if os.path.exists(path) and not is_sealed(start_of(path, PAGE), FORMAT):
        raise DraftFileError(f"{path}: expected no file or one that `qwen3cpu drafts` wrote, found something else")
