"""Starting from a packed file: weights are in memory when `load` returns, shared with others, and little else is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import write_checkpoint
from numpy.typing import NDArray

import qwen3cpu
from qwen3cpu import loader, memory
from qwen3cpu.loader import open_checkpoint
from qwen3cpu.memory import touching

needs_smaps = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs /proc/self/smaps")


def mapped(path: Path) -> dict[str, int]:
    """Bytes that this process has of a mapped file, by the names of smaps: Rss, Shared_Clean, Private_Dirty, ..."""
    found: dict[str, int] = {}
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, _, value = line.partition(":")
        if "-" in name.split()[0]:
            inside = line.endswith(str(path.resolve()))
        elif inside and value.endswith("kB"):
            found[name] = found.get(name, 0) + int(value.split()[0]) * 1024
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model large enough that pages around those in use do not cover it; kept as a packed file."""
    monkeypatch.setenv("QWEN3CPU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loader, "_CACHED_FROM", 0)
    write_checkpoint(tmp_path / "model", hidden_size=512, intermediate_size=2048)
    return tmp_path / "model"


@needs_smaps
@pytest.mark.parametrize("quant", ["q4", "bf16"])
def test_mapped_weights_are_resident_after_load(folder: Path, quant: str) -> None:
    checkpoint = open_checkpoint(folder, quant, threads=1)
    path = checkpoint.packed_path
    assert path is not None
    assert mapped(path)["Rss"] < checkpoint.weight_bytes / 2, "otherwise the test proves nothing"
    del checkpoint
    model = qwen3cpu.load(folder, quant=quant, threads=1)
    found = mapped(path)
    assert found["Rss"] >= model.weight_bytes - sum(v.nbytes for v in model._checkpoint.vectors.values())
    assert found["Private_Dirty"] == found["Anonymous"] == 0, "shared with the file and other processes, no copy"


def test_touching_reports_what_happens_in_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the block is not held up by arrays that were not reached, and the thread is gone."""
    began, go_on, touched = threading.Event(), threading.Event(), []

    def touch(array: NDArray[np.uint8]) -> None:
        touched.append(array.size)
        began.set()
        go_on.wait()

    monkeypatch.setattr(memory._native, "touch_pages", touch)
    arrays = [np.zeros(n, np.uint8) for n in (1, 2, 3)]
    threads = threading.active_count()

    def fail() -> None:
        with touching(arrays):
            began.wait()
            threading.Timer(0.05, go_on.set).start()
            raise ValueError("in the block")

    with pytest.raises(ValueError, match="in the block"):
        fail()
    assert touched == [1]
    go_on.set()
    with touching(arrays):
        pass
    assert touched == [1, 1, 2, 3]
    assert threading.active_count() <= threads + 1  # the timer may still be on its way out


def test_touching_changes_nothing() -> None:
    block = memory.anonymous_bytes(100_000)
    block[:] = np.arange(100_000, dtype=np.uint8)
    with touching([block, block[5:7], block[:0]]):
        pass
    assert np.array_equal(block, np.arange(100_000, dtype=np.uint8))


def test_a_model_keeps_no_json(folder: Path) -> None:
    assert open_checkpoint(folder, threads=1).tokenizer_json
    assert qwen3cpu.load(folder, threads=1)._checkpoint.tokenizer_json == b""


def start(model: Path, *arguments: str) -> dict[str, Any]:
    """What bench/start.py says."""
    script = Path(__file__).parents[2] / "bench" / "start.py"
    command = [sys.executable, str(script), str(model), "--threads", "2", "--runs", "1", "--json", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(qwen3cpu.__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_script_that_measures_a_start(folder: Path) -> None:
    found = start(folder, "--quant", "q8", "--tokens", "3")
    assert found["quant"] == "q8"
    assert 0 < found["load_seconds"]["median"] < found["first_token_seconds"]["median"]
    assert found["weight_bytes"] == qwen3cpu.load(folder, quant="q8", threads=1).weight_bytes
    assert found["peak_rss_bytes"] > found["weight_bytes"] + found["kv_bytes"] > found["weight_bytes"]


@pytest.mark.synthetic
@needs_smaps
def test_peak_memory_of_the_1_7b_shape(synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load, a prompt of 16 tokens and 8 tokens: weights, KV cache and at most 150 MB."""
    monkeypatch.setenv("QWEN3CPU_CACHE", str(tmp_path))
    found = start(synthetic, "--quant", "q4")
    assert found["prompt_tokens"] == 16
    assert found["weight_bytes"] > 1_000_000_000
    assert found["peak_rss_bytes"] <= found["weight_bytes"] + found["kv_bytes"] + 150_000_000
