"""Model folders that are damaged, and sources that are not models: every defect has its own error."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import (
    qwen3_config,
    random_tensors,
    tensor_shapes,
    write_checkpoint,
    write_json,
    write_safetensors,
)

import qwen3cpu
from qwen3cpu.checkpoint.input_files import LARGEST, read_file
from qwen3cpu.checkpoint.tensors import QUANTS
from qwen3cpu.errors import ArgumentError, CheckpointError, ConfigError, Qwen3CpuError
from qwen3cpu.loading.open import open_checkpoint

EMBEDDING = "model.embed_tokens.weight"
Q_PROJ = "model.layers.1.self_attn.q_proj.weight"


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Write the weights again after `change` to the mapping name -> (dtype, array)."""
    tensors: dict[str, Any] = {n: ("F32", v) for n, v in random_tensors(qwen3_config())}
    change(tensors)
    write_safetensors(folder / "model.safetensors", tensors)


def test_missing_tensor(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    for name, shape in tensor_shapes(qwen3_config()):
        rewrite(tmp_path, lambda tensors, name=name: tensors.pop(name))
        with pytest.raises(CheckpointError) as caught:
            open_checkpoint(tmp_path, threads=1)
        assert f"expected tensor {name} of shape {list(shape)}, found no such tensor" in str(caught.value)


def test_wrong_shapes(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    for name, shape in tensor_shapes(qwen3_config()):
        for wrong in ((*shape[:-1], shape[-1] + 1), (1, *shape), shape[::-1] if len(shape) > 1 else (2, shape[0] // 2)):
            if wrong == shape:
                continue
            value = ("F32", np.zeros(wrong, dtype=np.float32))
            rewrite(tmp_path, lambda tensors, name=name, value=value: tensors.update({name: value}))
            with pytest.raises(CheckpointError) as caught:
                open_checkpoint(tmp_path, threads=1)
            assert f"tensor {name}: expected shape {list(shape)}, found {list(wrong)}" in str(caught.value)


def test_wrong_dtype(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    rewrite(tmp_path, lambda tensors: tensors.update({Q_PROJ: ("I8", np.zeros((128, 64), dtype=np.int8))}))
    with pytest.raises(CheckpointError, match=f"tensor {Q_PROJ}: expected dtype BF16, F16, F32, found I8"):
        open_checkpoint(tmp_path, threads=1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [Q_PROJ, "model.norm.weight"])
@pytest.mark.parametrize("quant", QUANTS)
def test_weights_that_are_not_finite(tmp_path: Path, value: float, name: str, quant: str) -> None:
    def spoil(tensors: dict[str, Any]) -> None:
        tensors[name][1].reshape(-1)[5] = value

    write_checkpoint(tmp_path)
    rewrite(tmp_path, spoil)
    with pytest.raises(CheckpointError, match=f"tensor {name}: "):
        open_checkpoint(tmp_path, quant, threads=1)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_missing_files(tmp_path: Path, name: str) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path, threads=1)
    assert str(tmp_path) in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"a": "\xff"}', b"\xff\xfe{\0}\0", b"[" * 100_000])
def test_garbage_json(tmp_path: Path, name: str, content: bytes) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / name).write_bytes(content)
    kind = CheckpointError if name == "tokenizer_config.json" else ConfigError
    with pytest.raises(kind, match=name):
        open_checkpoint(tmp_path, threads=1)


def test_template_that_is_not_utf8(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "chat_template.jinja").write_bytes(b"abc\xff")
    with pytest.raises(CheckpointError, match=r"chat_template\.jinja: expected UTF-8, found byte 0xff at 3"):
        open_checkpoint(tmp_path, threads=1)


def test_a_folder_where_a_file_should_be(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read: expected a regular file, found a folder"):
        open_checkpoint(tmp_path, threads=1)


def test_shards_and_their_index(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, shards=2)
    index_path = tmp_path / "model.safetensors.index.json"
    index = json.loads(index_path.read_text())
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"

    def refused(changes: Any, mentions: str) -> None:
        write_json(index_path, {"weight_map": changes})
        with pytest.raises(CheckpointError) as caught:
            open_checkpoint(tmp_path, threads=1)
        assert mentions in str(caught.value)

    weight_map = index["weight_map"]
    refused(None, "weight_map: expected an object of tensor names, found null")
    refused({}, "weight_map")
    for shard in ("../other.safetensors", "/etc/passwd", "", ".", "..", "a/b", 3, None, "x\0"):
        refused({**weight_map, EMBEDDING: shard}, "expected a file name")
    refused({**weight_map, EMBEDDING: "absent.safetensors"}, "expected the file absent.safetensors")
    refused({**weight_map, EMBEDDING: second}, f"expected tensor {EMBEDDING!r}")
    refused({**weight_map, "invented": first}, "expected tensor 'invented'")
    refused({n: f for n, f in weight_map.items() if n != EMBEDDING}, f"expected tensor {EMBEDDING} of shape")
    write_json(index_path, index)
    (tmp_path / second).write_bytes((tmp_path / second).read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=f"{second}: truncated"):
        open_checkpoint(tmp_path, threads=1)


def test_every_cut_and_flip_of_the_weight_file_is_survived(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, num_hidden_layers=1)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    chance = np.random.default_rng(0)
    for size in (*chance.integers(0, header, 100), *chance.integers(header, len(whole), 100), len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            open_checkpoint(tmp_path, threads=1)
    refused = 0
    for position in chance.integers(0, header, 300):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << chance.integers(8)
        path.write_bytes(damaged)
        # A flip in the metadata has no effect. Nearly all other flips must be noticed.
        try:
            open_checkpoint(tmp_path, threads=1)
        except CheckpointError:
            refused += 1
    assert refused > 250


# Sources that are not models


@pytest.mark.parametrize(
    "source",
    ["./absent", "/absent/model", "a/b/c", "absent", "", "~absent/x y", "x\0y", "-a/b", "a--b/c", "a/b..c", "x" * 5000],
)
def test_neither_a_path_nor_an_id(source: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(source, threads=1)
    assert "existing model folder, packed file or GGUF file" in str(caught.value)
    assert "a released model's name or a hub id (owner/name" in str(caught.value)


def test_a_path_object_is_never_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="expected an existing model folder"):
        open_checkpoint(Path("Qwen/Qwen3-1.7B"), threads=1)


@pytest.mark.parametrize("source", [None, 3, ["a"]])
def test_sources_of_a_wrong_type(source: Any) -> None:
    with pytest.raises(ArgumentError, match="source: expected a path or a hub id"):
        open_checkpoint(source, threads=1)


@pytest.mark.parametrize("quant", ["q5", "Q4", "", "int8"])
def test_unknown_quant(tmp_path: Path, quant: str) -> None:
    with pytest.raises(ArgumentError, match=f"quant: expected one of {', '.join(QUANTS)}, found {quant!r}"):
        open_checkpoint(tmp_path, quant, threads=1)


def test_a_file_of_a_checkpoint_is_not_a_model(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="pass the folder"):
        open_checkpoint(tmp_path / "model.safetensors", threads=1)
    with pytest.raises(Qwen3CpuError):
        open_checkpoint(tmp_path / "config.json", threads=1)


def test_what_is_neither_file_nor_folder() -> None:
    with pytest.raises(CheckpointError, match="expected a model folder, a packed file or a GGUF file"):
        open_checkpoint("/dev/null", threads=1)


@pytest.mark.parametrize("found", [["a"], [{"name": "default"}], [{"name": "rag", "template": "r"}], [], {}])
def test_named_chat_templates_without_the_default_one_are_refused(tmp_path: Path, found: object) -> None:
    write_checkpoint(tmp_path, chat_template=None)
    write_json(tmp_path / "tokenizer_config.json", {"chat_template": found})
    with pytest.raises(CheckpointError, match='chat_template: expected a template named "default", found'):
        open_checkpoint(tmp_path, threads=1)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_end_tokens_are_in_the_vocabulary(tmp_path: Path, name: str) -> None:
    write_checkpoint(tmp_path)
    values = json.loads((tmp_path / name).read_text())
    write_json(tmp_path / name, {**values, "eos_token_id": 10**6})
    with pytest.raises(ConfigError, match=f"{name}: eos_token_id: expected ids from 0 to .*, found 1000000"):
        qwen3cpu.load(tmp_path, cache=False)


def test_messages_name_a_file_once(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{% if %}")
    with pytest.raises(
        CheckpointError, match=r"^(?!.*chat template: chat template).*: chat template: expected a Jinja"
    ):
        qwen3cpu.load(tmp_path, cache=False)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"^(?!.*tokenizer.json: tokenizer.json).*: tokenizer.json: expected a"):
        qwen3cpu.load(tmp_path, cache=False)


def test_reading_a_text_takes_little_more_memory_than_its_size(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(b"x" * (1 << 20))
    tracemalloc.start()
    try:
        assert read_file(path) == path.read_bytes()
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    with path.open("r+b") as file:
        file.truncate(LARGEST["tokenizer.json"] + 1)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: expected at most 536870912 bytes, found 536870913"):
        read_file(path)
