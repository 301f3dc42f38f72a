"""Files of every version since 2, made by golden/make_packed_golden.py, are read and give the same answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkpoints import write_checkpoint

import qwen3cpu
from qwen3cpu.errors import ArgumentError, SessionError
from qwen3cpu.packed.checksums import damaged_tensors
from qwen3cpu.packed.packed_file import FORMAT_VERSION, PackedFile
from qwen3cpu.packed.sealed_file import reseal

GOLDEN = Path(__file__).parent / "golden"
QUANTS = {"version2": "q4s", "version3": "q4", "version4": "q4"}
"""Folder -> format of its weights. q4 has meant other bytes since version 3."""
HEADS = {"version2": "q8", "version3": "q8", "version4": "q4x2"}
LATEST = GOLDEN / f"version{FORMAT_VERSION}"


@pytest.fixture(scope="module", params=QUANTS)
def folder(request: pytest.FixtureRequest) -> Path:
    return GOLDEN / request.param


@pytest.fixture(scope="module")
def about(folder: Path) -> dict:
    return json.loads((folder / "toy.json").read_text())


@pytest.fixture(scope="module")
def model(folder: Path) -> qwen3cpu.Model:
    return qwen3cpu.load(folder / "toy.qwen3", kv="q8", threads=1)


def test_there_are_files_of_every_version() -> None:
    assert {each.name for each in GOLDEN.iterdir() if each.is_dir()} - {"__pycache__"} == set(QUANTS)
    assert LATEST.name in QUANTS


def test_a_packed_file_answers_as_it_did(model: qwen3cpu.Model, folder: Path, about: dict) -> None:
    assert model.quant == QUANTS[folder.name]
    formats = {layout.format for layout in PackedFile(folder / "toy.qwen3").plan.values()}
    assert formats == {"q8", QUANTS[folder.name], HEADS[folder.name]}
    assert PackedFile(folder / "toy.qwen3").plan["lm_head.weight"].format == HEADS[folder.name]
    assert not any(damaged for _, _, damaged in damaged_tensors(PackedFile(folder / "toy.qwen3"), threads=1))
    assert model.chat("be brief", **about["options"]).send(about["messages"][0]).token_ids == tuple(about["answers"][0])


def test_a_session_goes_on_as_it_did(model: qwen3cpu.Model, folder: Path, about: dict) -> None:
    chat = model.resume(folder / "toy.session", **about["options"])
    before = model.engine.native.counters()["tokens"]
    result = chat.send(about["messages"][1])
    assert result.token_ids == tuple(about["answers"][1])
    assert model.engine.native.counters()["tokens"] - before < result.usage.prompt_tokens  # the saved KV cache was used


def test_a_session_of_the_other_4_bit_format_is_refused_by_name(
    model: qwen3cpu.Model, folder: Path, tmp_path: Path
) -> None:
    """Even when both were made from the same checkpoint."""
    other = next(name for name in QUANTS if QUANTS[name] != QUANTS[folder.name])
    data = (GOLDEN / other / "toy.session").read_bytes()
    size = 8 + int.from_bytes(data[:8], "little")
    path = tmp_path / "toy.session"
    path.write_bytes(reseal(data[:size], {"fingerprint": model.fingerprint}) + data[size:])
    with pytest.raises(SessionError, match=f"quant: expected {model.quant}, found '{QUANTS[other]}'"):
        model.resume(path)


def test_the_earlier_4_bit_format_is_not_taken_for_q4() -> None:
    with pytest.raises(ArgumentError, match=r"is packed as 'q4s'; .* found 'q4' .*pack the model again"):
        qwen3cpu.load(GOLDEN / "version2" / "toy.qwen3", "q4")
    with pytest.raises(ArgumentError, match=r"expected one of f32, bf16, q8, q4, .*, found 'q4s'"):
        qwen3cpu.load("tiny", "q4s")


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    """When they do not, _PACKING in packed/cache.py must be raised."""
    about = json.loads((LATEST / "toy.json").read_text())
    write_checkpoint(tmp_path / "toy", **about["shape"])
    qwen3cpu.pack(tmp_path / "toy", tmp_path / "toy.qwen3", "q4", threads=1)
    assert PackedFile(tmp_path / "toy.qwen3").sums() == PackedFile(LATEST / "toy.qwen3").sums()
