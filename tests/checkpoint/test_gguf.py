"""GGUF files: every type of weights is read as documented, and the model equals that of the same folder."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import EXPERTS, qwen3_config, random_tensors, tensor_shapes, write_checkpoint
from oracle import Oracle
from quantized_oracle import unpack

import qwen3cpu
from qwen3cpu.checkpoint.gguf_file import GgufFile
from qwen3cpu.checkpoint.gguf_types import BLOCKS
from qwen3cpu.checkpoint.readers.gguf_blocks import GROUP_SIZES
from qwen3cpu.checkpoint.rope import RopeScaling
from qwen3cpu.checkpoint.tensors import EMBEDDING, KEEPING, QUANTS, format_of_groups
from qwen3cpu.cli.main import main
from qwen3cpu.errors import ArgumentError, CheckpointError
from qwen3cpu.loading import open as loader
from qwen3cpu.loading.open import open_checkpoint

gguf = pytest.importorskip("gguf")
import gguf_models  # noqa: E402  needs the package
from gguf_models import KINDS, WIDE, write_gguf, write_small  # noqa: E402

IDS = np.random.default_rng(0).integers(0, 256, 60).tolist()


def model_of(
    path: Path, kind: Any = "F32", *, change: Any = lambda writer: None, leave_out: Any = (), **overrides: Any
):
    """Write a GGUF file and return (its config.json, the weights that it holds)."""
    config = qwen3_config(torch_dtype="float32", **{**WIDE, **overrides})
    tensors = dict(random_tensors(config))
    return config, write_gguf(path, config, tensors, kind, change=change, leave_out=leave_out)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of few bytes, for damage."""
    return write_small(tmp_path_factory.mktemp("gguf"))


# Weights


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [True, False])
def test_the_model_is_that_of_the_dequantized_checkpoint(tmp_path: Path, kind: str, tied: bool) -> None:
    """The packed bytes, and so the logits, are equal in every format. The slow q4 is tested once."""
    config, held = model_of(tmp_path / "model.gguf", kind, tie_word_embeddings=tied, attention_bias=True)
    keys = {key: value for key, value in config.items() if key != "torch_dtype"}
    write_checkpoint(tmp_path / "model", dtype="float32", tensors=held, **keys)
    keeps = () if kind not in GROUP_SIZES else KEEPING.values()  # see below
    for quant in [each for each in QUANTS if each not in keeps and (tied or each != "q4")]:
        ours = open_checkpoint(tmp_path / "model.gguf", quant, threads=1)
        theirs = open_checkpoint(tmp_path / "model", quant, threads=1)
        assert list(ours.matrices) == list(theirs.matrices)
        for name, (*about, data) in theirs.matrices.items():
            assert about == list(ours.matrices[name][:3])
            np.testing.assert_array_equal(ours.matrices[name][3], data, err_msg=name)
        assert list(ours.vectors) == list(theirs.vectors)
        for name, vector in theirs.vectors.items():
            np.testing.assert_array_equal(ours.vectors[name], vector)
    gguf_logits = qwen3cpu.load(tmp_path / "model.gguf", quant="f32", threads=1).logits(IDS)
    np.testing.assert_array_equal(gguf_logits, qwen3cpu.load(tmp_path / "model", quant="f32", threads=1).logits(IDS))


