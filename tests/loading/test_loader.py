"""Model folders: every dtype and layout of files gives the right weights and texts, every defect its own error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import (
    CHAT_TEMPLATE,
    Written,
    bfloat16_bits,
    bfloat16_values,
    qwen3_config,
    random_tensors,
    tensor_shapes,
    tokenizer_dict,
    write_checkpoint,
    write_json,
    write_safetensors,
)
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.errors import ArgumentError, CheckpointError, ConfigError, Qwen3CpuError
from qwen3cpu.loading.loaded_model import Checkpoint
from qwen3cpu.loading.open import QUANTS, open_checkpoint

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
    """What the native packer makes of a float32 matrix in one piece."""
    rows, cols = values.shape
    room = np.zeros(_native.matrix_bytes(format_name, rows, cols) + 64, dtype=np.uint8)
    start = -room.ctypes.data % 64
    out = room[start : start + room.size - 64]
    _native.pack_into(format_name, np.ascontiguousarray(values), out, rows, 0, 1)
    return out


def check_weights(checkpoint: Checkpoint, written: Written) -> None:
    """Every tensor of the file is in the checkpoint, with the same values, and nothing else is."""
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
        wanted = "q8" if quant == "q4" and in_8_bits else quant
        assert (format_name, rows, cols) == (wanted, *written.tensors[name].shape)
        assert data.ctypes.data % 64 == 0
        if wanted != "q4":  # tests/csrc/rounding/test_quick.py has q4
            np.testing.assert_array_equal(data, packed_directly(wanted, written.tensors[name]))
    sizes = [data.nbytes for *_, data in checkpoint.matrices.values()] + [v.nbytes for v in checkpoint.vectors.values()]
    assert checkpoint.weight_bytes == sum(sizes)
    assert list(QUANTS) == _native.FORMATS


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
    """Older writers did not pad the header, so that float32 values may start at any byte."""
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


def test_a_head_beside_a_tied_embedding_is_left_alone(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    add_tensor(tmp_path, "lm_head.weight", np.zeros((3, 3), dtype=np.float32))
    assert "lm_head.weight" not in open_checkpoint(tmp_path, "f32", threads=1).matrices


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


# Defects


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


def test_untied_without_a_head(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    write_json(tmp_path / "config.json", qwen3_config(tie_word_embeddings=False))
    with pytest.raises(CheckpointError, match=r"expected tensor lm_head\.weight of shape"):
        open_checkpoint(tmp_path, threads=1)


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
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read: Is a directory"):
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


def test_a_single_file_goes_before_an_index(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, shards=2, seed=1)
    written = write_checkpoint(tmp_path, seed=2)
    check_weights(open_checkpoint(tmp_path, "f32", threads=1), written)


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
        # A flip in the metadata changes nothing that counts; nearly all others must be noticed.
        try:
            open_checkpoint(tmp_path, threads=1)
        except CheckpointError:
            refused += 1
    assert refused > 250


# What is no model at all


@pytest.mark.parametrize(
    "source",
    ["./absent", "/absent/model", "a/b/c", "absent", "", "~absent/x y", "x\0y", "-a/b", "a--b/c", "a/b..c", "x" * 5000],
)
def test_neither_a_path_nor_an_id(source: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(source, threads=1)
    assert "existing model folder, packed file or GGUF file" in str(caught.value)
    assert "hub id of the form owner/name" in str(caught.value)


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
    with pytest.raises(ArgumentError, match=f"quant: expected one of f32, bf16, q8, q4, found {quant!r}"):
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
