"""The cache of packed models: a file is written once and mapped later, and an unusable cache prevents no load."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_texts import CHAT_TEMPLATE
from checkpoints import write_checkpoint, write_json
from cli_runs import environment, run_code, start_process

from qwen3cpu import _native
from qwen3cpu.checkpoint.tensors import QUANTS
from qwen3cpu.errors import CheckpointError
from qwen3cpu.loading import open as loader
from qwen3cpu.loading.loaded_model import Checkpoint
from qwen3cpu.loading.open import open_checkpoint
from qwen3cpu.packed import cache, sealed_file
from qwen3cpu.system.use_lock import InUseError, UseLock, use_locks


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate cache directory, in which models of any size are kept."""
    folder = tmp_path / "cache" / "deep"
    monkeypatch.setenv("QWEN3CPU_CACHE", str(folder))
    monkeypatch.setattr(loader, "_CACHED_FROM", 0)
    return folder


@pytest.fixture
def no_packing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function; after its call every conversion fails the test."""

    def refuse(*args: Any) -> None:
        raise AssertionError("weights were converted again")

    return lambda: monkeypatch.setattr(_native, "pack_into", refuse)


def same_weights(a: Checkpoint, b: Checkpoint) -> None:
    assert list(a.matrices) == list(b.matrices)
    for name in a.matrices:
        assert a.matrices[name][:3] == b.matrices[name][:3]
        np.testing.assert_array_equal(a.matrices[name][3], b.matrices[name][3])
    assert list(a.vectors) == list(b.vectors)
    for name in a.vectors:
        np.testing.assert_array_equal(a.vectors[name], b.vectors[name])


def run(code: str, *arguments: object, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in its own process. `open_checkpoint` is imported, and models of any size are cached."""
    return run_code(PRELUDE + code, *arguments, **changes)


PRELUDE = """
import sys
from qwen3cpu import _native
from qwen3cpu.loading import open as loader
from qwen3cpu.loading.open import open_checkpoint
loader._CACHED_FROM = 0
"""


@pytest.mark.parametrize("quant", QUANTS)
def test_a_second_load_maps_the_first_ones_file(
    tmp_path: Path, cache_folder: Path, no_packing: Any, quant: str
) -> None:
    write_checkpoint(tmp_path / "my model", dtype="float32")
    plain = open_checkpoint(tmp_path / "my model", quant, threads=1, cache=False)
    assert plain.packed_path is None
    assert not cache_folder.exists()
    first = open_checkpoint(tmp_path / "my model", quant, threads=1)
    (file,) = cache_folder.iterdir()
    assert file.name.startswith(f"my-model-{quant}-")
    assert first.packed_path == file
    no_packing()
    second = open_checkpoint(tmp_path / "my model", quant, threads=1)
    assert second.packed_path == file
    same_weights(plain, first)
    same_weights(plain, second)
    assert plain.fingerprint == first.fingerprint == second.fingerprint


def test_another_process_converts_nothing(tmp_path: Path, cache_folder: Path) -> None:
    write_checkpoint(tmp_path / "model")
    code = (
        "calls = []\nreal = _native.pack_into\n"
        "_native.pack_into = lambda *a: (calls.append(a), real(*a))\n"
        "print(open_checkpoint(sys.argv[1], threads=1).packed_path, len(calls))\n"
    )
    first, second = run(code, tmp_path / "model"), run(code, tmp_path / "model")
    (file,) = cache_folder.iterdir()
    assert (first.stdout.split()[0], second.stdout.split()) == (str(file), [str(file), "0"]), first.stderr
    assert int(first.stdout.split()[1]) >= 15


def test_small_models_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN3CPU_CACHE", str(tmp_path / "cache"))
    write_checkpoint(tmp_path / "model")
    assert open_checkpoint(tmp_path / "model", threads=1).packed_path is None
    assert not (tmp_path / "cache").exists()


