"""`qwen3cpu cache list | prune`: files are listed, needless ones are removed, and running models are not disturbed."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import write_checkpoint
from test_packed import in_metadata, sealed

import qwen3cpu
from qwen3cpu.cli.main import main
from qwen3cpu.loading import open as loader
from qwen3cpu.packed import cache
from qwen3cpu.packed.packed_file import PackedFile

HOUR, DAY = 3600, 86400


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder, in which even small models are kept."""
    monkeypatch.setenv("QWEN3CPU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loader, "_CACHED_FROM", 0)
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "model").folder


def kept(model: Path, quant: str) -> Path:
    path = qwen3cpu.load(model, quant=quant)._checkpoint.packed_path
    assert path is not None
    return path


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["cache", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def age(path: Path, seconds: float) -> None:
    """Make a file look as if it was used so many seconds ago."""
    os.utime(path, (time.time() - seconds,) * 2)


def test_list(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "list") == {"folder": str(folder), "files": []}
    paths = {quant: kept(model, quant) for quant in ("q4", "q8")}
    age(paths["q8"], 5 * DAY)
    (folder / "notes.txt").write_text("somebody else's")
    found = told(capsys, "list")["files"]
    assert {Path(entry["path"]): entry["quant"] for entry in found} == {path: quant for quant, path in paths.items()}
    assert {entry["source"] for entry in found} == {str(model)}
    assert {entry["state"] for entry in found} == {"current"}
    assert [entry["size"] for entry in found] == [Path(entry["path"]).stat().st_size for entry in found]
    assert main(["cache", "list"]) == 0
    shown = capsys.readouterr().out
    assert "used   5d ago" in shown
    assert str(folder) in shown


def test_loading_counts_as_use(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = kept(model, "q4")
    age(path, 5 * DAY)
    assert kept(model, "q4") == path
    (entry,) = told(capsys, "list")["files"]
    assert time.time() - entry["used"] < HOUR


def test_prune_removes_what_nobody_will_use(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    current = kept(model, "q4")
    stale = folder / "old-q4-0123456789abcdef0123.qwen3"
    stale.write_bytes(current.read_bytes())
    other = sealed(current, in_metadata(format_version="1"))
    damaged = folder / "damaged-q8-0123456789abcdef0123.qwen3"
    damaged.write_bytes(current.read_bytes()[:-1])
    foreign = folder / "foreign.qwen3"
    foreign.write_text("no packed file at all")
    unfinished = folder / "x.qwen3.0123.part"
    young = folder / "x.qwen3.4567.part"
    for path in (unfinished, young):
        path.write_bytes(b"x")
    age(unfinished, HOUR)
    states = {Path(entry["path"]): entry["state"] for entry in told(capsys, "list")["files"]}
    gone = {stale: "stale", other: "stale", damaged: "damaged", foreign: "damaged", unfinished: "unfinished"}
    assert states == {current: "current", young: "being written", **gone}
    before = set(folder.iterdir())
    assert {Path(entry["path"]) for entry in told(capsys, "prune", "--dry-run")["removed"]} == set(gone)
    assert set(folder.iterdir()) == before
    sizes = sum(path.stat().st_size for path in gone)
    assert told(capsys, "prune")["bytes"] == sizes
    assert set(folder.iterdir()) == {current, young}


def test_prune_by_age_and_all(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = kept(model, "q4"), kept(model, "q8")
    age(old, 31 * DAY)
    age(new, 29 * DAY)
    assert told(capsys, "prune")["removed"] == []
    assert [entry["path"] for entry in told(capsys, "prune", "--older-than", "30d")["removed"]] == [str(old)]
    assert [entry["path"] for entry in told(capsys, "prune", "--all")["removed"]] == [str(new)]
    assert list(folder.iterdir()) == []
    assert main(["cache", "prune"]) == 0
    assert "0.0 MB freed" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["30", "d", "-1d", "1y", ""])
def test_an_age_that_is_none(folder: Path, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "prune", f"--older-than={wrong}"]) == 2
    assert "--older-than: expected a number" in capsys.readouterr().err


def test_a_model_in_use_goes_on(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    running = qwen3cpu.load(model)
    assert running._checkpoint.packed_path is not None
    expected = running.logits([1, 2, 3])
    told(capsys, "prune", "--all")
    assert list(folder.iterdir()) == []
    np.testing.assert_array_equal(running.logits([1, 2, 3]), expected)
    np.testing.assert_array_equal(qwen3cpu.load(model).logits([1, 2, 3]), expected)


def test_a_file_that_is_being_written_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.mkdir()
    part = folder / "x.qwen3.0123.part"
    with part.open("xb") as writer:
        age(part, HOUR)
        fcntl.flock(writer, fcntl.LOCK_EX)
        (entry,) = cache.entries(folder)
        assert entry.state == "being written"
        assert told(capsys, "prune", "--all")["removed"] == []
    assert part.exists()
    assert [entry["state"] for entry in told(capsys, "prune")["removed"]] == ["unfinished"]


def test_pruning_between_packing_and_mapping(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A load whose file was removed right after packing packs in memory."""
    expected = qwen3cpu.load(model, cache=False).logits([1, 2, 3])
    real = loader.pack_to_file

    def pack_to_file(path: Path, *arguments: Any, **named: Any) -> None:
        real(path, *arguments, **named)
        assert PackedFile(path).quant == "q4"
        told(capsys, "prune", "--all")

    monkeypatch.setattr(loader, "pack_to_file", pack_to_file)
    loaded = qwen3cpu.load(model)
    assert loaded._checkpoint.packed_path is None
    np.testing.assert_array_equal(loaded.logits([1, 2, 3]), expected)
