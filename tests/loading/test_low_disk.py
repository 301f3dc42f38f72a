"""`pack(..., low_disk=True)` writes the same bytes, deletes packed files, and fetches those of the hub one by one."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from checkpoints import EXPERTS, write_checkpoint
from cli_runs import run_process
from fake_hub import Hub, hub_environment, running_hub
from made_folders import write_made

import qwen3cpu
from qwen3cpu.errors import ArgumentError, CheckpointError
from qwen3cpu.system.progress_bar import Progress

SHAPES = {
    "dense, tied": {"num_hidden_layers": 3},
    "dense, own head": {"tie_word_embeddings": False, "attention_bias": True},
    "experts": {**EXPERTS, "num_hidden_layers": 3, "mlp_only_layers": [1]},
}


class Watcher(Progress):
    """Notes which weight files exist after each step of packing."""

    def __init__(self, folder: Path, act: Callable[[], None] = lambda: None) -> None:
        super().__init__("Packing", None)
        self._folder, self._act = folder, act
        self.seen: list[set[str]] = []

    def advance(self, n: int) -> None:
        self.seen.append(weight_files(self._folder))
        self._act()


def weight_files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*.safetensors")}


def shuffled(folder: Path, **shape: object) -> Path:
    """Write a model of four files with its tensors in random order."""
    written = write_checkpoint(folder, **shape)
    names = list(written.tensors)
    np.random.default_rng(3).shuffle(names)
    (folder / "model.safetensors").unlink()
    write_checkpoint(folder, shards=4, tensors={name: written.tensors[name] for name in names}, **shape)
    return folder


# A folder


@pytest.mark.parametrize("quant", ["q4", "q8", "bf16"])
@pytest.mark.parametrize("order", ["in order", "shuffled"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_packed_file_is_the_same_and_the_weights_are_gone(
    tmp_path: Path, shape: str, order: str, quant: str
) -> None:
    folder = tmp_path / "model"
    if order == "shuffled":
        shuffled(folder, **SHAPES[shape])
    else:
        write_checkpoint(folder, shards=4, **SHAPES[shape])
    before = {path.name for path in folder.iterdir()}
    usual = qwen3cpu.pack(folder, tmp_path / "usual.qwen3", quant, threads=1)
    weights = weight_files(folder)
    assert len(weights) == 4
    assert qwen3cpu.pack(folder, tmp_path / "low.qwen3", quant, low_disk=True, threads=1) == usual
    assert (tmp_path / "low.qwen3").read_bytes() == (tmp_path / "usual.qwen3").read_bytes()
    assert {path.name for path in folder.iterdir()} == before - weights


def test_files_leave_as_they_are_packed(tmp_path: Path) -> None:
    """The first file, with the embedding, is deleted before the last is read. At the end no file is mapped."""
    folder = write_checkpoint(tmp_path / "model", shards=6, num_hidden_layers=6, tie_word_embeddings=False).folder
    names = sorted(weight_files(folder))
    watcher = Watcher(folder)
    qwen3cpu.pack(folder, tmp_path / "low.qwen3", low_disk=True, threads=1, progress=watcher)
    left = [len(seen) for seen in watcher.seen]
    assert left == sorted(left, reverse=True)
    assert set(left) == {6, 5, 4, 3, 2, 1}
    assert all(seen == set(names[-len(seen) :]) for seen in watcher.seen)
    if Path("/proc/self/maps").exists():
        assert str(folder) not in Path("/proc/self/maps").read_text()


def test_one_file_and_a_head_beside_a_tied_embedding(tmp_path: Path) -> None:
    """The head is compared with the embedding, so its file stays until the embedding is packed."""
    shape = {"tie_word_embeddings": False, "num_hidden_layers": 1}
    written = write_checkpoint(tmp_path / "first", **shape)
    tensors = {**written.tensors, "lm_head.weight": written.tensors["model.embed_tokens.weight"]}
    for shards in (1, 3):
        folder = tmp_path / f"model-{shards}"
        write_checkpoint(folder, shards=shards, tensors=tensors, tie_word_embeddings=True, num_hidden_layers=1)
        qwen3cpu.pack(folder, tmp_path / "usual.qwen3", threads=1)
        qwen3cpu.pack(folder, tmp_path / "low.qwen3", low_disk=True, threads=1)
        assert (tmp_path / "low.qwen3").read_bytes() == (tmp_path / "usual.qwen3").read_bytes()
        assert weight_files(folder) == set()


def test_an_error_says_which_files_are_gone(tmp_path: Path) -> None:
    shape = {"tie_word_embeddings": False, "num_hidden_layers": 4}
    tensors = write_checkpoint(tmp_path / "first", **shape).tensors
    tensors["lm_head.weight"][7, 3] = np.nan
    folder = write_checkpoint(tmp_path / "model", shards=3, tensors=tensors, **shape).folder
    gone = "model-00001-of-00003.safetensors, model-00002-of-00003.safetensors"
    with pytest.raises(CheckpointError, match=rf"lm_head.weight.*{folder} has lost {gone}; restore all files .*before"):
        qwen3cpu.pack(folder, tmp_path / "low.qwen3", low_disk=True, threads=1)
    assert not list(tmp_path.glob("low*"))
    with pytest.raises(CheckpointError, match=r"expected the file model-00001-of-00003.safetensors that"):
        qwen3cpu.pack(folder, tmp_path / "low.qwen3", low_disk=True, threads=1)


@pytest.mark.parametrize("reason", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_whatever_ends_packing_says_so(tmp_path: Path, reason: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_checkpoint(tmp_path / "model", shards=4, num_hidden_layers=4).folder

    def fail() -> None:
        if len(weight_files(folder)) < 3:
            raise reason

    expected = ArgumentError if isinstance(reason, OSError) else type(reason)
    with caplog.at_level(logging.WARNING, "qwen3cpu"), pytest.raises(expected) as caught:
        qwen3cpu.pack(folder, tmp_path / "low.qwen3", low_disk=True, threads=1, progress=Watcher(folder, fail))
    assert "restore all files" in f"{caught.value} {caplog.text}"
    assert "00001-of-00004.safetensors, model-00002-of-00004" in f"{caught.value} {caplog.text}"


def test_a_file_that_becomes_another_one_meanwhile(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", shards=4, num_hidden_layers=4).folder
    other = write_checkpoint(tmp_path / "other").folder / "model.safetensors"

    def replace() -> None:
        if other.exists():
            other.replace(folder / "model-00004-of-00004.safetensors")

    with pytest.raises(CheckpointError, match=r"00004-of-00004\.safetensors: expected the same tensors as when"):
        qwen3cpu.pack(folder, tmp_path / "low.qwen3", low_disk=True, threads=1, progress=Watcher(folder, replace))


def test_what_is_refused_deletes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_checkpoint(tmp_path / "model", shards=2).folder
    out = tmp_path / "low.qwen3"
    qwen3cpu.pack(folder, tmp_path / "packed.qwen3")
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in folder.iterdir():
        (linked / path.name).symlink_to(path)
    quantized = tmp_path / "quantized"
    write_made(quantized, "mlx_4bit")
    for source, error, says in (
        ("tiny", ArgumentError, "tiny of the package"),
        (tmp_path / "packed.qwen3", ArgumentError, "found the file"),
        (linked, CheckpointError, "found a link to"),
        (quantized, CheckpointError, "not quantised, found 'mlx'"),
        (tmp_path / "none", CheckpointError, "found none of them"),
        ("owner/name:Q8_0", ArgumentError, "owner/name:Q8_0 in GGUF"),
    ):
        with pytest.raises(error, match=says):
            qwen3cpu.pack(source, out, low_disk=True)
    with pytest.raises(ArgumentError, match="low_disk: cannot be combined with calibrate"):
        qwen3cpu.pack(folder, out, low_disk=True, calibrate=True)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 0))
    with pytest.raises(ArgumentError, match=r"No space|GB needed on its disk, 0.0 GB free"):
        qwen3cpu.pack(folder, out, low_disk=True)
    assert len(weight_files(folder)) == len(weight_files(linked)) == 2
    assert not out.exists()


def test_how_much_has_to_be_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is the most that files take while they are written and deleted, and not more."""
    folder = write_checkpoint(tmp_path / "model", shards=5, num_hidden_layers=5, tie_word_embeddings=False).folder
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.safetensors")}
    before, most = sum(sizes.values()), 0
    usage = namedtuple("usage", "total used free")
    plan = qwen3cpu.load(folder, quant="f32", threads=1)._checkpoint.matrices
    pages = [-(-matrix.data.nbytes // 4096) * 4096 for matrix in plan.values()]
    watcher = Watcher(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, free))
    free = 10**9
    qwen3cpu.pack(folder, tmp_path / "low.qwen3", "f32", low_disk=True, threads=1, progress=watcher)
    for number, seen in enumerate(watcher.seen):
        most = max(most, sum(pages[: number + 1]) + sum(sizes[name] for name in seen) - before)
    write_checkpoint(tmp_path / "model", shards=5, num_hidden_layers=5, tie_word_embeddings=False)
    free = most - 1
    with pytest.raises(ArgumentError, match="needed on its disk"):
        qwen3cpu.pack(folder, tmp_path / "low.qwen3", "f32", low_disk=True, threads=1)
    free = most
    qwen3cpu.pack(folder, tmp_path / "low.qwen3", "f32", low_disk=True, threads=1)


# A mock hub


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[type[Hub], str]]:
    """Yield (the handler with its folder of files, the address)."""
    with running_hub(tmp_path / "repository") as found:
        yield found


