"""Every type of weights in GGUF files: the values equal those of the package `gguf`, and groups keep them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import qwen3_config, random_tensors, write_checkpoint

import qwen3cpu
from qwen3cpu.checkpoint.gguf_types import BLOCKS, OTHER_TYPES
from qwen3cpu.checkpoint.readers.gguf_blocks import GROUP_SIZES, dequantize, read_groups
from qwen3cpu.checkpoint.readers.gguf_weights import open_gguf
from qwen3cpu.checkpoint.weight_source import GroupSource, original_matrix
from qwen3cpu.errors import ArgumentError, CheckpointError

gguf = pytest.importorskip("gguf")
from gguf_blocks import NUMBERS, PLAIN, SIZES, random_type_blocks, values_of  # noqa: E402  needs the package
from gguf_models import WIDE, write_gguf  # noqa: E402

EMBEDDING = "model.embed_tokens.weight"


def test_the_list_is_whole() -> None:
    """Every type of the package is supported, or listed as a type that weights never have."""
    for kind in gguf.GGMLQuantizationType:
        assert kind.value in BLOCKS or kind.value in OTHER_TYPES, kind
    assert {name: (weights, size) for name, weights, size in BLOCKS.values() if name not in PLAIN} == SIZES
    assert {name: number for number, (name, _, _) in BLOCKS.items() if name not in PLAIN} == NUMBERS


@pytest.mark.parametrize("kind", SIZES)
def test_values(kind: str) -> None:
    rows = random_type_blocks(kind, 5, 512, np.random.default_rng(0))
    expected = values_of(kind, rows)
    assert np.isfinite(expected).all()
    assert len(np.unique(expected)) > 9
    np.testing.assert_array_equal(dequantize(rows, kind, Path("model.gguf")), expected)


@pytest.mark.parametrize("kind", GROUP_SIZES)
def test_groups_are_the_values_in_sixteen_levels(kind: str) -> None:
    rows = random_type_blocks(kind, 5, 512, np.random.default_rng(0))
    numbers, scales, minimums = read_groups(rows, kind)
    size = GROUP_SIZES[kind]
    assert numbers.dtype == np.uint8
    assert numbers.max() <= 15
    assert (numbers.shape, scales.shape, minimums.shape) == ((5, 512), (5, 512 // size), (5, 512 // size))
    values = np.repeat(scales, size, 1) * numbers + np.repeat(minimums, size, 1)
    np.testing.assert_array_equal(values, values_of(kind, rows))


def mixed(path: Path, change: Any = lambda writer: None) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
    """Write a file with another type for each matrix; return (config, matrix -> type, the weights in the file)."""
    config = qwen3_config(torch_dtype="float32", num_hidden_layers=4, **WIDE)
    tensors = dict(random_tensors(config))
    matrices = [name for name, tensor in tensors.items() if tensor.ndim == 2]
    kinds = [*SIZES, *PLAIN]
    assert len(matrices) >= len(kinds)
    recipe = {name: kinds[index % len(kinds)] for index, name in enumerate(matrices)}
    return config, recipe, write_gguf(path, config, tensors, recipe, change=change)


def test_a_file_of_all_types(tmp_path: Path) -> None:
    """Like the mixtures of unsloth, with more types."""
    config, recipe, held = mixed(tmp_path / "model.gguf")
    weights = open_gguf(tmp_path / "model.gguf").weights
    for name in weights.matrices:
        np.testing.assert_array_equal(original_matrix(weights, name), held[name], err_msg=recipe[name])
        np.testing.assert_array_equal(original_matrix(weights, name, 3, 9), held[name][3:9], err_msg=recipe[name])
    keys = {key: value for key, value in config.items() if key != "torch_dtype"}
    write_checkpoint(tmp_path / "model", dtype="float32", tensors=held, **keys)
    logits = qwen3cpu.load(tmp_path / "model.gguf", quant="f32", threads=1).logits([1, 2, 3, 4])
    np.testing.assert_array_equal(
        logits, qwen3cpu.load(tmp_path / "model", quant="f32", threads=1).logits([1, 2, 3, 4])
    )


def test_groups_of_a_file(tmp_path: Path) -> None:
    _, recipe, held = mixed(tmp_path / "model.gguf")
    weights = open_gguf(tmp_path / "model.gguf").weights
    assert isinstance(weights, GroupSource)
    for name, kind in recipe.items():
        size = weights.group_size(name)
        assert size == GROUP_SIZES.get(kind)
        if size is not None:
            numbers, scales, minimums = weights.groups(name, 2, 9)
            values = np.repeat(scales, size, 1) * numbers + np.repeat(minimums, size, 1)
            np.testing.assert_array_equal(values, held[name][2:9], err_msg=kind)


def test_a_scale_of_a_whole_matrix(tmp_path: Path) -> None:
    """As in NVFP4. llama.cpp multiplies the product of the matrix."""

    def change(writer: Any) -> None:
        for name, scale in {"token_embd": 0.5, "blk.0.attn_q": 3.0}.items():
            writer.add_tensor(f"{name}.scale", np.array([scale], np.float32))
        writer.add_tensor("blk.0.attn_q.input_scale", np.array([7.0], np.float32))

    config = qwen3_config(torch_dtype="float32", **WIDE)
    query = "model.layers.0.self_attn.q_proj.weight"
    for kinds in ({query: "NVFP4"}, {query: "Q4_K", EMBEDDING: "F16"}, {query: "BF16"}):
        held = write_gguf(tmp_path / "model.gguf", config, dict(random_tensors(config)), kinds, change=change)
        weights = open_gguf(tmp_path / "model.gguf").weights
        np.testing.assert_array_equal(original_matrix(weights, query), held[query] * np.float32(3))
        np.testing.assert_array_equal(original_matrix(weights, EMBEDDING), held[EMBEDDING] * np.float32(0.5))
        other = "model.layers.0.self_attn.k_proj.weight"
        np.testing.assert_array_equal(original_matrix(weights, other), held[other])
        if kinds[query] == "Q4_K":
            numbers, scales, minimums = weights.groups(query, 0, 8)
            values = np.repeat(scales, 32, 1) * numbers + np.repeat(minimums, 32, 1)
            np.testing.assert_allclose(values, held[query][:8] * 3, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("scale", "says"),
    [
        (np.array([1.0, 2.0], np.float32), r"blk\.0\.attn_q\.scale: expected 1 numbers in F32, found \[2\] in F32"),
        (np.array([1.0], np.float16), r"blk\.0\.attn_q\.scale: expected 1 numbers in F32, found \[1\] in F16"),
        (np.array([np.nan], np.float32), r"blk\.0\.attn_q\.scale: expected finite numbers, found nan"),
    ],
)
def test_a_scale_that_makes_no_sense(tmp_path: Path, scale: Any, says: str) -> None:
    config = qwen3_config(num_hidden_layers=1)
    path = tmp_path / "model.gguf"
    write_gguf(path, config, dict(random_tensors(config)), change=lambda w: w.add_tensor("blk.0.attn_q.scale", scale))
    with pytest.raises(CheckpointError, match=says):
        open_gguf(path)


def test_a_scale_of_a_group_that_is_not_finite(tmp_path: Path) -> None:
    config = qwen3_config(num_hidden_layers=1)
    path = tmp_path / "model.gguf"
    write_gguf(path, config, dict(random_tensors(config)), "Q4_0")
    data = bytearray(path.read_bytes())
    opened = open_gguf(path)
    name = "model.layers.0.self_attn.q_proj.weight"
    start = bytes(data).index(opened.weights.stored_rows(name, 0, 1).tobytes())
    data[start : start + 2] = np.float16(np.inf).tobytes()
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"blk\.0\.attn_q\.weight: expected finite numbers, found"):
        open_gguf(path).weights.groups(name, 0, 1)


def test_the_package_is_missing_or_old(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_type_blocks("MXFP4", 1, 256, np.random.default_rng(0))
    monkeypatch.setattr(gguf, "GGMLQuantizationType", {})
    with pytest.raises(ArgumentError, match=r"MXFP4 are not known.*pip install --upgrade gguf"):
        dequantize(rows, "MXFP4", Path("model.gguf"))
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ArgumentError, match=r"model\.gguf.*MXFP4.*pip install 'qwen3cpu\[gguf\]'"):
        dequantize(rows, "MXFP4", Path("model.gguf"))