@pytest.mark.parametrize("kind", KINDS)
def test_experts_are_parts_of_one_tensor(tmp_path: Path, kind: str) -> None:
    """They are packed as those of a folder, where each expert is a tensor. Layers without a router are dense."""
    shape = {**EXPERTS, "num_experts": 5, "moe_intermediate_size": 256, "mlp_only_layers": [1], "num_hidden_layers": 3}
    kinds = {
        name: "F32" if name.endswith("mlp.gate.weight") else kind
        for name, size in tensor_shapes(qwen3_config(**{**WIDE, **shape}))
        if len(size) == 2
    }
    config, held = model_of(tmp_path / "model.gguf", kinds, **shape)
    keys = {key: value for key, value in config.items() if key != "torch_dtype"}
    write_checkpoint(tmp_path / "model", dtype="float32", tensors=held, **keys)
    for quant in ("f32", "q8"):
        ours, theirs = (open_checkpoint(tmp_path / name, quant, threads=1) for name in ("model.gguf", "model"))
        assert ours.config.experts == theirs.config.experts
        for name, (*about, data) in theirs.matrices.items():
            assert about == list(ours.matrices[name][:3])
            np.testing.assert_array_equal(ours.matrices[name][3], data, err_msg=name)
    kept = open_checkpoint(tmp_path / "model.gguf", threads=1)
    assert kept.matrices["model.layers.0.mlp.gate.weight"].format == "f32"
    if kind in GROUP_SIZES:
        assert kept.matrices["model.layers.2.mlp.experts.4.down_proj.weight"].format in KEEPING.values()


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_the_blocks(tmp_path: Path, kind: str) -> None:
    """Against the float64 oracle on the weights that the blocks stand for: the bound of test_parity.py."""
    config, held = model_of(tmp_path / "model.gguf", kind)
    expected = Oracle(config, held).logits(np.array(IDS, np.int32))
    ours = qwen3cpu.load(tmp_path / "model.gguf", quant="f32", kv="f32", threads=1).logits(IDS)
    assert (np.abs(ours - expected).max(1) <= 1e-5 * np.abs(expected).max(1)).all()


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_the_distance_from_the_original_is_the_rounding_of_the_file(tmp_path: Path, kind: str) -> None:
    """A rounded file differs from the original model as much as the oracle predicts for its rounding, and no more."""
    config, held = model_of(tmp_path / "model.gguf", kind)
    original = Oracle(config, dict(random_tensors(config))).logits(np.array(IDS, np.int32))
    rounded = Oracle(config, held).logits(np.array(IDS, np.int32))
    ours = qwen3cpu.load(tmp_path / "model.gguf", quant="f32", kv="f32", threads=1).logits(IDS)
    distance, explained = np.abs(ours - original).max(), np.abs(rounded - original).max()
    assert explained > 0.01
    assert distance == pytest.approx(explained, rel=1e-3)


@pytest.mark.parametrize("kind", GROUP_SIZES)
def test_sixteen_levels_are_kept(tmp_path: Path, kind: str) -> None:
    """The default format keeps each value. Matrices without such groups get 8 bits."""
    value = "model.layers.1.self_attn.v_proj.weight"
    config = qwen3_config(torch_dtype="float32", **WIDE)
    tensors = dict(random_tensors(config))
    kinds = {**dict.fromkeys(tensors, kind), EMBEDDING: "Q6_K", value: "Q5_K"}
    held = write_gguf(tmp_path / "model.gguf", config, tensors, kinds)
    checkpoint = open_checkpoint(tmp_path / "model.gguf", threads=1)
    assert checkpoint.quant == format_of_groups(GROUP_SIZES[kind])
    for name, packed in checkpoint.matrices.items():
        if name in (EMBEDDING, value):
            assert packed.format == "q8"
        else:
            assert packed.format == checkpoint.quant
            np.testing.assert_array_equal(unpack(packed).astype(np.float32), held[name])


@pytest.mark.parametrize("kind", ["Q8_0", "Q5_0", "IQ4_NL", "MXFP4"])
def test_whole_multiples_of_a_half_become_q8_without_loss(tmp_path: Path, kind: str) -> None:
    """In each of these types 32 weights are integers times an f16 scale, and packing finds such a scale."""
    _, held = model_of(tmp_path / "model.gguf", kind)
    checkpoint = open_checkpoint(tmp_path / "model.gguf", threads=1)
    assert checkpoint.quant == "q8"
    for name, packed in checkpoint.matrices.items():
        np.testing.assert_array_equal(unpack(packed), held[name])


