"""Cutting a packed file while a model is mapped from it gives an error before the next pass, not a SIGBUS."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import write_checkpoint

import qwen3cpu
from qwen3cpu.errors import CheckpointError, EngineError
from qwen3cpu.packed.packed_file import PackedFile


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "model", max_position_embeddings=256)
    qwen3cpu.pack(tmp_path / "model", tmp_path / "model.qwen3", "q4", threads=1)
    return tmp_path / "model.qwen3"


@pytest.mark.parametrize("keep", [0, 4096, 0.5, -1])
def test_each_call_of_a_model_says_so(packed: Path, keep: float) -> None:
    """Runs in a process of its own, because SIGBUS would end it."""
    size = packed.stat().st_size
    left = size + int(keep) if keep < 0 else int(size * keep) if isinstance(keep, float) else keep
    program = f"""
import os, qwen3cpu
from qwen3cpu.errors import EngineError
model = qwen3cpu.load({str(packed)!r}, threads=1)
expected = model.generate("hello", max_new_tokens=3, seed=1, raw=True).text
whole = open({str(packed)!r}, "rb").read()
os.truncate({str(packed)!r}, {left})
for call in (lambda: model.generate("hello", raw=True), lambda: model.logits([1, 2]), lambda: model.score([1, 2, 3])):
    try:
        call()
    except EngineError as error:
        assert "expected {size} bytes, as when the file was opened, found {left}" in str(error), error
    else:
        raise AssertionError("no error")
open({str(packed)!r}, "r+b").write(whole)  # the same file again
assert model.generate("hello", max_new_tokens=3, seed=1, raw=True).text == expected
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_file_that_is_replaced_or_grows_goes_on(packed: Path) -> None:
    model = qwen3cpu.load(packed, threads=1)
    expected = model.logits([1, 2, 3])
    with packed.open("ab") as file:
        file.write(b"more")
    assert (model.logits([1, 2, 3]) == expected).all()
    packed.with_name("other").write_bytes(b"another file")
    packed.with_name("other").rename(packed)
    assert (model.logits([1, 2, 3]) == expected).all()


def test_what_is_read_of_an_open_file(packed: Path) -> None:
    file = PackedFile(packed)
    os.truncate(packed, packed.stat().st_size - 1)
    for read in (lambda: file.stored(file.tensors[0]), file.check_size):
        with pytest.raises(CheckpointError, match="as when the file was opened"):
            read()


def test_a_session_of_a_cut_model_is_an_error_too(packed: Path) -> None:
    model = qwen3cpu.load(packed, threads=1)
    chat = model.chat(max_new_tokens=2, seed=1, thinking=False)
    chat.send("hello")
    os.truncate(packed, 4096)
    with pytest.raises(EngineError, match="as when the file was opened"):
        chat.send("and you?")