def test_texts_come_from_the_folder_and_weights_from_the_cache(
    tmp_path: Path, cache_folder: Path, no_packing: Any
) -> None:
    write_checkpoint(tmp_path / "model")
    assert open_checkpoint(tmp_path / "model", threads=1).chat_template == CHAT_TEMPLATE
    no_packing()
    (tmp_path / "model" / "chat_template.jinja").write_text("new")
    write_json(tmp_path / "model" / "generation_config.json", {"top_k": 7})
    again = open_checkpoint(tmp_path / "model", threads=1)
    assert again.packed_path is not None
    assert (again.chat_template, again.generation.top_k) == ("new", 7)


def test_a_renamed_folder_finds_its_file(tmp_path: Path, cache_folder: Path, no_packing: Any) -> None:
    write_checkpoint(tmp_path / "model")
    first = open_checkpoint(tmp_path / "model", threads=1)
    (tmp_path / "model").rename(tmp_path / "other")
    no_packing()
    assert open_checkpoint(tmp_path / "other", threads=1).packed_path == first.packed_path


def test_quants_have_files_of_their_own(tmp_path: Path, cache_folder: Path) -> None:
    write_checkpoint(tmp_path / "model")
    paths = {open_checkpoint(tmp_path / "model", quant, threads=1).packed_path for quant in QUANTS}
    assert len(paths) == len(QUANTS)


def change_weights(folder: Path) -> None:
    write_checkpoint(folder, seed=9)


def change_time(folder: Path) -> None:
    status = (folder / "model.safetensors").stat()
    os.utime(folder / "model.safetensors", ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def change_config(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "rope_theta": 10000})


@pytest.mark.parametrize("change", [change_weights, change_time, change_config])
def test_a_changed_model_is_packed_again(tmp_path: Path, cache_folder: Path, change: Any) -> None:
    folder = tmp_path / "model"
    write_checkpoint(folder, seed=1)
    first = open_checkpoint(folder, threads=1)
    change(folder)
    second = open_checkpoint(folder, threads=1)
    assert first.fingerprint != second.fingerprint
    assert first.packed_path != second.packed_path
    same_weights(second, open_checkpoint(folder, threads=1, cache=False))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "another model's"])
