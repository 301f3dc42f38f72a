"""The safetensors reader returns the right values, and every kind of damage has its own CheckpointError."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import bfloat16_bits, write_safetensors

from qwen3cpu.checkpoint.safetensors_file import SafetensorsFile
from qwen3cpu.errors import CheckpointError

A = np.arange(12, dtype=np.float32).reshape(3, 4)
B = bfloat16_bits(A[:1])


def good(folder: Path) -> Path:
    path = folder / "model.safetensors"
    write_safetensors(path, {"a": ("F32", A), "b": ("BF16", B), "h": ("F16", A.astype(np.float16))})
    return path


def with_header(folder: Path, header: Any, data: bytes = b"\0" * 64, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "bad.safetensors"
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def test_reads_what_was_written(tmp_path: Path) -> None:
    file = SafetensorsFile(good(tmp_path))
    np.testing.assert_array_equal(file.array("a"), A)
    np.testing.assert_array_equal(file.array("b"), B)
    assert file.array("b").dtype == np.uint16
    np.testing.assert_array_equal(file.array("h"), A.astype(np.float16))
    assert file.metadata == {"format": "pt"}
    with pytest.raises(ValueError, match="read-only"):
        file.array("a")[0, 0] = 1


def test_reads_what_the_library_wrote(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file({"x": A, "y": A[0].copy()}, tmp_path / "theirs.safetensors")
    file = SafetensorsFile(tmp_path / "theirs.safetensors")
    np.testing.assert_array_equal(file.array("x"), A)
    np.testing.assert_array_equal(file.array("y"), A[0])


def test_arrays_outlive_the_file_object(tmp_path: Path) -> None:
    array = SafetensorsFile(good(tmp_path)).array("a")
    np.testing.assert_array_equal(array, A)


def test_advice_does_not_change_what_is_read(tmp_path: Path) -> None:
    file = SafetensorsFile(good(tmp_path))
    entry = file.tensors["a"]
    before = file.array("a").copy()
    for option in ("MADV_DONTNEED", "MADV_WILLNEED", "MADV_HUGEPAGE", "MADV_UNKNOWN"):
        file.advise(option, entry.start, entry.stop)
        np.testing.assert_array_equal(file.array("a"), before)


def entry(dtype: Any = "F32", shape: Any = (4,), offsets: Any = (0, 16)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


BAD_HEADERS = {
    "not JSON": (b"{nonsense", "expected JSON"),
    "not UTF-8": (b'{"\xff": 1}', "byte 0xff"),
    "deep": (b"[" * 100_000, "nested too deeply"),
    "a list": ([], "JSON object"),
    "repeated name": (b'{"a":{},"a":{}}', "more than once"),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, "object of strings"),
    "metadata of text": ({"__metadata__": "pt"}, "object of strings"),
    "an entry that is a number": ({"a": 7}, "found 7"),
    "a missing key": ({"a": {"dtype": "F32", "shape": [4]}}, "data_offsets"),
    "an extra key": ({"a": {**entry(), "layout": "c"}}, "layout"),
    "a dtype that is a list": ({"a": entry(["F32"])}, "dtype"),
    "a negative size": ({"a": entry(shape=[-4])}, "-4"),
    "a size that is a float": ({"a": entry(shape=[4.0])}, "4.0"),
    "a size that is true": ({"a": entry(shape=[True], offsets=[0, 4])}, "True"),
    "a huge size": ({"a": entry(shape=[1 << 60])}, "shape"),
    "sizes whose product is huge": ({"a": entry(shape=[1 << 40, 1 << 40])}, "expected 48357032784585166"),
    "many sizes": ({"a": entry(shape=[1] * 40, offsets=[0, 4])}, "shape"),
    "a shape that is a number": ({"a": entry(shape=4)}, "found 4"),
    "backward offsets": ({"a": entry(offsets=[16, 0])}, "[begin, end]"),
    "one offset": ({"a": entry(offsets=[16])}, "[begin, end]"),
    "negative offsets": ({"a": entry(offsets=[-16, 0])}, "-16"),
    "offsets that do not fit the shape": ({"a": entry(offsets=[0, 12])}, "expected 16 bytes"),
    "an overlap": ({"a": entry(), "b": entry(offsets=[8, 24])}, "overlaps tensor 'a'"),
    "the same place twice": ({"a": entry(), "b": entry()}, "overlaps tensor 'a'"),
    "a gap": ({"a": entry(), "b": entry(offsets=[32, 48])}, "a gap"),
    "a gap at the start": ({"a": entry(offsets=[16, 32])}, "a gap"),
    "data beyond the file": ({"a": entry(shape=[1000], offsets=[0, 4000])}, "truncated"),
    "data after the last tensor": ({"a": entry()}, "as its header says"),
}


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_refuses_bad_headers(tmp_path: Path, case: str) -> None:
    header, mentions = BAD_HEADERS[case]
    path = with_header(tmp_path, header)
    with pytest.raises(CheckpointError) as caught:
        SafetensorsFile(path)
    assert mentions in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("length", "mentions"),
    [(0, "length"), (1, "length"), (500, "larger than the file"), (1 << 62, "length"), ((1 << 64) - 1, "length")],
)
def test_refuses_impossible_header_lengths(tmp_path: Path, length: int, mentions: str) -> None:
    with pytest.raises(CheckpointError, match=mentions):
        SafetensorsFile(with_header(tmp_path, {}, length=length))


def test_refuses_what_is_no_safetensors_file(tmp_path: Path) -> None:
    for content in (b"", b"abc", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", b"\0" * 1000):
        path = tmp_path / "file"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=str(path)):
            SafetensorsFile(path)
    with pytest.raises(CheckpointError, match="No such file"):
        SafetensorsFile(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="found a folder"):
        SafetensorsFile(tmp_path)


def test_refuses_every_cut(tmp_path: Path) -> None:
    whole = good(tmp_path).read_bytes()
    path = tmp_path / "cut"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            SafetensorsFile(path)


def test_no_flipped_header_byte_leads_outside_the_file(tmp_path: Path) -> None:
    whole = good(tmp_path).read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    path = tmp_path / "flipped"
    chance = random.Random(1)
    refused = 0
    for position in range(header):
        for bit in chance.sample(range(8), 3):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                file = SafetensorsFile(path)
            except CheckpointError:
                refused += 1
                continue
            # The flip may give another name, an unknown type or other metadata, but the data keeps its place.
            arrays = {file.tensors[name].start: file.raw(name) for name in file.tensors}
            assert sorted(arrays) == sorted(entry.start for entry in SafetensorsFile(good(tmp_path)).tensors.values())
    assert refused > header
