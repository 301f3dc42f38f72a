"""Model folders: every dtype and layout of files gives the right weights and texts. Defects: test_loader_errors.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_texts import CHAT_TEMPLATE, tokenizer_dict
from checkpoints import (
    Written,
    bfloat16_bits,
    bfloat16_values,
    random_tensors,
    write_checkpoint,
    write_json,
    write_safetensors,
)
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.checkpoint.tensors import QUANTS
from qwen3cpu.errors import CheckpointError
from qwen3cpu.loading.loaded_model import Checkpoint
from qwen3cpu.loading.open import open_checkpoint

EMBEDDING = "model.embed_tokens.weight"
Q_PROJ = "model.layers.1.self_attn.q_proj.weight"


def unpacked(matrix: tuple[str, int, int, NDArray[np.uint8]]) -> NDArray[np.float32]:
    """The values of an f32 or bf16 matrix, [rows, cols], by the layout that csrc/layout/format.h documents."""
    format_name, rows, cols, data = matrix
    size = {"f32": 4, "bf16": 2}[format_name]
    tiles = -(-rows // 8)
    tile_bytes = -(-8 * cols * size // 64) * 64
    tile = data.reshape(tiles, tile_bytes)[:, : 8 * cols * size]
    if format_name == "f32":
        values = np.ascontiguousarray(tile).view(np.float32)
    else:
        values = bfloat16_values(np.ascontiguousarray(tile).view(np.uint16))
    return values.reshape(tiles, cols, 8).transpose(0, 2, 1).reshape(tiles * 8, cols)[:rows]


def packed_directly(format_name: str, values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Pack a float32 matrix in one piece with the native packer."""
    rows, cols = values.shape
    room = np.zeros(_native.matrix_bytes(format_name, rows, cols) + 64, dtype=np.uint8)
    start = -room.ctypes.data % 64
    out = room[start : start + room.size - 64]
    _native.pack_into(format_name, np.ascontiguousarray(values), out, rows, 0, 1)
    return out


def check_weights(checkpoint: Checkpoint, written: Written) -> None:
    """Check that the checkpoint has exactly the tensors of the file, with the same values."""
    for name, values in written.tensors.items():
        if values.ndim == 1:
            np.testing.assert_array_equal(checkpoint.vectors[name], values)
        else:
            assert checkpoint.matrices[name][:3] == ("f32", *values.shape)
            np.testing.assert_array_equal(unpacked(checkpoint.matrices[name]), values)
    assert {*checkpoint.vectors, *checkpoint.matrices} == set(written.tensors)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("shards", [1, 3])
def test_dtypes_and_shards(tmp_path: Path, dtype: str, shards: int) -> None:
    written = write_checkpoint(tmp_path, dtype=dtype, shards=shards)
    assert len(list(tmp_path.glob("*.safetensors"))) == shards
    checkpoint = open_checkpoint(tmp_path, "f32", threads=1)
    check_weights(checkpoint, written)
    assert checkpoint.packed_path is None
    assert checkpoint.quant == "f32"


