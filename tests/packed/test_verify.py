"""`qwen3cpu verify` finds every flipped byte of the data, names its tensor, and recognises the source."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from checkpoints import write_checkpoint
from cli_runs import run
from test_packed import in_metadata, pack, sealed

from qwen3cpu.cli import main as cli
from qwen3cpu.errors import CheckpointError
from qwen3cpu.packed.checksums import SumsOfFiles, damaged_tensors
from qwen3cpu.packed.packed_file import PackedFile


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify") / "model"
    write_checkpoint(folder, num_hidden_layers=1, shards=2)
    return folder


@pytest.fixture
def path(model: Path, tmp_path: Path) -> Path:
    return pack(model, tmp_path / "model.qwen3")


def damaged(path: Path) -> list[str]:
    return [name for name, _, differs in damaged_tensors(PackedFile(path), 2) if differs]


def test_every_flipped_data_byte_names_its_tensor(path: Path) -> None:
    file = PackedFile(path)
    assert damaged(path) == []
    chance = np.random.default_rng(0)
    whole = path.read_bytes()
    flips = 0
    with path.open("r+b") as writer:
        for name in file.tensors:
            entry = file._file.tensors[name]
            for position in {entry.start, entry.stop - 1, *chance.integers(entry.start, entry.stop, 8).tolist()}:
                writer.seek(position)
                writer.write(bytes([whole[position] ^ (1 << int(chance.integers(8)))]))
                writer.flush()
                assert damaged(path) == [name]
                writer.seek(position)
                writer.write(whole[position : position + 1])
                writer.flush()
                flips += 1
    assert flips > 100
    assert damaged(path) == []


def test_sums_are_those_of_the_stored_bytes_and_of_the_source_files(model: Path, path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    metadata = PackedFile(path)._file.metadata
    with safetensors.safe_open(path, "np") as theirs:
        for name, digest in json.loads(metadata["sha256"]).items():
            assert hashlib.sha256(theirs.get_tensor(name).tobytes()).hexdigest() == digest
        assert set(json.loads(metadata["sha256"])) == set(theirs.keys())
    source = json.loads(metadata["source"])
    assert source["name"] == str(model)
    assert source["sha256"] == {
        shard.name: hashlib.sha256(shard.read_bytes()).hexdigest() for shard in model.glob("*.safetensors")
    }
    assert len(source["sha256"]) == 2


def test_command(model: Path, path: Path) -> None:
    done = run("verify", path, "--source", model)
    assert (done.returncode, done.stderr) == (0, "")
    assert "tensors" in done.stdout
    assert done.stdout.count("the same") == 2
    found = json.loads(run("verify", path, "--json").stdout)
    assert found["tensors"] == len(PackedFile(path).tensors)
    name = "model.layers.0.mlp.up_proj.weight"
    with path.open("r+b") as file:
        file.seek(PackedFile(path)._file.tensors[name].start + 5)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 4]))
    done = run("verify", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert name in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_another_source_is_refused(model: Path, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    shutil.copytree(model, other)
    shard = sorted(other.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-1] + b"\1")
    assert cli.main(["verify", str(path), "--source", str(other)]) == 2
    assert str(shard) in capsys.readouterr().err
    shard.unlink()
    assert cli.main(["verify", str(path), "--source", str(other)]) == 2
    assert "found none" in capsys.readouterr().err


def test_sums_that_lack(path: Path) -> None:
    bad = sealed(path, in_metadata(sha256='{"model.norm.weight": 5}'))
    with pytest.raises(CheckpointError, match="sha256: expected the digest of"):
        damaged(bad)
    bad = sealed(path, in_metadata(source='{"name": "x", "sha256": ["y"]}'))
    with pytest.raises(CheckpointError, match="sha256: expected an object of hex digests"):
        PackedFile(bad)


def test_summing_stops_when_it_is_no_longer_wanted(model: Path) -> None:
    files = {path.name: path for path in model.glob("*.safetensors")}
    with pytest.raises(KeyboardInterrupt), SumsOfFiles(files):
        raise KeyboardInterrupt
    with pytest.raises(CheckpointError, match="cannot be read"), SumsOfFiles({"x": model / "x"}) as sums:
        sums.result()
