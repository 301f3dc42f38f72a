"""Wrong or unknown settings and tensors of quantised folders are refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_folders import write_made

from qwen3cpu.errors import CheckpointError, ConfigError
from qwen3cpu.loading.open import open_checkpoint

K = "model.layers.0.self_attn.k_proj"
DOWN = "model.layers.0.mlp.down_proj"
Change = Callable[[dict[str, Any]], Any]


def option(**values: Any) -> Change:
    """Changes options; `...` removes one."""

    def change(config: dict[str, Any]) -> None:
        for key in ("quantization_config", "quantization"):
            if key in config:
                config[key].update(values)
                config[key] = {name: value for name, value in config[key].items() if value is not ...}

    return change


def scheme(**values: Any) -> Change:
    """Changes the weights of the first scheme of compressed-tensors."""
    return lambda config: config["quantization_config"]["config_groups"]["group_0"]["weights"].update(values)


def put(name: str, dtype: str, array: Any) -> Change:
    return lambda tensors: tensors.update({name: (dtype, np.asarray(array))})


def without(name: str) -> Change:
    return lambda tensors: tensors.pop(name)


def value(name: str, place: Any, number: Any) -> Change:
    """Changes one number of a tensor, given by its bits."""

    def change(tensors: dict[str, Any]) -> None:
        tensors[name][1][place] = number

    return change


def state(**values: Any) -> Change:
    """Changes the state of a matrix of bitsandbytes; `...` removes a key."""

    def change(tensors: dict[str, Any]) -> None:
        (name,) = (each for each in tensors if each.startswith(f"{K}.weight.quant_state"))
        found = {**json.loads(tensors[name][1].tobytes()), **values}
        kept = json.dumps({key: value for key, value in found.items() if value is not ...}).encode()
        tensors[name] = ("U8", np.frombuffer(kept, np.uint8))

    return change


OPTIONS: list[tuple[str, Change, str]] = [
    ("awq_autoawq", option(version="gemv"), r"version: expected one of 'gemm', 'GEMM', found 'gemv'"),
    ("awq_gptqmodel", option(checkpoint_format="gemv_fast"), "checkpoint_format: .* found 'gemv_fast'"),
    ("awq_autoawq", option(bits=8), r"bits: expected one of 4, found 8"),
    ("awq_autoawq", option(bits=True), r"bits: expected one of 4, found true"),
    ("awq_autoawq", option(group_size="many"), "group_size: expected an integer from 1 to"),
    ("awq_autoawq", option(modules_to_not_convert="lm_head"), "modules_to_not_convert: expected a list of names"),
    ("awq_autoawq", option(rotation="hadamard"), "rotation: expected no such option: .* found 'hadamard'"),
    ("awq_gptqmodel", option(pack_dtype="int64"), "pack_dtype: expected one of 'int32', found 'int64'"),
    ("gptq_int4_sym_v1", option(bits=5), r"bits: expected one of 2, 3, 4, 8, found 5"),
    ("gptq_int4_sym_v1", option(bits=...), r"bits: expected one of 2, 3, 4, 8, found no such key"),
    ("gptq_int4_sym_v1", option(format="gptq_p"), "format: expected one of 'gptq', 'gptq_v2', null, found 'gptq_p'"),
    ("gptq_int4_sym_v1", option(format="gptq_v2"), "format: expected the same as checkpoint_format"),
    ("gptq_int4_sym_v1", option(method="qqq"), "method: expected one of 'gptq', null, found 'qqq'"),
    ("gptq_int4_sym_v1", option(adapter={"name": "lora"}), "adapter: expected no such option"),
    ("gptq_autogptq", option(is_marlin_format=True), "is_marlin_format: expected no such option"),
    ("gptq_int4_sym_v1", option(dynamic={"+:.*": {"bits": 6}}), "dynamic: .*: bits: expected one of 2, 3, 4, 8"),
    ("gptq_int4_sym_v1", option(dynamic={"+:(": {"bits": 8}}), "dynamic: .*: expected a regular expression"),
    (
        "gptq_int4_sym_v1",
        option(dynamic={"(a+)+$": {"bits": 8}}),
        "dynamic: .*: expected .* at most 5 repetitions, none",
    ),
    ("gptq_int4_sym_v1", option(dynamic={".*.*.*.*.*.*": {}}), "dynamic: .*: expected .* at most 5 repetitions, none"),
    ("gptq_int4_sym_v1", option(dynamic={".*": {"zero": 1}}), "dynamic: .*: zero: expected no such option"),
    ("gptq_int4_sym_v1", option(dynamic={".*": 3}), "dynamic: .*: expected an object, found 3"),
    ("gptq_int4_sym_v1", option(dynamic=["x"]), r"dynamic: expected an object, found \['x'\]"),
    (
        "autoround_gptq",
        option(packing_format="auto_round:mlx"),
        "packing_format: expected one of .* found 'auto_round:mlx'",
    ),
    ("autoround_gptq", option(packing_format=...), "backend: expected one of .* found no such key"),
    ("autoround_gptq", option(data_type="mx_fp"), "data_type: expected one of 'int', found 'mx_fp'"),
    ("autoround_gptq", option(extra_config={K: {"bits": 7}}), "extra_config: .*: bits: expected one of 2, 3, 4, 8"),
    ("autoround_gptq", option(extra_config={K: {"seed": 7}}), "extra_config: .*: seed: expected no such option"),
    ("fp8_block", option(fmt="e3m4"), "fmt: expected one of .* found 'e3m4'"),
    ("fp8_block", option(weight_block_size=[128]), "weight_block_size: expected two positive integers"),
    ("fp8_block", option(weight_block_size=[0, 128]), "weight_block_size: expected two positive integers"),
    ("fp8_block", option(expert_dtype="fp4"), "expert_dtype: expected one of 'fp8', null, found 'fp4'"),
    ("fp8_block", option(activation_scheme="odd"), "activation_scheme: expected one of"),
    ("ct_w4a16", option(format="nvfp4-pack-quantized"), "format: expected one of .* found 'nvfp4-pack-quantized'"),
    ("ct_w4a16", option(transform_config={"config_groups": {"a": 1}}), "transform_config: expected no such option"),
    ("ct_w4a16", option(sparsity_config={"format": "sparse-24-bitmask"}), "sparsity_config: format: expected one of"),
    ("ct_w4a16", option(quantization_status="calibration"), "quantization_status: expected one of 'compressed'"),
    ("ct_w4a16", option(config_groups=None), "config_groups: expected an object, found null"),
    ("ct_w4a16", option(config_groups={}), "expected a scheme of config_groups whose targets are model.layers.0.self"),
    ("ct_w4a16", scheme(strategy="tensor_group"), "weights: strategy: expected one of .* found 'tensor_group'"),
    ("ct_w4a16", scheme(num_bits=9), "weights: num_bits: expected one of 2, 3, 4, 5, 6, 7, 8, found 9"),
    ("ct_w4a16", scheme(type="fp"), "weights: type: expected one of 'int', 'float', found 'fp'"),
    ("ct_w4a16", scheme(rotated=True), "weights: rotated: expected no such option"),
    ("ct_w4a16", scheme(type="float", num_bits=8), "expected integers in groups of columns, found the scheme"),
    ("ct_fp8_block", scheme(block_structure="128"), "weights: block_structure: expected two positive integers"),
    ("ct_fp8_channel", scheme(symmetric=False), "weights: symmetric: expected one of true, found false"),
    ("ct_fp8_channel", scheme(type="int"), "k_proj.weight: expected dtype I8, found F8_E4M3"),
    ("bnb_nf4", option(bnb_4bit_quant_type="int4"), "bnb_4bit_quant_type: expected one of 'nf4', 'fp4', null"),
    ("bnb_nf4", option(sparse="yes"), "sparse: expected no such option"),
    ("mlx_4bit", option(bits=7), r"quantization: bits: expected one of 2, 3, 4, 5, 6, 8, found 7"),
    ("mlx_4bit", option(mode="nvfp4"), "quantization: mode: expected one of 'affine', 'mxfp4', 'mxfp8', found 'nvfp4'"),
    ("mlx_4bit", option(group_size=...), r"q_proj\.scales: expected shape \[64, 1\], found \[64, 2\]"),
    ("mlx_4bit", option(group_size=0), "quantization: group_size: expected an integer from 1 to"),
    ("mlx_mixed", option(**{DOWN: {"group_size": None, "bits": 6}}), "scales: expected columns in whole groups of 64"),
    ("mlx_4bit", option(lora_layers=4), "quantization: lora_layers: expected no such option"),
    ("mlx_4bit", option(**{K: {"bits": 9}}), "quantization: model.*k_proj: bits: expected one of"),
    ("mlx_4bit", option(**{K: {"rank": 9}}), "quantization: model.*k_proj: rank: expected no such option"),
    ("mlx_mxfp4", option(bits=8), "quantization: bits: expected one of 4, found 8"),
]

TENSORS: list[tuple[str, Change, str]] = [
    (
        "awq_gptqmodel",
        without(f"{K}.qzeros"),
        "expected tensor model.*k_proj.qzeros of shape .2, 4., found no such tensor",
    ),
    ("awq_gptqmodel", without(f"{K}.qweight"), "expected tensor model.*k_proj.weight of shape .32, 64., found no such"),
    ("awq_gptqmodel", put(f"{K}.scales", "F16", np.ones((2, 31), "<f2")), r"scales: expected shape \[2, 32\], found"),
    (
        "awq_gptqmodel",
        put(f"{K}.scales", "I8", np.ones((2, 32), "i1")),
        "scales: expected dtype BF16, F16, F32, found I8",
    ),
    (
        "awq_gptqmodel",
        put(f"{K}.weight", "F16", np.ones((32, 64), "<f2")),
        "qweight: expected one form of model.*k_proj",
    ),
    ("awq_gptqmodel", value(f"{K}.scales", (0, 3), 0x7F80), "scales: expected finite numbers, found inf at 3"),
    (
        "awq_gptqmodel",
        put("lm_head.qweight", "I32", np.ones((64, 8), "<i4")),
        "ties the head to the embedding.*found one",
    ),
    ("gptq_int4_desc_act", value(f"{K}.g_idx", 5, 2), "g_idx: expected groups from 0 to 1, found 2 at 5"),
    ("gptq_int4_desc_act", value(f"{K}.g_idx", 7, -1), "g_idx: expected groups from 0 to 1, found -1 at 7"),
    (
        "gptq_int4_desc_act",
        put(f"{K}.g_idx", "I32", np.zeros(63, "<i4")),
        r"g_idx: expected shape \[64\], found \[63\]",
    ),
    ("gptq_autogptq", value(f"{K}.bias", 0, 1), "k_proj.bias: expected the tensors of the model .* found one"),
    (
        "gptq_int4_asym_v1",
        put(f"{K}.perm", "I32", np.zeros(64, "<i4")),
        "k_proj.perm: expected the tensors of the model",
    ),
    ("fp8_block", without(f"{K}.weight_scale_inv"), "k_proj.weight: expected one tensor .* beside it, found none"),
    (
        "fp8_block",
        put(f"{K}.weight_scale", "F32", np.ones(1, "<f4")),
        "expected one tensor .* beside it, found model.* and",
    ),
    (
        "fp8_block",
        put(f"{K}.weight_scale_inv", "F32", np.ones((1, 1), "<f4")),
        r"expected shape \[1, 2\], found \[1, 1\]",
    ),
    ("fp8_channel", put(f"{K}.weight_scale_inv", "F32", np.ones(31, "<f4")), r"expected one scale, or shape \[32, 1\]"),
    (
        "fp8_block",
        value(f"{K}.weight_scale_inv", (0, 1), 0x7FC0),
        "weight_scale_inv: expected finite numbers, found nan at 1",
    ),
    (
        "fp8_block_ue8m0",
        value(f"{K}.weight_scale_inv", (0, 1), 255),
        "weight_scale_inv: expected finite numbers, found NaN",
    ),
    ("fp8_block", value(f"{K}.weight", (3, 4), 0x7F), "k_proj.weight: .*row 3.*column 4"),
    (
        "ct_w4a16",
        put(f"{K}.weight_shape", "I64", np.array([32, 63])),
        r"weight_shape: expected \[32, 64\], found \[32, 63\]",
    ),
    (
        "ct_w4a16_asym",
        without(f"{K}.weight_zero_point"),
        "expected tensor model.*weight_zero_point .* found no such tensor",
    ),
    (
        "ct_w4a16",
        put(f"{K}.weight_g_idx", "I32", np.full(64, 2, "<i4")),
        "weight_g_idx: expected groups from 0 to 1, found 2",
    ),
    (
        "ct_w8a8_asym",
        without(f"{K}.weight_zero_point"),
        "expected tensor model.*weight_zero_point .* found no such tensor",
    ),
    (
        "ct_fp8_tensor",
        without(f"{K}.weight_scale"),
        "expected tensor model.*weight_scale beside it, found no such tensor",
    ),
    (
        "ct_w4a16",
        put(f"{K}.weight_global_scale", "F32", np.ones(1, "<f4")),
        "weight_global_scale: expected the tensors of",
    ),
    ("bnb_nf4_double", state(shape=[64, 32]), r"shape: expected \[32, 64\], found \[64, 32\]"),
    ("bnb_nf4_double", state(quant_type="fp4"), "quant_type: expected one of 'nf4', found 'fp4'"),
    ("bnb_nf4_double", state(blocksize=0), "blocksize: expected an integer from 1 to"),
    (
        "bnb_nf4_double",
        state(dtype="float8"),
        "dtype: expected one of 'bfloat16', 'float16', 'float32', found 'float8'",
    ),
    ("bnb_nf4_double", state(nested_offset=...), "nested_offset: expected a number"),
    ("bnb_nf4_double", state(outliers=True), "outliers: expected no such option"),
    (
        "bnb_nf4_double",
        without(f"{K}.weight.nested_absmax"),
        "expected tensor model.*nested_absmax .* found no such tensor",
    ),
    (
        "bnb_nf4_double",
        put(f"{K}.weight", "U8", np.zeros((1, 1024), "u1")),
        r"expected shape \[1024, 1\], found \[1, 1024\]",
    ),
    ("bnb_nf4", value(f"{K}.weight.absmax", 3, np.inf), "absmax: expected finite numbers, found inf at 3"),
    ("bnb_int8", value(f"{K}.SCB", 3, np.nan), "SCB: expected finite numbers, found nan at 3"),
    ("bnb_int8", put(f"{K}.weight_format", "U8", np.array(1, "u1")), r"weight_format: expected 0 \(rows\), found 1"),
    ("mlx_4bit", without(f"{K}.biases"), "expected tensor model.*k_proj.biases of shape .32, 2., found no such tensor"),
    ("mlx_4bit", put(f"{K}.biases", "F32", np.ones((32, 2), "<f4")), "biases: expected dtype BF16, found F32"),
    ("mlx_4bit", without(f"{K}.scales"), "k_proj.weight: expected shape .32, 64., found .32, 8."),
    ("mlx_mxfp4", value(f"{K}.scales", (0, 0), 255), "scales: expected finite numbers, found NaN"),
    (
        "mlx_mxfp4",
        put(f"{K}.biases", "BF16", np.ones((32, 2), "<u2")),
        "k_proj.biases: expected the tensors of the model",
    ),
]


@pytest.mark.parametrize(("name", "config", "message"), OPTIONS, ids=[f"{each[0]}-{each[2][:40]}" for each in OPTIONS])
def test_options(tmp_path: Path, name: str, config: Change, message: str) -> None:
    folder = write_made(tmp_path / "model", name, config=config)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(folder, threads=1)


@pytest.mark.parametrize(("name", "change", "message"), TENSORS, ids=[f"{each[0]}-{each[2][:40]}" for each in TENSORS])
def test_tensors(tmp_path: Path, name: str, change: Change, message: str) -> None:
    folder = write_made(tmp_path / "model", name, change)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(folder, threads=1)


def test_options_that_are_off_are_no_matter(tmp_path: Path) -> None:
    off = {"rotation": None, "marlin": False, "adapter": {}, "preprocessors": []}
    open_checkpoint(write_made(tmp_path / "model", "gptq_int4_sym_v1", config=option(**off)), threads=1)


@pytest.mark.parametrize("method", ["quanto", "hqq", "aqlm", "eetq", "higgs", "torchao", "exl3", "mxfp4"])
def test_other_methods_are_named_with_those_that_are_known(tmp_path: Path, method: str) -> None:
    known = "auto-round, awq, bitsandbytes, compressed-tensors, fp8, gptq, mlx"
    folder = write_made(tmp_path / "model", "awq_gptqmodel", config=option(quant_method=method))
    with pytest.raises(ConfigError, match=f"or one quantised by {known}, found one quantised by '{method}'"):
        open_checkpoint(folder, threads=1)


@pytest.mark.parametrize("name", ["awq_gptqmodel", "gptq_int3_asym_v1", "fp8_block", "ct_w8a16", "bnb_nf4", "mlx_6bit"])
def test_a_file_that_was_cut_or_whose_header_was_flipped(tmp_path: Path, name: str) -> None:
    shard = write_made(tmp_path / "model", name) / "model-00001-of-00002.safetensors"
    whole = shard.read_bytes()
    shard.unlink()
    for size in (0, 7, 100, len(whole) - 1):
        shard.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=rf"{shard.name}: "):
            open_checkpoint(shard.parent, threads=1)
        shard.unlink()
    start = whole.index(b'"shape": [') + len(b'"shape": [')
    shard.write_bytes(whole[:start] + (b"7" if whole[start : start + 1] != b"7" else b"8") + whole[start + 1 :])
    with pytest.raises(CheckpointError, match="expected"):
        open_checkpoint(shard.parent, threads=1)


def test_a_head_of_its_own(tmp_path: Path) -> None:
    """A plain head overrules config.json. A quantised head that config.json ties is refused."""
    head = np.ones((1, 1), "<u2")
    folder = write_made(tmp_path / "tied", "awq_gptqmodel", put("lm_head.weight", "BF16", head))
    with pytest.raises(CheckpointError, match=r"lm_head.weight: expected shape .*, found \[1, 1\]"):
        open_checkpoint(folder, threads=1)
    folder = write_made(tmp_path / "untied", "awq_gptqmodel", tie_word_embeddings=False)
    assert "lm_head.weight" in open_checkpoint(folder, threads=1).matrices
    folder = write_made(tmp_path / "wrong", "mlx_tables", lambda tensors: None, tie_word_embeddings=True)
    with pytest.raises(CheckpointError, match=r"lm_head.*ties the head to the embedding"):
        open_checkpoint(folder, threads=1)
