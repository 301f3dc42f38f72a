"""Files in the form of torch.save, made without torch: a ZIP archive with a pickle of names and shapes, and numbers."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

STORAGES = {"F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage", "I32": "IntStorage"}


def write_torch_file(path: Path, tensors: Mapping[str, tuple[str, NDArray[Any]]], **changes: Any) -> None:
    """Write name -> (dtype of safetensors, array with the bytes). changes: arguments of `archive`."""
    members = {f"data/{key}": np.ascontiguousarray(array).tobytes() for key, (_, array) in enumerate(tensors.values())}
    archive(path, pickle_of(tensors), members, **changes)


def archive(path: Path, pickled: bytes, members: Mapping[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> None:
    """Write an archive of a pickle and of other members."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/byteorder", b"little")
        for name, data in members.items():
            file.writestr(f"archive/{name}", data)
        file.writestr("archive/version", b"3\n")


def pickle_of(tensors: Mapping[str, tuple[str, NDArray[Any]]]) -> bytes:
    """The pickle of a dictionary of tensors, storage 0 for the first and so on."""
    items = b"".join(
        text(name) + tensor_of(dtype, str(key), array.size, 0, array.shape)
        for key, (name, (dtype, array)) in enumerate(tensors.items())
    )
    return b"\x80\x02}(" + items + b"u."


def tensor_of(
    dtype: str, key: str, elements: int, first: int, shape: tuple[int, ...], stride: tuple[int, ...] | None = None
) -> bytes:
    """Instructions that leave a tensor on the stack."""
    steps = stride if stride is not None else tuple(int(np.prod(shape[place + 1 :])) for place in range(len(shape)))
    storage = (
        b"(" + text("storage") + named("torch", STORAGES[dtype]) + text(key) + text("cpu") + integer(elements) + b"tQ"
    )
    hooks = named("collections", "OrderedDict") + b")R"
    arguments = storage + integer(first) + integers(shape) + integers(steps) + b"\x89" + hooks
    return named("torch._utils", "_rebuild_tensor_v2") + b"(" + arguments + b"tR"


def named(module: str, name: str) -> bytes:
    """The opcode GLOBAL."""
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    """The opcode BINUNICODE."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def integer(value: int) -> bytes:
    """The opcode BININT."""
    return b"J" + struct.pack("<i", value)


def integers(values: tuple[int, ...]) -> bytes:
    """A tuple of integers by BININT."""
    return b"(" + b"".join(integer(value) for value in values) + b"t"
