"""Metadata of GGUF files that changes what a model computes: honoured as config.json's keys are, or refused by name."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkpoints import qwen3_config, random_tensors

from qwen3cpu.checkpoint.gguf_file import GgufFile
from qwen3cpu.checkpoint.readers.gguf_texts import read_gguf_config, read_gguf_texts
from qwen3cpu.errors import CheckpointError, ConfigError
from qwen3cpu.loading.open import open_checkpoint

gguf = pytest.importorskip("gguf")
from gguf_models import write_gguf  # noqa: E402  needs the package


def write(path: Path, change: Callable[[Any], None] = lambda writer: None) -> Path:
    config = qwen3_config(num_hidden_layers=1)
    write_gguf(path, config, dict(random_tensors(config)), change=change)
    return path


def scaled(writer: Any, **keys: float) -> None:
    """YaRN as llama.cpp's converter writes it, and more keys of rope.scaling."""
    writer.add_string("qwen3.rope.scaling.type", "yarn")
    writer.add_uint32("qwen3.rope.scaling.original_context_length", 128)
    for key, value in {"factor": 4.0, **keys}.items():
        writer.add_float32(f"qwen3.rope.scaling.{key}", value)


@pytest.mark.parametrize("attention", [None, 0.5, 1.0, 2.0])
def test_the_attention_factor_multiplies_that_of_yarn(tmp_path: Path, attention: float | None) -> None:
    """In llama.cpp it is a factor on 0.1 ln(factor) + 1. In config.json attention_factor is the whole product."""
    keys = {} if attention is None else {"attn_factor": attention}
    config = read_gguf_config(GgufFile(write(tmp_path / "model.gguf", lambda writer: scaled(writer, **keys))))
    assert config.rope_scale() == pytest.approx((attention or 1.0) * (0.1 * math.log(4) + 1), rel=1e-12)


