"""`qwen3cpu quantize` and `qwen3cpu.pack` write the file that `load` maps, and replace only packed files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from checkpoints import write_checkpoint
from cli_runs import Terminal, run

import qwen3cpu
from qwen3cpu.errors import ArgumentError, CheckpointError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("quantize") / "model").folder


def test_the_command_writes_what_load_maps(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.qwen3"
    done = run("quantize", model, out, "--quant", "q8")
    assert (done.returncode, done.stderr) == (0, "")
    assert "MB/s" in done.stdout
    packed, folder = qwen3cpu.load(out), qwen3cpu.load(model, quant="q8")
    assert packed.quant == "q8"
    np.testing.assert_array_equal(packed.logits([1, 2, 3]), folder.logits([1, 2, 3]))
    assert [path.name for path in tmp_path.iterdir()] == ["model.qwen3"]


def test_progress_shows_the_time_left(model: Path, tmp_path: Path) -> None:
    with Terminal("quantize", model, tmp_path / "model.qwen3") as terminal:
        shown, code = terminal.end()
    assert code == 0
    assert "Packing" in shown
    assert "-:--:--" in shown or "0:00:00" in shown


def test_pack_says_how_much_it_read_and_wrote(model: Path, tmp_path: Path) -> None:
    read, written = qwen3cpu.pack(model, tmp_path / "model.qwen3")
    weights = qwen3cpu.load(model, quant="bf16", threads=1)
    assert read == weights.config.parameters() * 2 - weights.format_bytes["vectors"] // 2
    assert written == (tmp_path / "model.qwen3").stat().st_size


def test_only_packed_files_are_replaced(model: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("x")
    for path in (precious, tmp_path):
        with pytest.raises(ArgumentError, match="found something else"):
            qwen3cpu.pack(model, path)
    assert precious.read_text() == "x"
    qwen3cpu.pack(model, tmp_path / "model.qwen3", "q8")
    qwen3cpu.pack(model, tmp_path / "model.qwen3", "q4")
    assert qwen3cpu.load(tmp_path / "model.qwen3").quant == "q4"


def test_what_cannot_be_packed(model: Path, tmp_path: Path) -> None:
    qwen3cpu.pack(model, tmp_path / "model.qwen3")
    with pytest.raises(ArgumentError, match="expected a model folder, a GGUF file or a hub id"):
        qwen3cpu.pack(tmp_path / "model.qwen3", tmp_path / "again.qwen3")
    with pytest.raises(ArgumentError, match="cannot be written"):
        qwen3cpu.pack(model, tmp_path / "none" / "model.qwen3")
    with pytest.raises(ArgumentError, match="quant: expected one of"):
        qwen3cpu.pack(model, tmp_path / "x.qwen3", "q5")
    with pytest.raises(CheckpointError, match="found none of them"):
        qwen3cpu.pack(tmp_path / "nothing", tmp_path / "x.qwen3")
