"""Folders whose modules are stored in several ways, and layouts that only older versions of libraries wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import bfloat16_values, to_dtype
from made_folders import MADE, about, digest, read_tensors, write_made

from qwen3cpu.checkpoint.weight_source import original_matrix
from qwen3cpu.errors import CheckpointError
from qwen3cpu.loading.sources import open_unpacked

K = "model.layers.0.self_attn.k_proj"
DOWN = "model.layers.0.mlp.down_proj"


def mixed(folder: Path, first: str, second: str, config: Callable[[dict[str, Any]], Any]) -> Any:
    """Open the weights of a folder of made/ whose down_proj comes from another one."""

    def change(tensors: dict[str, Any]) -> None:
        for name in [each for each in tensors if each.startswith(f"{DOWN}.")]:
            del tensors[name]
        others = read_tensors(MADE / f"{second}.safetensors")
        tensors.update({name: each for name, each in others.items() if name.startswith(f"{DOWN}.")})

    return open_unpacked(write_made(folder, first, change, config)).weights


def check(weights: Any, first: str, second: str) -> None:
    for module, name in ((K, first), (DOWN, second)):
        assert digest(original_matrix(weights, f"{module}.weight")) == about(name)["sha256"][f"{module}.weight"]


@pytest.mark.parametrize(
    "dynamic",
    [
        {r"+:.*\.down_proj": {"bits": 8}},
        {r"model\.layers\.\d+\.mlp": {"bits": 8, "group_size": 32}},
        {r"-:.*lm_head.*": {}, r".*k_proj": {}, r".*": {"bits": 8}},
    ],
)
def test_other_bits_for_some_modules_of_gptqmodel(tmp_path: Path, dynamic: dict[str, Any]) -> None:
    first, second = "gptq_int4_asym_v1", "gptq_int8_sym_v1"
    weights = mixed(
        tmp_path / "model", first, second, lambda config: config["quantization_config"].update(dynamic=dynamic)
    )
    check(weights, first, second)


def test_without_the_rule_such_a_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"down_proj\.qweight: expected shape \[12, 64\], found \[24, 64\]"):
        mixed(tmp_path / "model", "gptq_int4_asym_v1", "gptq_int8_sym_v1", lambda config: None)


@pytest.mark.parametrize("name", [DOWN, r"model\.layers\.\d+\.mlp\.down_proj"])
def test_other_bits_for_some_modules_of_auto_round(tmp_path: Path, name: str) -> None:
    """GPTQModel and AutoRound pack 8 bits in the same way."""
    extra = {name: {"bits": 8}, "lm_head": {"bits": 16, "data_type": "float"}}
    weights = mixed(
        tmp_path / "model",
        "autoround_gptq",
        "gptq_int8_sym_v1",
        lambda config: config["quantization_config"].update(extra_config=extra),
    )
    check_without_order(weights)


def check_without_order(weights: Any) -> None:
    check(weights, "autoround_gptq", "gptq_int8_sym_v1")
    assert (weights.group_size(f"{K}.weight"), weights.group_size(f"{DOWN}.weight")) == (32, 32)


def test_auto_round_in_the_layout_of_awq(tmp_path: Path) -> None:
    """AutoRound packs with a copy of AutoAWQ's own class."""
    keys = {"bits": 4, "group_size": 32, "sym": False, "data_type": "int", "quant_method": "auto-round"}
    folder = write_made(
        tmp_path / "model",
        "awq_autoawq",
        config=lambda config: config.update(quantization_config={**keys, "packing_format": "auto_round:auto_awq"}),
    )
    check(open_unpacked(folder).weights, "awq_autoawq", "awq_autoawq")


@pytest.mark.parametrize("target", [DOWN, "re:.*down_proj$", r"re:model\.layers\.[0-9]+\.mlp\.(down)?_proj"])
def test_two_schemes_of_compressed_tensors(tmp_path: Path, target: str) -> None:
    first, second = "ct_w4a16", "ct_fp8_channel"

    def config(values: dict[str, Any]) -> None:
        other = about(second)["config"]["quantization_config"]["config_groups"]["group_0"]
        quantization = values["quantization_config"]
        quantization["format"] = "mixed-precision"
        quantization["config_groups"]["group_1"] = {**other, "targets": [target]}

    check(mixed(tmp_path / "model", first, second, config), first, second)


