"""Unexpected content of a model folder: other kinds of files, special files, names and marks of other tools."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import special_files
from checkpoints import DTYPES, qwen3_config, random_tensors, to_dtype, write_checkpoint, write_json, write_safetensors

import qwen3cpu
from qwen3cpu.checkpoint import input_files
from qwen3cpu.checkpoint.readers.registry import source_kind
from qwen3cpu.errors import CheckpointError
from qwen3cpu.loading.open import open_checkpoint

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 3441185608\n"
PAGE = b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"
ERROR = b'{"error":"Repository not found"}'

KINDS = {
    "git-lfs": (LFS, "a git-lfs pointer: fetch the file itself with `git lfs pull`"),
    "page": (PAGE, "a web page"),
    "XML": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page"),
    "error": (ERROR, "the error message of a server"),
    "torch": (b"PK\x03\x04" + b"\0" * 100, "a ZIP archive"),
    "pickle": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9", "a pickle"),
    "gzip": (b"\x1f\x8b\x08\0" + b"x" * 100, "a gzip file"),
    "zeros": (bytes(4096), "its first bytes are zeros"),
}


@pytest.mark.parametrize("case", KINDS)
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_other_kinds_of_files_are_named(tmp_path: Path, case: str, name: str) -> None:
    write_checkpoint(tmp_path)
    data, expected = KINDS[case]
    (tmp_path / name).write_bytes(data)
    if (case, name) == ("error", "config.json"):
        expected = "model_type"  # it is valid JSON, so the message names the missing key
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path, threads=1)
    assert expected in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize("suffix", [".gguf", ".qwen3"])
@pytest.mark.parametrize("case", KINDS)
def test_other_kinds_in_the_place_of_a_single_file(tmp_path: Path, case: str, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(KINDS[case][0])
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path, threads=1)
    assert KINDS[case][1] in str(caught.value)


@pytest.mark.parametrize("with_config", [True, False])
def test_an_adapter_is_named_with_its_model(tmp_path: Path, with_config: bool) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "adapter_model.safetensors")
    write_json(tmp_path / "adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "Qwen/Qwen3-1.7B"})
    if not with_config:
        (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"found the adapter of 'Qwen/Qwen3-1.7B' .*merge_and_unload"):
        open_checkpoint(tmp_path, threads=1)
    with pytest.raises(CheckpointError, match=r"safetensors file of another kind"):
        open_checkpoint(tmp_path / "adapter_model.safetensors", threads=1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model-q4.gguf", "GGUF files: pass the path of one"),
        ("pytorch_model-00001-of-00002.bin", "shards written by torch.save without their index"),
        ("model.onnx", "an ONNX model"),
        ("notes.txt", "notes.txt"),
    ],
)
def test_a_folder_with_other_weights(tmp_path: Path, name: str, expected: str) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / name)
    with pytest.raises(CheckpointError, match=f"found .*{expected}"):
        open_checkpoint(tmp_path, threads=1)


# Special files


KINDS_OF_FILES: dict[str, Callable[[Path], None]] = {
    **special_files.SPECIAL,
    "symbolic links": lambda path: path.symlink_to(path),
}
FILES = ("config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors")


@pytest.mark.parametrize("kind", KINDS_OF_FILES)
@pytest.mark.parametrize("name", [*FILES, "tokenizer_config.json", "model.safetensors.index.json"])
def test_special_files_are_not_read(tmp_path: Path, kind: str, name: str) -> None:
    write_checkpoint(tmp_path, shards=2 if name.endswith("index.json") else 1)
    (tmp_path / name).unlink()
    KINDS_OF_FILES[kind](tmp_path / name)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path, threads=1)
    if (kind, name) != ("symbolic links", "model.safetensors"):  # counts as a missing file
        assert name in str(caught.value)
        assert kind in str(caught.value)


@pytest.mark.parametrize("kind", ["a FIFO", "a character device", "a socket"])
def test_special_files_in_the_place_of_a_model(tmp_path: Path, kind: str) -> None:
    special_files.SPECIAL[kind](tmp_path / "model")
    with pytest.raises(CheckpointError, match=f"expected a model folder.*found {kind}"):
        open_checkpoint(tmp_path / "model", threads=1)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja"])
def test_files_larger_than_any_model_needs_are_not_read(tmp_path: Path, name: str) -> None:
    write_checkpoint(tmp_path)
    size = input_files.LARGEST.get(name, input_files.LARGEST_TEXT) + 1
    with (tmp_path / name).open("r+b") as file:
        file.truncate(size)  # a sparse file, which takes no space
    with pytest.raises(CheckpointError, match=rf"{name}: expected at most {size - 1} bytes, found {size}"):
        open_checkpoint(tmp_path, threads=1)


@pytest.mark.parametrize("shard", ["a" * 5000, "a" * 300, "model-\ud800", "missing"])
def test_shards_with_names_that_cannot_be(tmp_path: Path, shard: str) -> None:
    write_checkpoint(tmp_path, shards=2)
    index = tmp_path / "model.safetensors.index.json"
    values = json.loads(index.read_text())
    values["weight_map"]["model.norm.weight"] = shard
    index.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="expected the file"):
        open_checkpoint(tmp_path, threads=1)


# Byte order marks


def test_byte_order_marks_change_nothing(tmp_path: Path) -> None:
    plain, marked = (write_checkpoint(tmp_path / name, shards=2) for name in ("plain", "marked"))
    for path in marked.folder.iterdir():
        if path.suffix in (".json", ".jinja"):
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    one, other = (qwen3cpu.load(written.folder, "f32", threads=1) for written in (plain, marked))
    messages = [{"role": "user", "content": "hello"}]
    assert one.render(messages) == other.render(messages)
    assert one.config == other.config
    assert one.tokenizer.encode("hello <|im_end|>", control_tokens=True) == other.tokenizer.encode(
        "hello <|im_end|>", control_tokens=True
    )


# Names of training tools

PREFIXES = {
    "as Qwen3-Embedding": lambda name: name.removeprefix("model."),
    "PEFT": lambda name: f"base_model.model.{name}",
    "torch.compile": lambda name: f"_orig_mod.{name}",
    "DataParallel": lambda name: f"module.{name}",
    "text model of a multimodal one": lambda name: name.replace("model.", "model.language_model.", 1),
    "language model of a multimodal one": lambda name: f"language_model.{name}",
    "wrapped layers": lambda name: name.replace(".self_attn.", "._checkpoint_wrapped_module.self_attn."),
    "compiled layers": lambda name: name.replace(".mlp.", "._orig_mod.mlp."),
    "FSDP": lambda name: f"_fsdp_wrapped_module.{name}",
    "several": lambda name: f"module._orig_mod.base_model.model.{name}",
}


def write_renamed(folder: Path, rename: Callable[[str], str], shards: bool = False, **overrides: object) -> None:
    """Write a checkpoint in float32 whose tensors have other names."""
    write_checkpoint(folder, dtype="float32", **overrides)
    config = qwen3_config(torch_dtype="float32", **overrides)
    stored = {rename(name): ("F32", values) for name, values in random_tensors(config)}
    write_safetensors(folder / "model.safetensors", stored)
    if shards:
        (folder / "model.safetensors").rename(folder / "model-1.safetensors")
        weight_map = dict.fromkeys(stored, "model-1.safetensors")
        write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})


@pytest.mark.parametrize("case", PREFIXES)
@pytest.mark.parametrize("tied", [True, False])
def test_prefixes_of_training_tools(tmp_path: Path, case: str, tied: bool) -> None:
    write_renamed(tmp_path, PREFIXES[case], shards=tied, tie_word_embeddings=tied)
    kind = source_kind(tmp_path)
    assert kind is not None
    source = kind.open(tmp_path).weights
    for name, values in random_tensors(qwen3_config(torch_dtype="float32", tie_word_embeddings=tied)):
        found = source.vector(name) if values.ndim == 1 else source.rows(name, 0, len(values))
        np.testing.assert_array_equal(found, values, err_msg=name)


@pytest.mark.parametrize(
    ("rename", "expected"),
    [
        (
            lambda name: name if "layers.1" in name else f"module.base_model.{name}",
            r"one prefix .*'base_model\.model\.' .*and 'model\.'",
        ),
        (lambda name: name.replace("embed_tokens", "embed"), r"expected tensor model\.embed_tokens\.weight"),
        (lambda name: f"student.{name}", r"expected tensor model\.embed_tokens\.weight"),
        (
            lambda name: name.replace("q_proj.weight", "q_proj.base_layer.weight"),
            "LoRA adapter that is not merged",
        ),
    ],
)
def test_prefixes_that_do_not_fit_together(tmp_path: Path, rename: Callable[[str], str], expected: str) -> None:
    write_renamed(tmp_path, rename)
    with pytest.raises(CheckpointError, match=expected):
        open_checkpoint(tmp_path, threads=1)


def test_the_same_tensor_under_two_prefixes(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    tensors = {}
    for name, values in random_tensors(qwen3_config()):
        tensors[name] = tensors[f"_orig_mod.{name}"] = (DTYPES["bfloat16"], to_dtype(values, "bfloat16")[0])
    write_safetensors(tmp_path / "model.safetensors", tensors)
    with pytest.raises(CheckpointError, match=r"expected one tensor .*found two.*_orig_mod"):
        open_checkpoint(tmp_path, threads=1)


# Tensors that are not read, and sizes that do not fit


def test_tensors_that_nobody_reads_may_have_unknown_types(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_checkpoint(tmp_path)
    tensors = {name: ("F32", values) for name, values in random_tensors(qwen3_config())}
    tensors["vision.scale"] = ("F6", np.zeros(5, np.uint8))
    tensors["vision.weight"] = ("F4", np.zeros(5, np.uint8))
    write_safetensors(tmp_path / "model.safetensors", tensors)
    with caplog.at_level(logging.WARNING, "qwen3cpu"):
        open_checkpoint(tmp_path, threads=1)
    assert "2 unknown types, such as 'F4'" in caplog.text
    tensors["model.norm.weight"] = ("F6", np.zeros(64, np.uint8))
    write_safetensors(tmp_path / "model.safetensors", tensors)
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight: expected dtype BF16, F16, F32, found F6"):
        open_checkpoint(tmp_path, threads=1)


def test_an_embedding_without_rows_for_all_tokens(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, vocab_size=300)
    with pytest.raises(CheckpointError, match=r"for each of the tokenizer's \d+ ids, found 300 rows"):
        qwen3cpu.load(tmp_path, threads=1)


def test_weights_that_are_cut_while_they_are_read(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    kind = source_kind(tmp_path)
    assert kind is not None
    weights = kind.open(tmp_path).weights
    path = tmp_path / "model.safetensors"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(CheckpointError, match=r"expected \d+ bytes, as when the file was opened, found"):
        weights.rows("model.embed_tokens.weight", 0, 1)
