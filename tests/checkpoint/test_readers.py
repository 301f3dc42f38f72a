"""The registry of readers: one row adds a way to store weights, and unknown ways are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import write_checkpoint

import qwen3cpu
from qwen3cpu.checkpoint.readers import registry
from qwen3cpu.checkpoint.readers.safetensors_folder import FolderWeights
from qwen3cpu.errors import ConfigError
from qwen3cpu.loading.open import open_checkpoint, read_config

TOY = {"quant_method": "toy", "bits": 4}


class Doubled(FolderWeights):
    """A toy method: the file stores half of each weight."""

    def rows(self, name: str, first: int, last: int) -> Any:
        return super().rows(name, first, last) * np.float32(2)


@pytest.mark.parametrize(
    ("quantization", "found"),
    [({"quant_method": "awq"}, "'awq'"), ({}, "null"), ({"quant_method": 3}, "3"), ("gptq", "'gptq'"), ([], r"\[\]")],
)
@pytest.mark.parametrize("known", [(), ("mine", "toy")])
def test_an_unknown_method_is_refused_with_those_that_are_known(
    tmp_path: Path, quantization: Any, found: str, known: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "WEIGHT_READERS", {None: FolderWeights, **dict.fromkeys(known, Doubled)})
    write_checkpoint(tmp_path, quantization_config=quantization)
    others = " or one quantised by mine, toy" if known else ""
    message = rf"config\.json: quantization_config: .*F32 weights\){others}, found one quantised by {found}; pass the"
    for read in (read_config, lambda path: open_checkpoint(path, threads=1)):
        with pytest.raises(ConfigError, match=message):
            read(tmp_path)


def test_a_row_is_enough_for_a_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.WEIGHT_READERS, "toy", Doubled)
    written = write_checkpoint(tmp_path / "toy", dtype="float32", quantization_config=TOY)
    twice = {name: values * 2 if values.ndim == 2 else values for name, values in written.tensors.items()}
    write_checkpoint(tmp_path / "plain", dtype="float32", tensors=twice)
    toy, plain = (qwen3cpu.load(tmp_path / name, "q8", threads=1) for name in ("toy", "plain"))
    np.testing.assert_array_equal(toy.logits([1, 2, 3]), plain.logits([1, 2, 3]))
    assert read_config(tmp_path / "toy")[0] == read_config(tmp_path / "plain")[0]


def test_a_packed_file_needs_no_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path / "toy", dtype="float32", quantization_config=TOY)
    with monkeypatch.context() as known:
        known.setitem(registry.WEIGHT_READERS, "toy", Doubled)
        qwen3cpu.pack(tmp_path / "toy", tmp_path / "toy.qwen3", "q8", threads=1)
        expected = qwen3cpu.load(tmp_path / "toy", "q8", threads=1).logits([1, 2, 3])
    np.testing.assert_array_equal(qwen3cpu.load(tmp_path / "toy.qwen3", threads=1).logits([1, 2, 3]), expected)


def test_kinds_of_sources(tmp_path: Path) -> None:
    folder, _ = registry.SOURCE_KINDS
    assert registry.source_kind(tmp_path) is folder
    (tmp_path / "file").write_bytes(b"GGU")
    assert registry.source_kind(tmp_path / "file") is None
    assert registry.source_kind(tmp_path / "absent") is None
    (tmp_path / "file").write_bytes(b"GGUF")
    assert registry.source_kind(tmp_path / "file") is registry.SOURCE_KINDS[1]