HARMLESS = {
    "all of the head": lambda writer: writer.add_rope_dimension_count(32),
    "a window of the whole context": lambda writer: writer.add_sliding_window(512),
    "no window": lambda writer: writer.add_sliding_window(0),
    "causal": lambda writer: writer.add_causal_attention(True),
    "the usual scale": lambda writer: writer.add_attention_scale(32**-0.5),
    "pooling": lambda writer: writer.add_pooling_type(gguf.PoolingType.LAST),
    "no experts": lambda writer: writer.add_expert_count(0),
    "factor 1 without a type": lambda writer: writer.add_float32("qwen3.rope.scaling.factor", 1.0),
    "no scaling": lambda writer: (
        writer.add_string("qwen3.rope.scaling.type", "none"),
        writer.add_float32("qwen3.rope.scaling.factor", 4.0),
    ),
    "finetuned": lambda writer: writer.add_bool("qwen3.rope.scaling.finetuned", True),
    "arrays of arrays": lambda writer: writer.add_array("general.foreign", [[1, 2], [3]]),
    "no padding token": lambda writer: writer.add_uint32("tokenizer.ggml.mask_token_id", 2**32 - 1),
    "no beginning": lambda writer: writer.add_int32("tokenizer.ggml.bos_token_id", -1),
    "many ends": lambda writer: writer.add_array("tokenizer.ggml.bos_token_id", [1, 2]),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_keys_that_change_nothing(tmp_path: Path, case: str) -> None:
    plain, other = (
        GgufFile(write(tmp_path / name, change))
        for name, change in (("plain.gguf", lambda writer: None), ("other.gguf", HARMLESS[case]))
    )
    assert read_gguf_config(plain) == read_gguf_config(other)
    assert read_gguf_texts(plain).tokenizer_json == read_gguf_texts(other).tokenizer_json


REFUSED = {
    "rope.dimension_count": lambda writer, key: writer.add_uint32(key, 16),
    "rope.dimension_sections": lambda writer, key: writer.add_array(key, [8, 4, 4, 0]),
    "rope.scaling.factor": lambda writer, key: writer.add_float32(key, 4.0),
    "rope.scaling.attn_factor": lambda writer, key: writer.add_float32(key, 1.5),
    "rope.scaling.yarn_log_multiplier": lambda writer, key: writer.add_float32(key, 0.1),
    "rope.scaling.yarn_ext_factor": lambda writer, key: writer.add_float32(key, 0.5),
    "rope.scale_linear": lambda writer, key: writer.add_float32(key, 2.0),
    "rope.freq_base_swa": lambda writer, key: writer.add_float32(key, 10000.0),
    "attention.sliding_window": lambda writer, key: writer.add_uint32(key, 256),
    "attention.sliding_window_pattern": lambda writer, key: writer.add_array(key, [True, False]),
    "attention.causal": lambda writer, key: writer.add_bool(key, False),
    "attention.scale": lambda writer, key: writer.add_float32(key, 0.5),
    "attention.some_new_thing": lambda writer, key: writer.add_float32(key, 0.5),
    "logit_scale": lambda writer, key: writer.add_float32(key, 0.0625),
    "final_logit_softcapping": lambda writer, key: writer.add_float32(key, 30.0),
    "embedding_scale": lambda writer, key: writer.add_float32(key, 12.0),
    "residual_scale": lambda writer, key: writer.add_float32(key, 0.2),
    "expert_count": lambda writer, key: writer.add_uint32(key, 128),
}


@pytest.mark.parametrize("key", REFUSED)
def test_keys_that_would_change_the_model_are_refused_by_name(tmp_path: Path, key: str) -> None:
    path = write(tmp_path / "model.gguf", lambda writer: REFUSED[key](writer, f"qwen3.{key}"))
    with pytest.raises(ConfigError, match=rf"qwen3\.{key}: expected"):
        open_checkpoint(path, threads=1)


def test_other_unknown_keys_are_named_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "model.gguf", lambda writer: writer.add_uint32("qwen3.some_new_thing", 3))
    with caplog.at_level(logging.WARNING, "qwen3cpu"):
        read_gguf_config(GgufFile(path))
    assert "ignoring the key qwen3.some_new_thing" in caplog.text


# Files that are not complete models


def bare(path: Path, endianess: Any = None, **keys: Any) -> Path:
    """Write a file with these keys and no other part of a model."""
    writer = gguf.GGUFWriter(path, "qwen3", **({} if endianess is None else {"endianess": endianess}))
    writer.kv_data[0].clear()
    for key, value in keys.items():
        add = {str: writer.add_string, int: writer.add_uint16}[type(value)]
        add(key.replace("__", "."), value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_an_adapter_in_a_file(tmp_path: Path) -> None:
    path = bare(tmp_path / "lora.gguf", general__type="adapter", general__architecture="qwen3", adapter__type="lora")
    with pytest.raises(ConfigError, match=r"general\.type: expected 'model' .*found 'adapter'"):
        open_checkpoint(path, threads=1)


def test_a_big_endian_file(tmp_path: Path) -> None:
    path = bare(tmp_path / "model.gguf", gguf.GGUFEndian.BIG, general__architecture="qwen3")
    with pytest.raises(CheckpointError, match="expected a little-endian file, found a big-endian one"):
        open_checkpoint(path, threads=1)


def test_strings_that_are_not_utf8_are_a_fault_only_where_they_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "model.gguf", lambda writer: writer.add_string("general.author", "J\u00fcrgen"))
    data = path.read_bytes()
    path.write_bytes(data.replace("J\u00fcrgen".encode(), b"J\xfc\xfcrgen"))
    assert read_gguf_config(GgufFile(path)).hidden_size == 64
    path.write_bytes(data.replace(b"qwen2", b"qwe\xff2"))
    with pytest.raises(CheckpointError, match=r"tokenizer\.ggml\.pre: expected"):
        open_checkpoint(path, threads=1)
