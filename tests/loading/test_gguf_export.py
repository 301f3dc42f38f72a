"""Export to GGUF: the package reads it, our own reader finds the same model, and no partial file stays."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_texts import control_ids
from checkpoints import EXPERTS, write_checkpoint
from quantized_oracle import unpack
from retrieval_models import write_embedding_model, write_scoring_model

import qwen3cpu
from qwen3cpu.checkpoint.gguf_file import GgufFile
from qwen3cpu.checkpoint.readers.gguf_texts import read_gguf_texts
from qwen3cpu.checkpoint.readers.gguf_weights import open_gguf
from qwen3cpu.checkpoint.tensors import EMBEDDING
from qwen3cpu.checkpoint.weight_source import original_matrix
from qwen3cpu.cli.main import main
from qwen3cpu.errors import ArgumentError, CheckpointError
from qwen3cpu.loading import gguf_export
from qwen3cpu.loading.gguf_export import GGUF_TYPES, export_gguf
from qwen3cpu.packed.packed_file import PackedFile

gguf = pytest.importorskip("gguf")

IDS = list(range(3, 40))
SHAPE = {"hidden_size": 96, "intermediate_size": 160, "head_dim": 32}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
VALUE = "model.layers.{}.self_attn.v_proj.weight"


def logits(path: Path, quant: str = "f32") -> Any:
    return qwen3cpu.load(path, quant=quant, threads=1).logits(IDS)


@pytest.mark.parametrize("tied", [True, False])
def test_bf16_is_the_model_of_the_folder(tmp_path: Path, tied: bool) -> None:
    write_checkpoint(tmp_path / "model", tie_word_embeddings=tied, **SHAPE)
    size = export_gguf(tmp_path / "model", tmp_path / "model.gguf")
    assert size == (tmp_path / "model.gguf").stat().st_size
    for quant in ("f32", "bf16", "q8"):
        np.testing.assert_array_equal(logits(tmp_path / "model.gguf", quant), logits(tmp_path / "model", quant))
    tensors = GgufFile(tmp_path / "model.gguf").tensors
    assert ("output.weight" in tensors) is not tied
    assert {tensor.type for tensor in tensors.values() if len(tensor.shape) == 2} == {"BF16"}
    assert {tensor.type for tensor in tensors.values() if len(tensor.shape) == 1} == {"F32"}


@pytest.mark.parametrize("source", ["model", "model.qwen3", "model.gguf"])
def test_a_model_with_experts(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also from a packed file and a GGUF file. The experts of a layer are one tensor, written in pieces."""
    written = write_checkpoint(tmp_path / "model", rope_scaling=YARN, **EXPERTS, **SHAPE)
    qwen3cpu.pack(tmp_path / "model", tmp_path / "model.qwen3", "bf16")
    export_gguf(tmp_path / "model", tmp_path / "model.gguf")
    monkeypatch.setattr(gguf_export, "_CHUNK_BYTES", 10_000)
    export_gguf(tmp_path / source, tmp_path / "again.gguf")
    for quant in ("f32", "q8", "q4"):
        np.testing.assert_array_equal(logits(tmp_path / "again.gguf", quant), logits(tmp_path / "model", quant))
    reader = gguf.GGUFReader(tmp_path / "again.gguf")
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "qwen3moe"
    assert [fields[f"qwen3moe.expert_{key}"] for key in ("count", "used_count", "feed_forward_length")] == [8, 2, 40]
    assert fields["qwen3moe.rope.scaling.factor"] == YARN["factor"]
    assert not [name for name in fields if name.startswith("qwen3.")]
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    for layer in range(2):
        assert tensors[f"blk.{layer}.ffn_gate_inp.weight"].tensor_type.name == "F32"
        for part in ("gate", "up", "down"):
            stacked = [written.tensors[f"model.layers.{layer}.mlp.experts.{n}.{part}_proj.weight"] for n in range(8)]
            tensor = tensors[f"blk.{layer}.ffn_{part}_exps.weight"]
            assert tensor.tensor_type.name == "BF16"
            found = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            np.testing.assert_array_equal(found, np.stack(stacked))


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_experts_are_rounded_as_the_package_rounds(tmp_path: Path, kind: str) -> None:
    shape = {**SHAPE, "moe_intermediate_size": 64}
    written = write_checkpoint(tmp_path / "model", **{**EXPERTS, **shape})
    export_gguf(tmp_path / "model", tmp_path / "model.gguf", kind)
    weights = open_gguf(tmp_path / "model.gguf").weights
    own = gguf.GGMLQuantizationType[kind]
    for name in weights.matrices:
        if ".experts." in name:
            assert weights.stored_type(name) == kind
            expected = gguf.quants.dequantize(gguf.quants.quantize(written.tensors[name], own), own)
            np.testing.assert_array_equal(original_matrix(weights, name), expected)