@pytest.mark.parametrize(
    ("kind", "quant"),
    [
        ("F16", "q4"),
        ("Q4_0", "q4a32"),
        ("Q4_1", "q4a32"),
        ("Q4_K", "q4a32"),
        ("Q2_0", "q4a64"),
        ("Q1_0", "q4a128"),
        ("IQ4_XS", "q8"),
        ("Q2_K", "q8"),
        ("Q5_K", "q8"),
        ("Q6_K", "q8"),
        ({EMBEDDING: "Q6_K"}, "q4"),
    ],
    ids=str,
)
def test_the_default_keeps_what_the_layers_have(tmp_path: Path, kind: Any, quant: str) -> None:
    model_of(tmp_path / "model.gguf", kind, vocab_size=4096)
    assert open_checkpoint(tmp_path / "model.gguf", threads=1).quant == quant
    assert open_checkpoint(tmp_path / "model.gguf", "bf16", threads=1).quant == "bf16"


def test_groups_among_weights_of_another_type_are_kept(tmp_path: Path) -> None:
    """As in llama.cpp's Q3_K_M, most weights have Q3_K, o_proj and down_proj Q4_K, and a v_proj Q5_K."""
    config = qwen3_config(torch_dtype="float32", **WIDE)
    tensors = dict(random_tensors(config))
    kinds = {name: "Q4_K" if "o_proj" in name or "down_proj" in name else "Q3_K" for name in tensors}
    kinds |= {EMBEDDING: "Q6_K", "model.layers.0.self_attn.v_proj.weight": "Q5_K"}
    held = write_gguf(tmp_path / "model.gguf", config, tensors, kinds)
    checkpoint = open_checkpoint(tmp_path / "model.gguf", threads=1)
    assert checkpoint.quant == "q4a32"
    for name, packed in checkpoint.matrices.items():
        assert packed.format == ("q4a32" if kinds[name] == "Q4_K" else "q8"), name
        if kinds[name] == "Q4_K":
            np.testing.assert_array_equal(unpack(packed).astype(np.float32), held[name])


def test_a_weight_that_is_not_finite(tmp_path: Path) -> None:
    config = qwen3_config(**WIDE)
    tensors = dict(random_tensors(config))
    tensors["model.layers.1.mlp.up_proj.weight"][5, 7] = np.inf
    write_gguf(tmp_path / "model.gguf", config, tensors)
    with pytest.raises(CheckpointError, match=r"model.layers.1.mlp.up_proj.weight"):
        open_checkpoint(tmp_path / "model.gguf", threads=1)
    tensors["model.norm.weight"][3] = np.nan
    write_gguf(tmp_path / "model.gguf", config, tensors | {"model.layers.1.mlp.up_proj.weight": np.ones((512, 256))})
    with pytest.raises(CheckpointError, match=r"output_norm.weight: expected finite numbers, found nan at 3"):
        open_checkpoint(tmp_path / "model.gguf", threads=1)


# Configuration, tokenizer, template


def test_the_texts_are_those_of_the_folder(tmp_path: Path) -> None:
    config, held = model_of(tmp_path / "model.gguf", "F16")
    keys = {key: value for key, value in config.items() if key != "torch_dtype"}
    write_checkpoint(tmp_path / "model", dtype="float32", tensors=held, **keys)
    ours, theirs = (qwen3cpu.load(tmp_path / name, threads=1) for name in ("model.gguf", "model"))
    assert ours.eos_token_ids == theirs.eos_token_ids
    assert ours.context == theirs.context
    assert ours.tokenizer.size == theirs.tokenizer.size
    for text in ("the sky is blue", "<|im_end|> and <think>", "naïve 世界 👋\r\n\n  x's 12", ""):
        for control in (False, True):
            ids = ours.tokenizer.encode(text, control_tokens=control)
            assert ids == theirs.tokenizer.encode(text, control_tokens=control)
            assert ours.tokenizer.decode(ids) == theirs.tokenizer.decode(ids)
    messages = [{"role": "user", "content": "the sky <|im_end|>"}]
    for thinking in (True, False):
        assert ours.render(messages, thinking=thinking) == theirs.render(messages, thinking=thinking)
    options = {"temperature": 0, "max_new_tokens": 20}
    assert ours.generate("the sky", **options).token_ids == theirs.generate("the sky", **options).token_ids


