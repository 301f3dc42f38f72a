"""Starting from a packed file: when `load` returns, weights are in memory and shared, with little else beside them."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import write_checkpoint
from numpy.typing import NDArray

import qwen3cpu
from qwen3cpu.loading import open as loader
from qwen3cpu.loading.open import open_checkpoint
from qwen3cpu.system import memory
from qwen3cpu.system.memory import touching

needs_smaps = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs /proc/self/smaps")


def mapped(path: Path) -> dict[str, int]:
    """Return bytes of a mapped file in this process, by the names of smaps: Rss, Shared_Clean, Private_Dirty, ..."""
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
    """A model, cached as a packed file. It is so large that reading ahead around used pages does not cover it."""
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
    """An error in the block does not wait for the remaining arrays, and the thread ends."""
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
    assert threading.active_count() <= threads + 1  # the timer's thread may not have ended yet


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
    """Return what bench/start.py prints."""
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
    """Loading, a prompt of 16 tokens and 8 new tokens need weights, KV cache and at most 150 MB."""
    monkeypatch.setenv("QWEN3CPU_CACHE", str(tmp_path))
    found = start(synthetic, "--quant", "q4")
    assert found["prompt_tokens"] == 16
    assert found["weight_bytes"] > 1_000_000_000
    assert found["peak_rss_bytes"] <= found["weight_bytes"] + found["kv_bytes"] + 150_000_000


SHARING = """
import sys
import qwen3cpu
model = qwen3cpu.load(sys.argv[1], threads=1)
model.generate("the sky", max_new_tokens=2, ignore_eos=True)
print("ready", flush=True)
for line in sys.stdin:  # one for each time that the figures are wanted
    lines = (line.partition(":") for line in open("/proc/self/smaps_rollup").read().splitlines()[1:])
    print({name: int(value.split()[0]) * 1024 for name, _, value in lines}, flush=True)
"""


def packed_file(folder: Path) -> tuple[Path, int]:
    """Pack a folder; return the file, of which this process has no page in memory, and the bytes of its weights."""
    checkpoint = open_checkpoint(folder, threads=2)
    assert checkpoint.packed_path is not None
    return checkpoint.packed_path, checkpoint.weight_bytes


def memory_of_two(model: Path) -> tuple[dict[str, int], list[dict[str, int]]]:
    """Return smaps_rollup of a process that runs a model alone, then of two that run it side by side."""
    with ExitStack() as stack:

        def begin() -> subprocess.Popen[str]:
            command = [sys.executable, "-c", SHARING, str(model)]
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            return process

        def ask(process: subprocess.Popen[str]) -> dict[str, int]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            found: dict[str, int] = ast.literal_eval(process.stdout.readline())
            return found

        first = begin()
        alone = ask(first)
        second = begin()
        return alone, [ask(first), ask(second)]


needs_rollup = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs /proc/self/smaps_rollup")


@needs_rollup
def test_two_processes_share_the_weights(folder: Path) -> None:
    """Each process counts half of the shared pages; alone it counts all of them."""
    path, weights = packed_file(folder)
    alone, both = memory_of_two(path)
    for found in both:
        assert found["Pss_File"] <= alone["Pss_File"] - 0.4 * weights


@pytest.mark.synthetic
@needs_rollup
def test_two_processes_share_a_1_7b(synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Together they take the weights once, and 150 MB more for each process."""
    monkeypatch.setenv("QWEN3CPU_CACHE", str(tmp_path))
    path, weights = packed_file(synthetic)
    alone, both = memory_of_two(path)
    assert alone["Pss"] > weights
    assert min(found["Rss"] for found in both) > weights
    assert sum(found["Pss"] for found in both) <= weights + 2 * 150_000_000
