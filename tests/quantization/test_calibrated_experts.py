"""Calibration of models with experts: each expert is rounded for its own tokens, also in little memory."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import EXPERTS, write_checkpoint
from cli_runs import run

import qwen3cpu
from qwen3cpu.errors import ArgumentError
from qwen3cpu.packed import matrix as packed_matrix
from qwen3cpu.packed.packed_file import PackedFile
from qwen3cpu.quantization.calibration_report import read_report
from qwen3cpu.quantization.layer_runner import CHOSEN
from qwen3cpu.quantization.recipe import Recipe
from qwen3cpu.quantization.round_layers import Inputs
from qwen3cpu.system.free_memory import AvailableMemory

SMALL = Recipe(bits=7.0, tokens=512, sequence=64, held_out=64)
SHAPE: dict[str, Any] = EXPERTS | {
    "hidden_size": 96,
    "moe_intermediate_size": 40,
    "num_experts": 5,
    "num_hidden_layers": 3,
    "mlp_only_layers": [1],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("experts") / "model", **SHAPE).folder


@pytest.fixture(scope="module")
def calibrated(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calibrated") / "model.qwen3"
    qwen3cpu.pack(folder, path, calibrate=SMALL, threads=1)
    return path


def test_experts_are_in_q4_and_what_all_tokens_share_in_the_better_format(calibrated: Path) -> None:
    file = PackedFile(calibrated)
    report = read_report(file)
    assert report is not None
    shared = {name for name in file.plan if "self_attn" in name or ".1.mlp." in name}
    assert set(report.costs) == shared
    assert {file.plan[name].format for name in file.plan if ".experts." in name} == {"q4"}
    assert {file.plan[name].format for name in file.plan if name.endswith("mlp.gate.weight")} == {"f32"}
    assert "q8" in {file.plan[name].format for name in shared}
    assert run("verify", calibrated).returncode == 0
    assert np.isfinite(qwen3cpu.load(calibrated, threads=1).logits([1, 2, 3])).all()


def test_the_same_file_for_any_number_of_threads(folder: Path, calibrated: Path, tmp_path: Path) -> None:
    qwen3cpu.pack(folder, tmp_path / "again.qwen3", calibrate=SMALL, threads=3)
    assert (tmp_path / "again.qwen3").read_bytes() == calibrated.read_bytes()


class ShownLayer:
    """A mock layer that yields its inputs in two parts."""

    def __init__(self, rows: np.ndarray, chosen: np.ndarray) -> None:
        self.rows, self.chosen = rows, chosen

    def inputs(self, x: object, shown: str, choices: str) -> list[dict[str, Any]]:
        assert choices == CHOSEN
        rows, chosen = np.split(self.rows, [len(self.rows) // 2]), np.split(self.chosen, 2)
        return [{shown: rows[part], CHOSEN: chosen[part]} for part in range(2)]


@pytest.mark.parametrize("rows_of_a_token", [1, 2])
def test_the_moments_of_an_expert_are_of_its_tokens_and_begin_with_those_of_all(rows_of_a_token: int) -> None:
    rng = np.random.default_rng(0)
    chosen = np.array([[0, 1], [1, 4], [0, 4], [1, 4]], np.int32)
    rows = rng.standard_normal((4 * rows_of_a_token, 6)).astype(np.float32)
    layer: Any = ShownLayer(rows, chosen)
    inputs = Inputs(layer, np.empty(0), "gate_up", routed=True)
    everything = sum(np.outer(row, row) for row in rows)
    assert np.allclose(inputs.moments(None), everything, rtol=1e-5, atol=1e-6)
    for expert, places in {0: [0, 4], 1: [1, 2, 6], 2: [], 4: [3, 5, 7]}.items():
        own = [rows[place if rows_of_a_token == 2 else place // 2] for place in places]
        expected = sum((np.outer(row, row) for row in own), 0.5 * 6 / len(rows) * everything)
        assert np.allclose(inputs.moments(expert, shared=0.5), expected, rtol=1e-5, atol=1e-6)


def test_the_model_in_q8_lies_in_a_file_where_memory_does_not_hold_it(
    folder: Path, calibrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_matrix, "available_memory", lambda: AvailableMemory(1 << 16, "system"))
    monkeypatch.setattr(packed_matrix, "anonymous_bytes", small_bytes_only(packed_matrix.anonymous_bytes))
    qwen3cpu.pack(folder, tmp_path / "model.qwen3", calibrate=SMALL, threads=1)
    assert (tmp_path / "model.qwen3").read_bytes() == calibrated.read_bytes()
    assert list(tmp_path.iterdir()) == [tmp_path / "model.qwen3"]


def small_bytes_only(allocate: Any) -> Any:
    def allocated(size: int) -> np.ndarray:
        assert size <= 1 << 16
        found: np.ndarray = allocate(size)
        return found

    return allocated


def test_a_disk_without_room_for_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(packed_matrix, "available_memory", lambda: AvailableMemory(1 << 16, "system"))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ArgumentError, match=r"model\.qwen3 cannot be written: No space left on device"):
        qwen3cpu.pack(folder, tmp_path / "model.qwen3", calibrate=SMALL, threads=1)
    assert list(tmp_path.iterdir()) == []