@pytest.mark.parametrize("place", ["normal ones after them", "a gap between them", "normal ones before and after"])
def test_added_tokens_keep_their_ids_wherever_they_stand(tmp_path: Path, place: str) -> None:
    """Ids in a GGUF file are positions in a list. A tokenizer.json numbers its added tokens after the vocabulary."""
    config = qwen3_config()

    def move(writer: Any) -> None:
        texts, types = (writer.kv_data[0][f"tokenizer.ggml.{key}"].value for key in ("tokens", "token_type"))
        added = [id_ for id_, kind in enumerate(types) if kind in (gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED)]
        if place == "a gap between them":
            texts.insert(added[3], texts.pop())
            types.insert(added[3], types.pop())
            return
        texts[-1], types[-1] = "later", gguf.TokenType.NORMAL
        if place == "normal ones before and after":
            texts[-2], types[-2] = "<|late|>", gguf.TokenType.CONTROL

    write_gguf(tmp_path / "m.gguf", config, dict(random_tensors(config)), change=move)
    written = GgufFile(tmp_path / "m.gguf").metadata
    texts, types = written["tokenizer.ggml.tokens"], written["tokenizer.ggml.token_type"]
    tokenizer = qwen3cpu.load(tmp_path / "m.gguf", quant="f32", threads=1).tokenizer
    for id_, (text, kind) in enumerate(zip(texts, types, strict=True)):
        if kind != gguf.TokenType.UNUSED:
            assert tokenizer.id_of(text) == id_
        if kind == gguf.TokenType.CONTROL:
            assert tokenizer.encode(f"a{text}b", control_tokens=True)[1] == id_
            assert tokenizer.decode([id_], skip_special_tokens=False) == text


