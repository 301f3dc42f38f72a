"""Files of torch.save: tensors are read in place, nothing is executed, and all other content is refused."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import DTYPES, to_dtype, write_checkpoint, write_json
from made_folders import MADE, about, digest
from torch_files import archive, integer, named, pickle_of, tensor_of, text, write_torch_file

import qwen3cpu
from qwen3cpu.checkpoint.dtypes import as_float32
from qwen3cpu.checkpoint.torch_file import TorchFile
from qwen3cpu.errors import CheckpointError
from qwen3cpu.loading.open import open_checkpoint

A = np.arange(12, dtype=np.float32).reshape(3, 4)


def read(path: Path) -> dict[str, Any]:
    file = TorchFile(path)
    return {name: file.array(name) for name in file.tensors}


def refused(path: Path, pickled: bytes, message: str, members: dict[str, bytes] | None = None) -> None:
    archive(path, pickled, {"data/0": A.tobytes()} if members is None else members)
    with pytest.raises(CheckpointError, match=message):
        TorchFile(path)


def test_a_file_of_torch() -> None:
    found = read(MADE / "torch_save.bin")
    assert {name: digest(as_float32(values)) for name, values in found.items()} == about("torch_save")["sha256"]


def test_tensors_of_torch_that_share_a_storage(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    whole = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    state = torch.nn.ParameterDict({"whole": whole, "part": torch.nn.Parameter(whole[1:])}).state_dict()
    torch.save({**state, "scalar": torch.tensor(7, dtype=torch.int64)}, tmp_path / "theirs.bin")
    found = read(tmp_path / "theirs.bin")
    assert list(found) == ["part", "whole", "scalar"] or list(found) == ["whole", "part", "scalar"]
    np.testing.assert_array_equal(found["whole"], A)
    np.testing.assert_array_equal(found["part"], A[1:])
    assert (found["scalar"].shape, int(found["scalar"])) == ((), 7)
    torch.save({"x": whole.T}, tmp_path / "turned.bin")
    with pytest.raises(CheckpointError, match=r"'x': expected numbers in the order of rows .*found strides \[1, 4\]"):
        TorchFile(tmp_path / "turned.bin")
    torch.save({"x": whole}, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"expected a ZIP archive, as .* writes them, found none"):
        TorchFile(tmp_path / "old.bin")


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_model_is_that_of_safetensors(tmp_path: Path, shards: int, dtype: str) -> None:
    written = write_checkpoint(tmp_path / "safe", dtype=dtype)
    folder = write_checkpoint(tmp_path / "torch", dtype=dtype).folder
    (folder / "model.safetensors").unlink()
    files: list[dict[str, Any]] = [{} for _ in range(shards)]
    for place, (name, values) in enumerate(written.tensors.items()):
        files[place % shards][name] = (DTYPES[dtype], to_dtype(values, dtype)[0])
    names = (
        ["pytorch_model.bin"] if shards == 1 else [f"pytorch_model-0000{each + 1}-of-00002.bin" for each in range(2)]
    )
    for name, tensors in zip(names, files, strict=True):
        write_torch_file(folder / name, tensors)
    if shards > 1:
        weight_map = {key: name for name, tensors in zip(names, files, strict=True) for key in tensors}
        write_json(folder / "pytorch_model.bin.index.json", {"weight_map": weight_map})
    for quant in ("bf16", "q8"):
        found, expected = (
            qwen3cpu.load(path, quant, threads=1).logits([1, 2, 3]) for path in (folder, tmp_path / "safe")
        )
        np.testing.assert_array_equal(found, expected)
    first = open_checkpoint(folder, threads=1)
    status = (folder / names[-1]).stat()
    os.utime(folder / names[-1], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert open_checkpoint(folder, threads=1).fingerprint != first.fingerprint


def test_safetensors_go_first(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"never opened")
    open_checkpoint(tmp_path, threads=1)


class Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_is_run(tmp_path: Path, protocol: int) -> None:
    refused(
        tmp_path / "x.bin",
        pickle.dumps({"x": Attack(tmp_path / "made")}, protocol),
        r"expected tensors only, found a call of (posix|nt)\.mkdir; it is not carried out",
    )
    assert not (tmp_path / "made").exists()


def test_other_pickles(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    refused(path, pickle.dumps([1, 2], 2), "expected a dictionary of tensors, found list")
    refused(path, pickle.dumps({"x": 1}, 2), "'x': expected a tensor, found 1")
    refused(path, pickle.dumps({("a", "b"): 1}, 2), "expected a dictionary with names as keys")
    refused(path, pickle.dumps({"x": 1}, 0), "expected tensors, found the pickle instruction")
    refused(path, b"", "expected a pickle as torch.save writes it")
    refused(path, pickle_of({"x": ("F32", A)})[:-30], "expected a pickle as torch.save writes it")
    refused(path, b"\x80\x02q\x01.", "expected a pickle as torch.save writes it")
    refused(path, b"\x80\x02u.", "expected a pickle as torch.save writes it")
    refused(path, b"\x80\x02" + integer(3) + b"}a.", "expected a pickle as torch.save writes it: an item is appended")
    storage = b"(" + text("storage") + named("torch", "PyObjectStorage") + text("0") + text("cpu") + integer(3) + b"tQ."
    refused(path, b"\x80\x02" + storage, "expected a storage of numbers, found")
    refused(path, b"\x80\x02" + text("x") + b"}b.", "found an object of another kind")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("F32", "1", 12, 0, (3, 4)), "expected the storage '1' in the archive, found none"),
        (("F32", "0", 13, 0, (3, 4)), "expected a storage of 52 bytes, found 48"),
        (("F16", "0", 12, 0, (3, 4)), "expected a storage of 24 bytes, found 48"),
        (("F32", "0", 12, 1, (3, 4)), "expected 13 numbers in its storage, found 12"),
        (("F32", "0", 12, 0, (3, 4), (1, 3)), r"found strides \[1, 3\]"),
        (("F32", "0", 12, 0, (3, 4), (4,)), r"found strides \[4\]"),
        (("F32", "0", 12, -1, (3, 4)), "a tensor is made of something that is not a storage"),
        (("F32", "0", 12, 0, (1,) * 33), "expected at most 32 dimensions, found 33"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path: Path, arguments: Any, message: str) -> None:
    refused(tmp_path / "x.bin", b"\x80\x02}" + text("x") + tensor_of(*arguments) + b"s.", message)


def test_archives_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    write_torch_file(path, {"x": ("F32", A)})
    whole = path.read_bytes()
    np.testing.assert_array_equal(read(path)["x"], A)
    for size in (0, 3, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="expected a"):
            TorchFile(path)
    write_torch_file(path, {"x": ("F32", A)}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="expected an archive without compression"):
        TorchFile(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/readme", b"")
    with pytest.raises(CheckpointError, match=r"expected one data\.pkl in the archive, found 0"):
        TorchFile(path)
    archive(path, pickle_of({"x": ("F32", A)}), {"data/0": A.tobytes()})
    path.write_bytes(path.read_bytes().replace(b"little", b"bigger"))
    with pytest.raises(CheckpointError, match="expected a whole ZIP archive: Bad CRC-32"):
        TorchFile(path)