def test_experts_that_llama_cpp_does_not_have(tmp_path: Path) -> None:
    for changes, says in (
        ({"mlp_only_layers": [1]}, "found none in layer 1"),
        ({"norm_topk_prob": False}, "norm_topk"),
    ):
        write_checkpoint(tmp_path / "model", **{**EXPERTS, **changes})
        with pytest.raises(CheckpointError, match=says):
            export_gguf(tmp_path / "model", tmp_path / "model.gguf")


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_quantized_types_are_rounded_as_the_package_rounds(tmp_path: Path, kind: str) -> None:
    written = write_checkpoint(tmp_path / "model", num_hidden_layers=2, **SHAPE)
    export_gguf(tmp_path / "model", tmp_path / "model.gguf", kind)
    weights = open_gguf(tmp_path / "model.gguf").weights
    for name in weights.matrices:
        wide = kind == "Q8_0" or name in (EMBEDDING, VALUE.format(0))
        own = gguf.GGMLQuantizationType["Q8_0" if wide else "Q4_0"]
        assert weights.stored_type(name) == own.name
        expected = gguf.quants.dequantize(gguf.quants.quantize(written.tensors[name], own), own)
        np.testing.assert_array_equal(original_matrix(weights, name), expected)


def test_columns_that_are_no_whole_blocks_stay_in_16_bits(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model", **{**SHAPE, "intermediate_size": 100})
    export_gguf(tmp_path / "model", tmp_path / "model.gguf", "Q4_0")
    tensors = GgufFile(tmp_path / "model.gguf").tensors
    assert tensors["blk.0.ffn_down.weight"].type == "BF16"
    assert tensors["blk.0.ffn_up.weight"].type == "Q4_0"


@pytest.mark.parametrize("kind", GGUF_TYPES)
def test_the_package_reads_it(tmp_path: Path, kind: str) -> None:
    write_checkpoint(tmp_path / "model", **SHAPE)
    export_gguf(tmp_path / "model", tmp_path / "model.gguf", kind)
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "qwen3"
    assert fields["general.name"] == "model"
    assert gguf.LlamaFileType(fields["general.file_type"]).name == f"MOSTLY_{kind}"
    assert fields["tokenizer.ggml.pre"] == "qwen2"
    assert fields["tokenizer.ggml.add_bos_token"] is False
    assert fields["tokenizer.ggml.eos_token_id"] == control_ids()["<|im_end|>"]
    assert len(set(fields["tokenizer.ggml.tokens"])) == len(fields["tokenizer.ggml.tokens"])
    types = dict(zip(fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"], strict=True))
    assert [types[token] for token in ("the", "<|im_end|>", "<|fim_pad|>", "<think>")] == [1, 3, 3, 4]
    ours = GgufFile(tmp_path / "model.gguf").tensors
    for tensor in reader.tensors:
        assert (tensor.tensor_type.name, tensor.data_offset) == (ours[tensor.name].type, ours[tensor.name].start)


def test_texts_come_along(tmp_path: Path) -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128, "attention_factor": 1.5}
    defaults = {"temperature": 0.7, "top_k": 20, "top_p": 0.8, "min_p": 0.05, "repetition_penalty": 1.1}
    written = write_checkpoint(tmp_path / "model", rope_scaling=scaling, generation_config=defaults)
    export_gguf(tmp_path / "model", tmp_path / "model.gguf")
    folder, file = (qwen3cpu.load(tmp_path / name, quant="q8", threads=1) for name in ("model", "model.gguf"))
    text = "Hello <think>the sky</think> is\n\n 42<|im_end|> \u00e9\u4e16"
    for control in (True, False):
        assert file.tokenizer.encode(text, control_tokens=control) == folder.tokenizer.encode(
            text, control_tokens=control
        )
    assert file.config.rope_scale() == pytest.approx(folder.config.rope_scale(), rel=1e-6)
    np.testing.assert_array_equal(file.config.inv_freq(), folder.config.inv_freq())
    found = read_gguf_texts(GgufFile(tmp_path / "model.gguf"))
    assert found.chat_template == (written.folder / "chat_template.jinja").read_text()
    for key, value in defaults.items():
        assert getattr(found.generation, key) == value


def test_an_embedding_model(tmp_path: Path) -> None:
    write_embedding_model(tmp_path / "model", dtype="bfloat16")
    export_gguf(tmp_path / "model", tmp_path / "vectors.gguf")
    metadata = GgufFile(tmp_path / "vectors.gguf").metadata
    assert metadata["qwen3.pooling_type"] == 3
    assert metadata["tokenizer.ggml.add_eos_token"] is True
    assert metadata["tokenizer.ggml.eos_token_id"] == control_ids()["<|endoftext|>"]
    folder, file = (qwen3cpu.load(tmp_path / name, quant="f32", threads=1) for name in ("model", "vectors.gguf"))
    np.testing.assert_array_equal(file.embed(["the sky is blue"]), folder.embed(["the sky is blue"]))


# From other files


def test_a_gguf_file_keeps_its_blocks(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model", **SHAPE)
    for kind in GGUF_TYPES:
        first, second = tmp_path / f"{kind}.gguf", tmp_path / f"{kind}-again.gguf"
        export_gguf(tmp_path / "model", first, kind)
        export_gguf(first, second, kind)
        one, two = open_gguf(first).weights, open_gguf(second).weights
        for name, (rows, _) in one.matrices.items():
            np.testing.assert_array_equal(one.stored_rows(name, 0, rows), two.stored_rows(name, 0, rows))
    export_gguf(tmp_path / "Q8_0.gguf", tmp_path / "other.gguf", "BF16")
    assert open_gguf(tmp_path / "other.gguf").weights.stored_type(EMBEDDING) == "BF16"


@pytest.mark.parametrize("quant", ["f32", "bf16"])
def test_a_packed_file_of_unrounded_weights(tmp_path: Path, quant: str) -> None:
    write_checkpoint(tmp_path / "model", **SHAPE)
    qwen3cpu.pack(tmp_path / "model", tmp_path / "model.qwen3", quant)
    export_gguf(tmp_path / "model.qwen3", tmp_path / "model.gguf", "BF16")
    np.testing.assert_array_equal(logits(tmp_path / "model.gguf"), logits(tmp_path / "model"))


@pytest.mark.parametrize("hidden", [96, 128, 160])
def test_a_packed_file_in_q8_keeps_its_numbers(tmp_path: Path, hidden: int) -> None:
    """Also when the last block has fewer than four groups, and when the last tile is not full."""
    write_checkpoint(tmp_path / "model", vocab_size=389, **{**SHAPE, "hidden_size": hidden})
    qwen3cpu.pack(tmp_path / "model", tmp_path / "model.qwen3", "q8")
    export_gguf(tmp_path / "model.qwen3", tmp_path / "model.gguf", "Q8_0")
    weights = open_gguf(tmp_path / "model.gguf").weights
    for name, packed in PackedFile(tmp_path / "model.qwen3").matrices.items():
        np.testing.assert_array_equal(original_matrix(weights, name), unpack(packed).astype(np.float32))


def test_rows_in_several_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path / "model", **SHAPE)
    qwen3cpu.pack(tmp_path / "model", tmp_path / "model.qwen3", "q8")
    for source in ("model", "model.qwen3"):
        export_gguf(tmp_path / source, tmp_path / "whole.gguf", "Q8_0")
        monkeypatch.setattr(gguf_export, "_CHUNK_BYTES", 1)
        export_gguf(tmp_path / source, tmp_path / "pieces.gguf", "Q8_0")
        monkeypatch.undo()
        assert (tmp_path / "whole.gguf").read_bytes() == (tmp_path / "pieces.gguf").read_bytes()


# What is refused


def test_a_packed_file_in_four_bits(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model")
    qwen3cpu.pack(tmp_path / "model", tmp_path / "model.qwen3", "q4")
    with pytest.raises(
        CheckpointError, match=r"expected weights in f32, bf16 or q8, found q4x2 in model\.embed_tokens"
    ):
        export_gguf(tmp_path / "model.qwen3", tmp_path / "model.gguf")


def test_models_that_llama_cpp_does_not_have(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "biased", attention_bias=True)
    write_scoring_model(tmp_path / "reranker", (1, 2))
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128, "truncate": False}
    write_checkpoint(tmp_path / "untruncated", rope_scaling=scaling)
    for name, says in (("biased", "attention_bias"), ("reranker", "a reranker"), ("untruncated", "truncate")):
        with pytest.raises(CheckpointError, match=says):
            export_gguf(tmp_path / name, tmp_path / "model.gguf")
    assert not list(tmp_path.glob("model.gguf*"))


def test_a_tokenizer_that_llama_cpp_does_not_know(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model")
    tokenizer = tmp_path / "model" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("(?i:'s|", "(?i:'zz|"))
    with pytest.raises(
        CheckpointError, match=r"tokenizer\.json: pre_tokenizer: expected one that llama\.cpp has a name"
    ):
        export_gguf(tmp_path / "model", tmp_path / "model.gguf")


def test_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path / "model")
    with pytest.raises(ArgumentError, match="type: expected one of BF16, Q8_0, Q4_0, found 'Q6_K'"):
        export_gguf(tmp_path / "model", tmp_path / "model.gguf", "Q6_K")
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path / "notes.txt", tmp_path / "model"):
        with pytest.raises(ArgumentError, match="expected no file or a GGUF file to replace"):
            export_gguf(tmp_path / "model", path)
    with pytest.raises(ArgumentError, match="cannot be written"):
        export_gguf(tmp_path / "model", tmp_path / "nowhere" / "model.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ArgumentError, match=r"pip install 'qwen3cpu\[gguf\]'"):
        export_gguf(tmp_path / "model", tmp_path / "model.gguf")


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path / "model")
    export_gguf(tmp_path / "model", tmp_path / "model.gguf")
    before = (tmp_path / "model.gguf").read_bytes()
    last = "model.layers.1.mlp.down_proj.weight"
    written.tensors[last][5, 7] = np.inf
    write_checkpoint(tmp_path / "broken", tensors=written.tensors)
    with pytest.raises(CheckpointError, match=rf"{last}: expected finite numbers"):
        export_gguf(tmp_path / "broken", tmp_path / "model.gguf", "Q8_0")
    assert (tmp_path / "model.gguf").read_bytes() == before
    assert [path.name for path in tmp_path.glob("*.gguf*")] == ["model.gguf"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(tmp_path / "model", **SHAPE)
    out = tmp_path / "model.gguf"
    assert main(["export", str(tmp_path / "model"), str(out), "--type", "Q8_0"]) == 0
    assert capsys.readouterr().out == f"{out}: {out.stat().st_size / 1e6:.0f} MB as Q8_0\n"
    assert main(["export", str(tmp_path / "model"), str(tmp_path / "model")]) == 2
    assert "expected no file or a GGUF file" in capsys.readouterr().err
