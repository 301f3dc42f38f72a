"""Every progress bar of packing ends at its announced total."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_checkpoint

import qwen3cpu
from qwen3cpu.quantization.recipe import Recipe
from qwen3cpu.system.progress_bar import Progress

SMALL = Recipe(bits=7.0, tokens=512, sequence=64, held_out=128)


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """[description, total, units that were done] of every bar, in order."""
    shown: list[list[Any]] = []

    def start(self: Progress, description: str, total: int | None, unit: str | None = None) -> None:
        shown.append([description, total, 0])

    def advance(self: Progress, n: int) -> None:
        assert n >= 0
        shown[-1][2] += n

    monkeypatch.setattr(Progress, "start", start)
    monkeypatch.setattr(Progress, "advance", advance)
    return shown


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"quant": "q8"}, {"Packing"}),
        ({"quant": "q4"}, {"Packing"}),
        ({"quant": "q4", "calibrate": SMALL}, {"Packing", "Writing text", "Measuring", "Rounding"}),
    ],
    ids=["q8", "q4", "calibrated"],
)
def test_a_bar_ends_at_its_total(
    tmp_path: Path, bars: list[list[Any]], options: dict[str, Any], names: set[str]
) -> None:
    model = write_checkpoint(tmp_path / "model", hidden_size=96, intermediate_size=160, num_hidden_layers=2).folder
    qwen3cpu.pack(model, tmp_path / "model.qwen3", threads=1, **options)
    assert {description for description, _, _ in bars} == names
    assert [(name, done) for name, total, done in bars] == [(name, total) for name, total, _ in bars]