@pytest.mark.skipif("QWEN3CPU_QWEN3_TOKENIZER" not in os.environ, reason="QWEN3CPU_QWEN3_TOKENIZER names no folder")
def test_the_released_tokenizer(tmp_path: Path) -> None:
    folder = Path(os.environ["QWEN3CPU_QWEN3_TOKENIZER"])
    released = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    config = qwen3_config(num_hidden_layers=1, hidden_size=32, vocab_size=151936)

    def replace_tokenizer(writer: Any) -> None:
        for key in [key for key in writer.kv_data[0] if key.startswith("tokenizer.")]:
            del writer.kv_data[0][key]
        gguf_models.add_tokenizer(writer, 151936, released)

    write_gguf(tmp_path / "model.gguf", config, dict(random_tensors(config)), "Q8_0", change=replace_tokenizer)
    ours = qwen3cpu.load(tmp_path / "model.gguf", threads=1).tokenizer
    theirs = pytest.importorskip("tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert ours.size == 151669
    assert ours.control_tokens == {token["content"]: token["id"] for token in released["added_tokens"]}
    for text in (Path(__file__).read_text(encoding="utf-8"), "Grüße aus Zürich, 世界 👋🏽 é\r\n\t ١٢٣ it's I'LL"):
        assert ours.encode(text, control_tokens=True) == theirs.encode(text, add_special_tokens=False).ids


def test_sampling_and_rope_scaling_from_the_metadata(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def change(writer: Any) -> None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(4.0)
        writer.add_rope_scaling_orig_ctx_len(256)
        writer.add_float32("general.sampling.temp", 0.6)
        writer.add_float32("general.sampling.top_p", 0.95)
        writer.add_float32("general.sampling.min_p", 0.0)
        writer.add_float32("general.sampling.penalty_repeat", 1.05)
        writer.add_int32("general.sampling.top_k", 7)
        writer.add_float32("general.sampling.xtc_threshold", 0.1)
        writer.add_float32("general.sampling.xtc_probability", 0.0)
        writer.add_int32("general.sampling.mirostat", 2)

    model_of(tmp_path / "model.gguf", change=change)
    with caplog.at_level(logging.WARNING, "qwen3cpu"):
        model = qwen3cpu.load(tmp_path / "model.gguf", threads=1)
    assert [record.getMessage().split(": ", 1)[1] for record in caplog.records] == [
        "ignoring general.sampling.mirostat = 2, which is not supported"
    ]
    assert model.config.rope_scaling == RopeScaling(4.0, 256)
    assert model.context == 1024
    found = model.generation_defaults  # the intended decimal numbers, not their nearest float32
    assert (found.temperature, found.top_k, found.top_p, found.min_p) == (0.6, 7, 0.95, 0.0)
    assert found.repetition_penalty == 1.05


def test_metadata_as_the_package_reads_it(small: Path) -> None:
    theirs, ours = gguf.GGUFReader(small), GgufFile(small)
    fields = {name: field for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert set(ours.metadata) == set(fields)
    for name, field in fields.items():
        assert ours.metadata[name] == field.contents(), name
    assert {each.name: (each.tensor_type.name, each.data_offset) for each in theirs.tensors} == {
        name: (tensor.type, tensor.start) for name, tensor in ours.tensors.items()
    }
    for number, (name, weights, size) in BLOCKS.items():
        if name == "Q2_0":
            continue  # the package does not know it yet
        kind = gguf.GGMLQuantizationType(number)
        assert (kind.name, *gguf.GGML_QUANT_SIZES[kind]) == (name, weights, size)


# The cache and the commands


def test_is_repacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN3CPU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loader, "_CACHED_FROM", 0)
    model_of(tmp_path / "model.gguf", "Q4_K")
    first = qwen3cpu.load(tmp_path / "model.gguf")
    assert first._checkpoint.packed_path is not None
    monkeypatch.setitem(sys.modules, "gguf", None)  # makes it impossible to import
    second = qwen3cpu.load(tmp_path / "model.gguf")
    assert second._checkpoint.packed_path == first._checkpoint.packed_path
    np.testing.assert_array_equal(second.logits(IDS), first.logits(IDS))
    assert second.tokenizer.encode("the sky <think>") == first.tokenizer.encode("the sky <think>")
    assert second.render([{"role": "user", "content": "x"}]) == first.render([{"role": "user", "content": "x"}])
    model_of(tmp_path / "model.gguf", "F16")
    assert qwen3cpu.load(tmp_path / "model.gguf")._checkpoint.packed_path != first._checkpoint.packed_path


def test_the_package_is_named_when_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model_of(tmp_path / "model.gguf", "Q4_0")
    model_of(tmp_path / "plain.gguf", "BF16")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ArgumentError, match=r"pip install 'qwen3cpu\[gguf\]'"):
        qwen3cpu.load(tmp_path / "model.gguf")
    assert qwen3cpu.load(tmp_path / "plain.gguf").quant == "q4"


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model_of(tmp_path / "model.gguf", "Q8_0")
    assert main(["plan", str(tmp_path / "model.gguf"), "--quant", "q8", "-c", "64", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["plans"]
    model = qwen3cpu.load(tmp_path / "model.gguf")
    assert row["weight_bytes"] == model.weight_bytes
    assert main(["quantize", str(tmp_path / "model.gguf"), str(tmp_path / "model.qwen3"), "--quant", "q8"]) == 0
    assert main(["verify", str(tmp_path / "model.qwen3"), "--source", str(tmp_path)]) == 0
    packed = qwen3cpu.load(tmp_path / "model.qwen3")
    np.testing.assert_array_equal(packed.logits(IDS), model.logits(IDS))