def test_a_damaged_cache_file_is_replaced(
    tmp_path: Path, cache_folder: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    write_checkpoint(tmp_path / "model")
    write_checkpoint(tmp_path / "other", seed=5, rope_theta=123.0)
    path = open_checkpoint(tmp_path / "model", threads=1).packed_path
    other = open_checkpoint(tmp_path / "other", threads=1).packed_path
    assert path is not None
    assert other is not None
    good = path.read_bytes()
    bad = {
        "cut": good[:-1],
        "flipped": good[:100] + bytes([good[100] ^ 1]) + good[101:],
        "empty": b"",
        "another model's": other.read_bytes(),
    }[damage]
    path.write_bytes(bad)
    with caplog.at_level(logging.WARNING, "qwen3cpu"):
        again = open_checkpoint(tmp_path / "model", threads=1)
    assert "Packing again" in caplog.text
    assert again.packed_path == path
    assert path.read_bytes() == good


# When the cache cannot be used


def test_a_cache_that_is_no_folder(
    tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("QWEN3CPU_CACHE", str(tmp_path / "file" / "cache"))
    write_checkpoint(tmp_path / "model")
    with caplog.at_level(logging.WARNING, "qwen3cpu"):
        checkpoint = open_checkpoint(tmp_path / "model", threads=1)
    assert checkpoint.packed_path is None
    assert "QWEN3CPU_CACHE" in caplog.text
    same_weights(checkpoint, open_checkpoint(tmp_path / "model", threads=1, cache=False))


def test_no_space_is_noticed_before_the_work(
    tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_checkpoint(tmp_path / "model")
    usage = loader.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda path: usage._replace(free=10_000))
    with caplog.at_level(logging.WARNING, "qwen3cpu"):
        checkpoint = open_checkpoint(tmp_path / "model", threads=1)
    assert checkpoint.packed_path is None
    assert "10000 free" in caplog.text
    assert list(cache_folder.iterdir()) == []


def test_space_that_runs_out_while_writing(tmp_path: Path, cache_folder: Path) -> None:
    """A limit on file sizes makes a real write fail halfway."""
    write_checkpoint(tmp_path / "model")
    code = (
        "import resource, logging\nlogging.basicConfig()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "checkpoint = open_checkpoint(sys.argv[1], threads=1)\n"
        "print(checkpoint.packed_path, checkpoint.weight_bytes)\n"
    )
    done = run(code, tmp_path / "model")
    whole = open_checkpoint(tmp_path / "model", threads=1, cache=False)
    assert done.stdout.split() == ["None", str(whole.weight_bytes)], done.stderr
    assert "The packed model cannot be kept" in done.stderr
    assert list(cache_folder.iterdir()) == []


def test_a_broken_weight_is_an_error_with_and_without_cache(tmp_path: Path, cache_folder: Path) -> None:
    written = write_checkpoint(tmp_path / "model", dtype="float32")
    tensors = {name: values.copy() for name, values in written.tensors.items()}
    tensors["model.layers.1.mlp.down_proj.weight"][3, 4] = np.nan
    write_checkpoint(tmp_path / "model", dtype="float32", tensors=tensors)
    for use in (True, False):
        with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.down_proj"):
            open_checkpoint(tmp_path / "model", threads=1, cache=use)
    assert list(cache_folder.iterdir()) == []


# Several processes, killed processes


def test_a_file_can_be_used_as_soon_as_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its writer holds the lock a little longer, which looks like the lock of a process that removes the file."""
    taken = []

    def replace(part: Path, path: Path) -> None:
        os.rename(part, path)
        taken.append(use_locks([path]))

    monkeypatch.setattr(sealed_file.os, "replace", replace)
    with sealed_file.replacing(tmp_path / "file") as file:
        file.write(b"all")
        (part,) = tmp_path.iterdir()
        with pytest.raises(InUseError):
            UseLock(part)
    assert len(taken) == 1


def test_processes_that_pack_at_the_same_time(tmp_path: Path, cache_folder: Path) -> None:
    write_checkpoint(tmp_path / "model", num_hidden_layers=8)
    code = (
        "import hashlib\nchecksum = hashlib.sha256()\nsys.stdin.readline()\n"
        "checkpoint = open_checkpoint(sys.argv[1], threads=1)\n"
        "for *_, data in checkpoint.matrices.values(): checksum.update(data.tobytes())\n"
        "print(checkpoint.packed_path, checksum.hexdigest())\n"
    )
    arguments = ["-c", PRELUDE + code, str(tmp_path / "model")]
    processes = [start_process(arguments, environment()) for _ in range(4)]
    for process in processes:  # all have started before the first begins
        process.stdin.write(b"go\n")
        process.stdin.flush()
    results = {process.communicate()[0].decode() for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    (file,) = cache_folder.iterdir()
    (result,) = results
    assert result.split()[0] == str(file)


def test_interrupting_leaves_nothing_and_killing_is_cleaned_up_later(tmp_path: Path, cache_folder: Path) -> None:
    write_checkpoint(tmp_path / "model")
    code = (
        "import os, signal\nreal, calls = _native.pack_into, []\n"
        "def pack(*a):\n    calls.append(a)\n    real(*a)\n"
        "    if len(calls) == 6: os.kill(os.getpid(), int(sys.argv[2]))\n"
        "_native.pack_into = pack\n"
        "open_checkpoint(sys.argv[1], threads=1)\n"
    )
    interrupted = run(code, tmp_path / "model", int(signal.SIGINT))
    assert "KeyboardInterrupt" in interrupted.stderr
    assert list(cache_folder.iterdir()) == []
    assert run(code, tmp_path / "model", int(signal.SIGKILL)).returncode == -signal.SIGKILL
    (part,) = cache_folder.iterdir()
    assert part.name.endswith(".part")
    write_checkpoint(tmp_path / "model", seed=1)
    open_checkpoint(tmp_path / "model", threads=1)
    assert part.exists()  # so young that another process may be writing it
    os.utime(part, (1, 1))
    write_checkpoint(tmp_path / "model", seed=2)
    open_checkpoint(tmp_path / "model", threads=1)
    assert not part.exists()


# Where it is


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN3CPU_CACHE", "~/mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("QWEN3CPU_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_folder() == tmp_path / "xdg" / "qwen3cpu"
    for unset in ("", "relative"):  # the XDG specification: ignore what is not absolute
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
        home = "Library/Caches" if sys.platform == "darwin" else ".cache"
        assert cache.cache_folder() == tmp_path / home / "qwen3cpu"


# Memory


@pytest.mark.heavy
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc for the peak of resident memory")
@pytest.mark.parametrize(
    ("quant", "dtype", "keep"),
    [("q8", "float32", True), ("q4", "bfloat16", False)],
)
def test_peak_memory_is_the_packed_weights_and_one_tensor_or_for_q4_a_layer(
    tmp_path: Path, cache_folder: Path, dtype: str, keep: bool, quant: str
) -> None:
    written = write_checkpoint(
        tmp_path / "model",
        dtype=dtype,
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=3,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=64,
        vocab_size=8192,
    )
    write_checkpoint(tmp_path / "warm")
    code = (
        "def memory(field):\n"
        "    line = next(line for line in open('/proc/self/status') if line.startswith(field + ':'))\n"
        "    return int(line.split()[1]) * 1024\n"
        "keep = bool(int(sys.argv[3]))\n"
        "for quant in ('q4', 'bf16'): open_checkpoint(sys.argv[2], quant, threads=1, cache=keep)\n"
        "before = memory('VmRSS')\n"
        "checkpoint = open_checkpoint(sys.argv[1], sys.argv[4], threads=1, cache=keep)\n"
        "print(memory('VmHWM') - before, checkpoint.weight_bytes)\n"
    )
    # A new interpreter, because a fork inherits free memory and would need less.
    arguments = [str(tmp_path / "model"), str(tmp_path / "warm"), str(int(keep)), quant]
    command = [sys.executable, "-c", PRELUDE + code, *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    grown, packed = map(int, done.stdout.split())
    size = {"float32": 4, "bfloat16": 2}[dtype]
    in_float32 = sum(values.size for values in written.tensors.values()) * 4
    beside = max(values.size for values in written.tensors.values()) * size
    if quant == "q4":
        # A layer in q8. The largest matrix as source, in float32 and in an intermediate array. A pass of the layer over
        # 256 tokens, and the residual stream of 2,048.
        weights = {name: values.size for name, values in written.tensors.items() if name.startswith("model.layers.0.")}
        beside = int(sum(weights.values()) * 8.5 / 8) + max(weights.values()) * (size + 8) + 16_000_000 + 2048 * 4096
    assert packed + beside < 0.75 * in_float32  # otherwise the bound would prove nothing
    assert grown <= packed + beside


@pytest.mark.synthetic
@pytest.mark.skipif("QWEN3CPU_SYNTHETIC" not in os.environ, reason="QWEN3CPU_SYNTHETIC names no checkpoint")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc for the peak of resident memory")
def test_peak_memory_of_the_1_7b_shape(cache_folder: Path) -> None:
    """Packed weights plus at most 800 MB. The second load maps the file of the first."""
    code = (
        "def peak():\n"
        "    return next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('VmHWM:')) * 1024\n"
        "checkpoint = open_checkpoint(sys.argv[1], 'q4', threads=2)\n"
        "print(peak(), checkpoint.weight_bytes, checkpoint.packed_path)\n"
    )
    first = run(code, os.environ["QWEN3CPU_SYNTHETIC"])
    assert first.returncode == 0, first.stderr
    peak, packed, path = first.stdout.split()
    assert int(peak) <= int(packed) + 800_000_000
    code = "del _native.pack_into\n" + code
    assert run(code, os.environ["QWEN3CPU_SYNTHETIC"]).stdout.split()[1:] == [packed, path]
