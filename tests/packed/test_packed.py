"""The packed file: other readers can list it, it is mapped without a copy, and damage to its header is noticed."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_texts import CHAT_TEMPLATE, tokenizer_dict
from checkpoints import write_checkpoint

from qwen3cpu import _native
from qwen3cpu.checkpoint.tensors import QUANTS
from qwen3cpu.errors import ArgumentError, CheckpointError
from qwen3cpu.loading.open import open_checkpoint
from qwen3cpu.loading.sources import open_unpacked
from qwen3cpu.packed.packed_file import PackedFile
from qwen3cpu.packed.sealed_file import DIGEST, PAGE, header_digest
from qwen3cpu.quantization.pack_model import pack_to_file
from qwen3cpu.system.progress_bar import Progress


def pack(folder: Path, path: Path, quant: str = "q4") -> Path:
    """Pack a model folder into `path`."""
    opened = open_unpacked(folder)
    with Progress("Packing", None) as progress:
        pack_to_file(path, opened.weights, opened.read_texts(), quant, name=str(folder), threads=1, progress=progress)
    return path


def sealed(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Copy a packed file with `change` applied to its header, and a right checksum."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    values = json.loads(data[8 : 8 + length])
    change(values)
    text = json.dumps(values, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % PAGE)
    header = bytearray(len(text).to_bytes(8, "little") + text)
    header[DIGEST] = header_digest(bytes(header))
    copy = path.with_name("sealed.qwen3")
    copy.write_bytes(bytes(header) + data[8 + length :])
    return copy


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("tied", [True, False])
def test_holds_the_whole_model(tmp_path: Path, quant: str, tied: bool) -> None:
    folder = tmp_path / "model"
    write_checkpoint(folder, tie_word_embeddings=tied, attention_bias=True, hidden_size=72)
    path = pack(folder, tmp_path / "model.qwen3", quant)
    original = open_checkpoint(folder, quant, threads=1)
    (tmp_path / "model").rename(tmp_path / "gone")
    for again in (open_checkpoint(path, threads=1), open_checkpoint(str(path), quant, threads=1)):
        assert again.config == original.config
        assert again.generation == original.generation
        assert json.loads(again.tokenizer_json) == tokenizer_dict()
        assert again.tokenizer_config == original.tokenizer_config
        assert again.chat_template == CHAT_TEMPLATE
        assert again.fingerprint == original.fingerprint
        assert (again.quant, again.weight_bytes, again.packed_path) == (quant, original.weight_bytes, path)
        assert list(again.matrices) == list(original.matrices)
        for name, (format_name, rows, cols, data) in again.matrices.items():
            assert (format_name, rows, cols) == original.matrices[name][:3]
            np.testing.assert_array_equal(data, original.matrices[name][3])
        assert list(again.vectors) == list(original.vectors)
        for name, vector in again.vectors.items():
            assert vector.dtype == np.float32
            np.testing.assert_array_equal(vector, original.vectors[name])


def test_a_model_without_a_template(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model", chat_template=None, generation_config={})
    checkpoint = open_checkpoint(pack(tmp_path / "model", tmp_path / "model.qwen3"), threads=1)
    assert checkpoint.chat_template is None
    assert checkpoint.generation.temperature is None


def test_is_mapped_and_not_copied(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model")
    path = pack(tmp_path / "model", tmp_path / "model.qwen3")
    file = PackedFile(path)
    for name, (_, _, _, data) in file.matrices.items():
        assert data.ctypes.data % PAGE == 0
        assert not data.flags.owndata
        assert not data.flags.writeable
        before = data[:4].copy()
        # A mapping shows what is written into the file later; a copy would not.
        with path.open("r+b") as writer:
            writer.seek(file._file.tensors[name].start)
            writer.write(bytes(255 - before))
        np.testing.assert_array_equal(data[:4], 255 - before)


def test_runs_in_the_engine_as_the_folder_does(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model")
    path = pack(tmp_path / "model", tmp_path / "model.qwen3")
    tokens = np.arange(7, dtype=np.int32)
    logits = []
    for source in (tmp_path / "model", path):
        checkpoint = open_checkpoint(source, threads=1)
        model = _native.Model(checkpoint.config.native(64), checkpoint.matrices, checkpoint.vectors, "f16", 1)
        del checkpoint  # the engine keeps the mapping alive
        logits += model.forward([(model.new_sequence(), tokens, tokens)])
    np.testing.assert_array_equal(logits[0], logits[1])


def test_any_safetensors_reader_can_list_it(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    write_checkpoint(tmp_path / "model")
    path = pack(tmp_path / "model", tmp_path / "model.qwen3")
    file = PackedFile(path)
    with safetensors.safe_open(path, "np") as theirs:
        assert set(theirs.keys()) == {*file.matrices, *file.vectors, "tokenizer.json"}
        assert theirs.metadata()["quant"] == "q4"
        assert json.loads(theirs.metadata()["config"])["model_type"] == "qwen3"
        for name, vector in file.vectors.items():
            np.testing.assert_array_equal(theirs.get_tensor(name), vector)
        for name, (*_, data) in file.matrices.items():
            pages = theirs.get_tensor(name).reshape(-1)
            np.testing.assert_array_equal(pages[: data.size], data)
            assert not pages[data.size :].any()
        assert bytes(theirs.get_tensor("tokenizer.json")) == file.texts.tokenizer_json


def test_packing_twice_gives_the_same_file(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model")
    first = pack(tmp_path / "model", tmp_path / "first.qwen3").read_bytes()
    assert first == pack(tmp_path / "model", tmp_path / "second.qwen3").read_bytes()


def test_replaces_a_file_that_is_in_use(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model", seed=1)
    path = pack(tmp_path / "model", tmp_path / "model.qwen3")
    old = PackedFile(path)
    before = {name: data.copy() for name, (*_, data) in old.matrices.items()}
    write_checkpoint(tmp_path / "model", seed=2)
    pack(tmp_path / "model", path)
    for name, (*_, data) in old.matrices.items():
        np.testing.assert_array_equal(data, before[name])
        assert (PackedFile(path).matrices[name][3] != data).any()


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model")
    mask = os.umask(0o027)
    try:
        path = pack(tmp_path / "model", tmp_path / "model.qwen3")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError("disk full")])
@pytest.mark.parametrize("existing", [True, False])
def test_nothing_half_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, existing: bool
) -> None:
    write_checkpoint(tmp_path / "model")
    out = tmp_path / "out"
    out.mkdir()
    path = out / "model.qwen3"
    if existing:
        pack(tmp_path / "model", path)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    original, calls = _native.pack_into, []

    def interrupted(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 5:
            raise error
        original(*args)

    monkeypatch.setattr(_native, "pack_into", interrupted)
    with pytest.raises(type(error) if isinstance(error, BaseException) else error):
        pack(tmp_path / "model", path)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


# Damage


def test_every_cut_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model")
    path = pack(tmp_path / "model", tmp_path / "model.qwen3")
    size = path.stat().st_size
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    chance = np.random.default_rng(0)
    cuts = {*range(0, header, 37), *range(header - 20, header + 20), *range(size - 40, size)}
    cuts |= set(chance.integers(header, size, 200).tolist())
    assert len(cuts) > 400
    for cut in sorted(cuts, reverse=True):
        os.truncate(path, cut)
        with pytest.raises(CheckpointError) as caught:
            open_checkpoint(path, threads=1)
        assert str(path) in str(caught.value)


def test_extra_bytes_are_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model")
    path = pack(tmp_path / "model", tmp_path / "model.qwen3")
    with path.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(CheckpointError, match="as its header says"):
        PackedFile(path)


def test_every_flipped_header_byte_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model", num_hidden_layers=1)
    path = pack(tmp_path / "model", tmp_path / "model.qwen3")
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    chance = np.random.default_rng(0)
    positions = [*range(200), *range(200, header, 11), *range(header - 20, header)]
    assert len(positions) > 500
    with path.open("r+b") as file:
        for position in positions:
            file.seek(position)
            file.write(bytes([whole[position] ^ (1 << int(chance.integers(8)))]))
            file.flush()
            with pytest.raises(CheckpointError):
                open_checkpoint(path, threads=1)
            file.seek(position)
            file.write(whole[position : position + 1])
    assert open_checkpoint(path, threads=1).quant == "q4"


Q_PROJ = "model.layers.0.self_attn.q_proj.weight"
NORM = "model.norm.weight"


def in_metadata(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        values["__metadata__"].update(changes)
        for key in [key for key, value in changes.items() if value is ...]:
            del values["__metadata__"][key]

    return change


def in_plan(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        plan = json.loads(values["__metadata__"]["matrices"])
        if value is ...:
            del plan[name]
        else:
            plan[name] = value
        values["__metadata__"]["matrices"] = json.dumps(plan)

    return change


def in_config(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        config = json.loads(values["__metadata__"]["config"])
        values["__metadata__"]["config"] = json.dumps({**config, **changes})

    return change


def swapped(first: str, second: str) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        values[first], values[second] = values[second], values[first]

    return change


def renamed(old: str, new: str) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        values[new] = values.pop(old)

    return change


def retyped(name: str, dtype: str, shape: list[int]) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        values[name].update(dtype=dtype, shape=shape)

    return change


def shifted(values: dict[str, Any]) -> None:
    """Put the tokenizer's bytes before everything else, so that no matrix starts on a page."""
    length = values["tokenizer.json"]["shape"][0]
    for name, entry in values.items():
        if name != "__metadata__":
            start, stop = entry["data_offsets"]
            entry["data_offsets"] = [0, length] if name == "tokenizer.json" else [start + length, stop + length]