def test_an_order_of_columns_of_compressed_tensors(tmp_path: Path) -> None:
    """weight_g_idx, which the library wrote until 2026. The expected values are computed from the bits of the file."""
    order = np.random.default_rng(0).permutation(64) // 32
    name = f"{K}.weight"

    def change(tensors: dict[str, Any]) -> None:
        tensors[f"{K}.weight_g_idx"] = ("I32", order.astype("<i4"))

    weights = open_unpacked(write_made(tmp_path / "model", "ct_w4a16", change)).weights
    tensors = read_tensors(MADE / "ct_w4a16.safetensors")
    bits = np.unpackbits(tensors[f"{K}.weight_packed"][1].view(np.uint8), axis=1, bitorder="little")
    numbers = (bits.reshape(32, 64, 4) * [1, 2, 4, 8]).sum(2) - 8
    scales = bfloat16_values(tensors[f"{K}.weight_scale"][1])
    expected = to_dtype((numbers * scales[:, order]).astype(np.float32), "bfloat16")[1]
    np.testing.assert_array_equal(original_matrix(weights, name), expected)
    assert weights.group_size(name) is None
    with pytest.raises(TypeError, match="no groups"):
        weights.groups(name, 0, 1)


@pytest.mark.parametrize("order", [np.full(64, -1), np.arange(64) // 32])
def test_an_order_that_says_nothing(tmp_path: Path, order: Any) -> None:
    def change(tensors: dict[str, Any]) -> None:
        tensors[f"{K}.weight_g_idx"] = ("I32", order.astype("<i4"))

    weights = open_unpacked(write_made(tmp_path / "model", "ct_w4a16", change)).weights
    check(weights, "ct_w4a16", "ct_w4a16")
    assert weights.group_size(f"{K}.weight") == 32


def test_one_group_for_whole_rows(tmp_path: Path) -> None:
    """group_size -1: two groups with equal scales become one."""

    def change(tensors: dict[str, Any]) -> None:
        for part in ("scales", "qzeros"):
            dtype, values = tensors[f"{K}.{part}"]
            tensors[f"{K}.{part}"] = (dtype, values[:1])
        for each in [each for each in tensors if each.startswith(DOWN)]:
            del tensors[each]
        tensors[f"{DOWN}.weight"] = ("F32", np.ones((64, 96), "<f4"))

    def twice(tensors: dict[str, Any]) -> None:
        for part in ("scales", "qzeros"):
            tensors[f"{K}.{part}"][1][1] = tensors[f"{K}.{part}"][1][0]

    name = f"{K}.weight"
    one = write_made(
        tmp_path / "one", "awq_gptqmodel", change, lambda config: config["quantization_config"].update(group_size=-1)
    )
    two = write_made(tmp_path / "two", "awq_gptqmodel", twice)
    found, expected = (original_matrix(open_unpacked(folder).weights, name) for folder in (one, two))
    np.testing.assert_array_equal(found, expected)


def test_a_last_group_that_is_smaller(tmp_path: Path) -> None:
    """GPTQ allows 64 columns in groups of 48."""

    def config(values: dict[str, Any]) -> None:
        values["quantization_config"].update(group_size=48)

    def change(tensors: dict[str, Any]) -> None:
        tensors[f"{K}.g_idx"] = ("I32", (np.arange(64) // 48).astype("<i4"))
        for part in ("scales", "qzeros"):
            tensors[f"{DOWN}.{part}"] = (tensors[f"{DOWN}.{part}"][0], tensors[f"{DOWN}.{part}"][1][:2])
        tensors[f"{DOWN}.g_idx"] = ("I32", (np.arange(96) // 48).astype("<i4"))

    name = f"{K}.weight"
    weights = open_unpacked(write_made(tmp_path / "model", "gptq_int4_asym_v1", change, config)).weights
    whole = open_unpacked(write_made(tmp_path / "whole", "gptq_int4_asym_v1")).weights
    found, expected = original_matrix(weights, name), original_matrix(whole, name)
    np.testing.assert_array_equal(found[:, :32], expected[:, :32])
    np.testing.assert_array_equal(found[:, 48:], expected[:, 48:])
    assert (found[:, 32:48] != expected[:, 32:48]).any()
    assert (weights.group_size(name), weights.group_size(f"{DOWN}.weight")) == (None, 48)
