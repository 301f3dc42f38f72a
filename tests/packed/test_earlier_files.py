"""Files of an earlier version, made by golden/make_packed_golden.py: they are read, and would be written the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkpoints import write_checkpoint

import qwen3cpu
from qwen3cpu.packed.checksums import damaged_tensors
from qwen3cpu.packed.packed_file import PackedFile

GOLDEN = Path(__file__).parent / "golden"
ABOUT = json.loads((GOLDEN / "toy.json").read_text())


@pytest.fixture(scope="module")
def model() -> qwen3cpu.Model:
    return qwen3cpu.load(GOLDEN / "toy.qwen3", kv="q8", threads=1)


def test_a_packed_file_answers_as_it_did(model: qwen3cpu.Model) -> None:
    assert model.quant == "q4"
    assert not any(damaged for _, _, damaged in damaged_tensors(PackedFile(GOLDEN / "toy.qwen3"), threads=1))
    assert model.chat("be brief", **ABOUT["options"]).send(ABOUT["messages"][0]).token_ids == tuple(ABOUT["answers"][0])


def test_a_session_goes_on_as_it_did(model: qwen3cpu.Model) -> None:
    chat = model.resume(GOLDEN / "toy.session", **ABOUT["options"])
    before = model.engine.native.counters()["tokens"]
    result = chat.send(ABOUT["messages"][1])
    assert result.token_ids == tuple(ABOUT["answers"][1])
    assert model.engine.native.counters()["tokens"] - before < result.usage.prompt_tokens  # the saved KV cache was used


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    """When they do not, _PACKING in packed/cache.py must be raised."""
    write_checkpoint(tmp_path / "toy", **ABOUT["shape"])
    qwen3cpu.pack(tmp_path / "toy", tmp_path / "toy.qwen3", "q4", threads=1)
    assert PackedFile(tmp_path / "toy.qwen3").sums() == PackedFile(GOLDEN / "toy.qwen3").sums()