PACK = """
import sys
from pathlib import Path
import qwen3cpu
from qwen3cpu.checkpoint.readers import low_disk
from qwen3cpu.system.progress_bar import Progress
low_disk.WAITS[:] = [0]
class Watcher(Progress):
    most = 0
    def advance(self, n):
        here = Path(sys.argv[2]).parent.rglob("*.safetensors")
        Watcher.most = max(Watcher.most, len([path for path in here if path.exists()]))
try:
    qwen3cpu.pack("owner/name", sys.argv[2], low_disk=True, threads=1, progress=Watcher("Packing", None))
    print("packed, files together:", Watcher.most)
except qwen3cpu.Qwen3CpuError as error:
    print(type(error).__name__, error)
"""


def pack(home: Path, address: str, out: Path, **more: str) -> subprocess.CompletedProcess[str]:
    out.parent.mkdir(exist_ok=True)
    return run_process(["-c", PACK, "owner/name", out], hub_environment(home, address, **more))


def fetched(handler: type[Hub]) -> list[str]:
    """Return the names of the requested weight files, in order."""
    gets = [path for verb, path, _ in handler.requests if verb == "GET" and path.endswith(".safetensors")]
    return [path.rpartition("/")[2] for path in gets]


def test_files_of_the_hub_come_and_go(tmp_path: Path, server: tuple[type[Hub], str]) -> None:
    """The bytes equal those of a conversion from the hub's cache with modification times of 0."""
    handler, address = server
    shape = {"num_hidden_layers": 5, "tie_word_embeddings": False, "vocab_size": 50_000}
    write_checkpoint(handler.files, shards=8, **shape)
    low = tmp_path / "low" / "model.qwen3"
    done = pack(tmp_path / "hf", address, low)
    assert done.stdout.startswith("packed, files together:"), done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) <= 3, "those of a layer, and the next file"
    assert not list((tmp_path / "hf").rglob("*.safetensors"))
    assert [path.name for path in low.parent.iterdir()] == ["model.qwen3"]
    assert fetched(handler) == sorted(weight_files(handler.files))

    usual = tmp_path / "usual.qwen3"
    variables = hub_environment(tmp_path / "hf", address)
    run_process(["-m", "qwen3cpu", "pull", "owner/name"], variables)
    for path in (tmp_path / "hf").rglob("*.safetensors"):
        os.utime(path, ns=(0, 0))
    assert run_process(["-m", "qwen3cpu", "quantize", "owner/name", usual, "-t", "1"], variables).returncode == 0
    assert low.read_bytes() == usual.read_bytes()