@pytest.mark.parametrize(
    "shape",
    [
        {"tie_word_embeddings": False},
        {"attention_bias": True},
        {"tie_word_embeddings": False, "attention_bias": True, "num_hidden_layers": 1},
        {
            "hidden_size": 37,
            "intermediate_size": 51,
            "head_dim": 10,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
        },
        {"vocab_size": 383, "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 128},
    ],
    ids=str,
)
@pytest.mark.parametrize("transformers5", [False, True])
def test_shapes(tmp_path: Path, shape: dict[str, Any], transformers5: bool) -> None:
    written = write_checkpoint(tmp_path, dtype="float32", transformers5=transformers5, **shape)
    check_weights(open_checkpoint(str(tmp_path), "f32", threads=2), written)


@pytest.mark.parametrize("quant", QUANTS)
def test_quants(tmp_path: Path, quant: str) -> None:
    written = write_checkpoint(tmp_path, dtype="float32", tie_word_embeddings=False, hidden_size=72)
    checkpoint = open_checkpoint(tmp_path, quant, threads=2)
    for name, (format_name, rows, cols, data) in checkpoint.matrices.items():
        last_values = f"model.layers.{checkpoint.config.num_hidden_layers - 1}.self_attn.v_proj.weight"
        in_8_bits = name in (EMBEDDING, "lm_head.weight") or ("v_proj" in name and name != last_values)
        wanted = "q8" if quant.startswith("q4") and in_8_bits else quant
        if (name, quant) == ("lm_head.weight", "q4"):
            wanted = "q4x2"
        assert (format_name, rows, cols) == (wanted, *written.tensors[name].shape)
        assert data.ctypes.data % 64 == 0
        if wanted != "q4":  # tests/csrc/rounding/test_quick.py has q4
            np.testing.assert_array_equal(data, packed_directly(wanted, written.tensors[name]))
    sizes = [data.nbytes for *_, data in checkpoint.matrices.values()] + [v.nbytes for v in checkpoint.vectors.values()]
    assert checkpoint.weight_bytes == sum(sizes)
    assert {*QUANTS, "q4s", "q4x2"} == set(_native.FORMATS)


def test_default_quant_is_q4(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    assert open_checkpoint(tmp_path, threads=1).quant == "q4"


def test_bf16_rounds_to_nearest_even(tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path, dtype="float32")
    checkpoint = open_checkpoint(tmp_path, "bf16", threads=1)
    for name, matrix in checkpoint.matrices.items():
        rounded = bfloat16_values(bfloat16_bits(written.tensors[name]))
        np.testing.assert_array_equal(unpacked(matrix), rounded)


def test_packing_in_pieces_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path)
    whole = {quant: open_checkpoint(tmp_path, quant, threads=1).matrices for quant in QUANTS}
    monkeypatch.setattr("qwen3cpu.quantization.pack_matrix._CHUNK_BYTES", 1)  # 8 rows at a time
    for quant in QUANTS:
        for name, (*_, data) in open_checkpoint(tmp_path, quant, threads=2).matrices.items():
            np.testing.assert_array_equal(data, whole[quant][name][3])


def test_runs_in_the_engine(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, attention_bias=True)
    for quant in QUANTS:
        checkpoint = open_checkpoint(tmp_path, quant, threads=1)
        model = _native.Model(checkpoint.config.native(64), checkpoint.matrices, checkpoint.vectors, "f16", 1)
        tokens = np.arange(5, dtype=np.int32)
        (logits,) = model.forward([(model.new_sequence(), tokens, tokens)])
        assert logits.shape == (5, checkpoint.config.vocab_size)
        assert np.isfinite(logits).all()


def test_the_file_need_not_be_aligned(tmp_path: Path) -> None:
    """Older writers did not pad the header, so float32 values may start at any byte."""
    written = write_checkpoint(tmp_path, dtype="float32")
    data = (tmp_path / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length] + b" "
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    check_weights(open_checkpoint(tmp_path, "f32", threads=1), written)


# Texts


def test_texts_are_handed_on(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    checkpoint = open_checkpoint(tmp_path, threads=1)
    assert json.loads(checkpoint.tokenizer_json) == tokenizer_dict()
    assert checkpoint.tokenizer_config["eos_token"] == "<|im_end|>"
    assert checkpoint.chat_template == CHAT_TEMPLATE
    assert checkpoint.generation.temperature == 0.6
    assert checkpoint.source == str(tmp_path)
    assert len(checkpoint.fingerprint) == 64


def test_chat_template_in_the_tokenizer_config(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, template_in_config=True)
    assert open_checkpoint(tmp_path, threads=1).chat_template == CHAT_TEMPLATE
    (tmp_path / "chat_template.jinja").write_text("{{ 'ä' }}", encoding="utf-8")
    assert open_checkpoint(tmp_path, threads=1).chat_template == "{{ 'ä' }}"


def test_named_chat_templates(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, chat_template=None)
    assert open_checkpoint(tmp_path, threads=1).chat_template is None
    templates = [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]
    write_json(tmp_path / "tokenizer_config.json", {"chat_template": templates})
    assert open_checkpoint(tmp_path, threads=1).chat_template == "d"
    write_json(tmp_path / "tokenizer_config.json", {"chat_template": 3})
    with pytest.raises(CheckpointError, match="chat_template: expected a string, found 3"):
        open_checkpoint(tmp_path, threads=1)


def test_optional_files_may_be_missing(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    for name in ("generation_config.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / name).unlink()
    checkpoint = open_checkpoint(tmp_path, threads=1)
    assert checkpoint.generation.temperature is None
    assert checkpoint.tokenizer_config == {}
    assert checkpoint.chat_template is None


# Tensors that should not be there


def add_tensor(folder: Path, name: str, values: NDArray[np.float32]) -> None:
    config = json.loads((folder / "config.json").read_text())
    tensors = {n: ("F32", v) for n, v in random_tensors(config)}
    write_safetensors(folder / "model.safetensors", {**tensors, name: ("F32", values)})


@pytest.mark.parametrize("name", ["score.weight", "model.layers.0.self_attn.rotary_emb.inv_freq", "ä\ud800"])
def test_foreign_tensors_are_ignored(tmp_path: Path, name: str) -> None:
    write_checkpoint(tmp_path)
    add_tensor(tmp_path, name, np.zeros(3, dtype=np.float32))
    assert name not in open_checkpoint(tmp_path, threads=1).vectors


@pytest.mark.parametrize("name", ["model.layers.2.input_layernorm.weight", "model.layers.0.self_attn.q_proj.bias"])
def test_layer_weights_that_the_config_does_not_know_are_refused(tmp_path: Path, name: str) -> None:
    write_checkpoint(tmp_path)
    add_tensor(tmp_path, name, np.zeros(128, dtype=np.float32))
    with pytest.raises(CheckpointError, match=f"expected 2 layers without attention biases .*found tensor {name}"):
        open_checkpoint(tmp_path, threads=1)


def test_a_single_file_goes_before_an_index(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, shards=2, seed=1)
    written = write_checkpoint(tmp_path, seed=2)
    check_weights(open_checkpoint(tmp_path, "f32", threads=1), written)
