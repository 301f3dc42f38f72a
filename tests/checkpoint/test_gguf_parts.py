"""A model in several GGUF files is read as one, and every defect of a part is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from checkpoints import qwen3_config, random_tensors

import qwen3cpu
from qwen3cpu.checkpoint.gguf_parts import GgufParts
from qwen3cpu.errors import CheckpointError
from qwen3cpu.loading.open import open_checkpoint

gguf = pytest.importorskip("gguf")
from gguf_models import write_gguf  # noqa: E402  needs the package


def write(folder: Path, part_tensors: int = 10, *, seed: int = 0) -> list[Path]:
    """Write the parts of a model with 24 tensors."""
    config = qwen3_config(tie_word_embeddings=True)
    write_gguf(
        folder / "model.gguf", config, dict(random_tensors(config, seed=seed)), "Q8_0", part_tensors=part_tensors
    )
    return sorted(folder.glob("*.gguf"))


def test_all_parts_are_one_model_by_whichever_name(tmp_path: Path) -> None:
    parts = write(tmp_path / "parts") if (tmp_path / "parts").mkdir() is None else []
    assert [path.name for path in parts] == [f"model-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    (tmp_path / "whole").mkdir()
    (whole,) = write(tmp_path / "whole", 0)
    expected = qwen3cpu.load(whole, quant="q8", threads=1).logits([1, 2, 3])
    for path in parts:
        model = qwen3cpu.load(path, quant="q8", threads=1)
        np.testing.assert_array_equal(model.logits([1, 2, 3]), expected)
        assert GgufParts(path).path == parts[0]


def test_every_part_is_in_the_fingerprint(tmp_path: Path) -> None:
    from qwen3cpu.checkpoint.readers.gguf_weights import open_gguf

    parts = write(tmp_path)
    weights = open_gguf(parts[0]).weights
    assert weights.files() == {path.name: path for path in parts}
    found = {weights.fingerprint()}
    for path in parts:
        path.touch()
        found.add(weights.fingerprint())
    assert len(found) == 4


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_part_is_named(tmp_path: Path, missing: int) -> None:
    parts = write(tmp_path)
    parts[missing].unlink()
    named = parts[1 if missing == 0 else 0]
    with pytest.raises(CheckpointError, match=rf"expected its part {parts[missing].name} beside it, found no such"):
        open_checkpoint(named, threads=1)


def test_a_part_under_another_name(tmp_path: Path) -> None:
    parts = write(tmp_path)
    for path, says in ((parts[0], "split.count: expected 1, found 3; a part of several"), (parts[1], "split.no")):
        shutil.copy(path, tmp_path / "other.gguf")
        with pytest.raises(CheckpointError, match=says):
            open_checkpoint(tmp_path / "other.gguf", threads=1)


def test_parts_in_the_wrong_order(tmp_path: Path) -> None:
    parts = write(tmp_path)
    parts[1].rename(tmp_path / "spare")
    parts[2].rename(parts[1])
    (tmp_path / "spare").rename(parts[2])
    with pytest.raises(CheckpointError, match=rf"{parts[1].name}: split\.no: expected 1, found 2"):
        open_checkpoint(parts[0], threads=1)


def test_a_part_of_another_model(tmp_path: Path) -> None:
    """The models were split at different tensors, so one tensor is in two parts."""
    for name, tensors in (("a", 10), ("b", 9)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, tensors)
    shutil.copy(tmp_path / "b" / "model-00002-of-00003.gguf", tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"tensor '.*': found it in .*model-00001-of-00003\.gguf too"):
        open_checkpoint(tmp_path / "a" / "model-00001-of-00003.gguf", threads=1)


def test_tensors_that_no_part_has(tmp_path: Path) -> None:
    parts = write(tmp_path)
    data = parts[0].read_bytes()
    at = data.index(b"split.tensors.count") + len(b"split.tensors.count") + 4
    assert int.from_bytes(data[at : at + 4], "little") == 24
    parts[0].write_bytes(data[:at] + (25).to_bytes(4, "little") + data[at + 4 :])
    with pytest.raises(CheckpointError, match=r"split\.tensors\.count: expected .*, 24, found 25"):
        open_checkpoint(parts[0], threads=1)


def test_a_whole_file_that_says_it_is_one_part(tmp_path: Path) -> None:
    config = qwen3_config(num_hidden_layers=1)
    for count in (0, 1):
        path = tmp_path / f"{count}.gguf"
        write_gguf(path, config, dict(random_tensors(config)), change=lambda w, n=count: w.add_uint16("split.count", n))
        assert len(GgufParts(path).files) == 1