def test_what_the_cache_has_is_used_and_stays(tmp_path: Path, server: tuple[type[Hub], str]) -> None:
    handler, address = server
    write_checkpoint(handler.files, shards=3)
    variables = hub_environment(tmp_path / "hf", address)
    run_process(["-m", "qwen3cpu", "pull", "owner/name"], variables)
    handler.requests.clear()
    done = pack(tmp_path / "hf", address, tmp_path / "low" / "model.qwen3")
    assert done.stdout.startswith("packed"), done.stdout + done.stderr
    assert fetched(handler) == []
    assert len(weight_files(tmp_path / "hf")) == 3
    assert all(path.exists() for path in (tmp_path / "hf").rglob("*.safetensors"))


def test_a_wrong_model_is_found_by_the_beginnings_of_its_files(tmp_path: Path, server: tuple[type[Hub], str]) -> None:
    """Also when a file is larger than one piece of a download, 10 MB."""
    handler, address = server
    write_checkpoint(handler.files, vocab_size=200_000)  # 26 MB
    done = pack(tmp_path / "hf", address, tmp_path / "low" / "model.qwen3")
    assert done.stdout.startswith("packed"), done.stdout + done.stderr
    spans = [span for verb, path, span in handler.requests if verb == "GET" and path.endswith(".safetensors")]
    assert spans[0] is None
    assert len(spans) == 2
    assert 0 < int(spans[1].removeprefix("bytes=").removesuffix("-")) < 26e6, "the download continues after the header"
    config = handler.files / "config.json"
    config.write_text(config.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    handler.requests.clear()
    done = pack(tmp_path / "hf", address, tmp_path / "low" / "model.qwen3")
    assert "expected tensor model.layers.2" in done.stdout, done.stdout + done.stderr
    assert len(fetched(handler)) == 1


def test_a_damaged_file_is_named_and_a_broken_one_goes_on(tmp_path: Path, server: tuple[type[Hub], str]) -> None:
    handler, address = server
    write_checkpoint(handler.files, shards=2)
    second = "model-00002-of-00002.safetensors"
    out = tmp_path / "low" / "model.qwen3"
    handler.flip = second
    done = pack(tmp_path / "hf", address, out)
    assert done.stdout.startswith(f"DownloadError owner/name: {second}: expected the digest sha256:")
    assert done.stderr.count("trying again") == 1
    assert list(out.parent.iterdir()) == []
    handler.flip = None
    handler.break_once = {second}
    assert pack(tmp_path / "hf", address, out).stdout.startswith("packed")


def test_without_safetensors_or_a_hub(tmp_path: Path, server: tuple[type[Hub], str]) -> None:
    handler, address = server
    write_checkpoint(handler.files)
    (handler.files / "model.safetensors").unlink()
    out = tmp_path / "low" / "model.qwen3"
    assert "expected a model in safetensors, found none in owner/name" in pack(tmp_path / "hf", address, out).stdout
    handler.refuse_with = 404
    assert "has no such model" in pack(tmp_path / "hf", address, out).stdout
    assert list(out.parent.iterdir()) == []