WRONG_FIELDS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "another program's": (in_metadata(format="pt"), "another kind"),
    "another version": (in_metadata(format_version="99"), "format_version: expected 4, found '99'"),
    "no version": (in_metadata(format_version=...), "format_version"),
    "an unknown quant": (in_metadata(quant="q5"), "quant: expected"),
    "no quant": (in_metadata(quant=...), "quant: expected"),
    "no fingerprint": (in_metadata(fingerprint=...), "fingerprint: expected"),
    "no config": (in_metadata(config=...), "config: expected"),
    "a config that is no JSON": (in_metadata(config="{"), "config.json: expected JSON"),
    "a config with a lone surrogate": (in_metadata(config='{"\ud800'), "config.json: expected JSON"),
    "a config of another model": (in_config(model_type="llama"), "'llama'"),
    "a config with more layers": (in_config(num_hidden_layers=3), "matrices"),
    "a config with another width": (in_config(hidden_size=128), "expected [format, 416, 128]"),
    "a config with a bias": (in_config(attention_bias=True), "bias"),
    "generation settings that are wrong": (in_metadata(generation_config='{"top_p": 7}'), "top_p"),
    "a tokenizer config that is no JSON": (in_metadata(tokenizer_config="x"), "tokenizer_config.json"),
    "matrices that are no JSON": (in_metadata(matrices="x"), "matrices: expected JSON"),
    "matrices that are a list": (in_metadata(matrices="[]"), "matrices: expected a JSON object"),
    "a matrix too few": (in_plan(Q_PROJ, ...), Q_PROJ),
    "a matrix too many": (in_plan("x", ["q4", 8, 8]), "found a difference: x"),
    "an unknown format": (in_plan(Q_PROJ, ["q1", 128, 64]), Q_PROJ),
    "a format that is a list": (in_plan(Q_PROJ, [[], 128, 64]), Q_PROJ),
    "a format of another size": (in_plan(Q_PROJ, ["f32", 128, 64]), "at the start of a page"),
    "other rows": (in_plan(Q_PROJ, ["q4", 64, 64]), "expected [format, 128, 64]"),
    "a plan that is a number": (in_plan(Q_PROJ, 3), "found 3"),
    "a tensor too few": (renamed(Q_PROJ, "x"), "no such tensor"),
    "a vector too few": (renamed(NORM, "x"), NORM),
    "no tokenizer": (renamed("tokenizer.json", "x"), "tokenizer.json"),
    "a tokenizer of another type": (retyped("tokenizer.json", "I8", [0]), "tokenizer.json"),
    "tensors exchanged": (swapped(NORM, "tokenizer.json"), "tokenizer.json"),
    "a vector of another shape": (retyped(NORM, "F32", [8, 8]), "expected F32 [64]"),
    "a vector of another type": (retyped(NORM, "I32", [64]), "expected F32 [64]"),
    "a matrix of another shape": (retyped(Q_PROJ, "U8", [0]), Q_PROJ),
    "matrices off the page": (shifted, "at the start of a page"),
}


@pytest.mark.parametrize("case", WRONG_FIELDS)
def test_every_field_is_checked_behind_a_right_checksum(tmp_path: Path, case: str) -> None:
    write_checkpoint(tmp_path / "model")
    path = pack(tmp_path / "model", tmp_path / "model.qwen3")
    change, mentions = WRONG_FIELDS[case]
    bad = sealed(path, change)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(bad, threads=1)
    assert str(bad) in str(caught.value)
    assert mentions in str(caught.value)


def test_sealing_without_a_change_is_accepted(tmp_path: Path) -> None:
    """A check of the test above: the changes are refused, not the resealed file itself."""
    write_checkpoint(tmp_path / "model")
    path = sealed(pack(tmp_path / "model", tmp_path / "model.qwen3"), lambda values: None)
    assert open_checkpoint(path, threads=1).quant == "q4"


def test_asking_for_another_quant_than_the_file_has(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model")
    path = pack(tmp_path / "model", tmp_path / "model.qwen3", "q8")
    assert open_checkpoint(path, threads=1).quant == "q8"
    with pytest.raises(ArgumentError, match="is packed as 'q8'; expected that or no quant, found 'q4'"):
        open_checkpoint(path, "q4", threads=1)
