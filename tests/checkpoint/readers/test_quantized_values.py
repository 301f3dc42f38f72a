"""Quantised folders that other libraries made: every weight equals what the library decodes, and so does the model."""

from __future__ import annotations

import itertools
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from checkpoints import to_dtype
from made_folders import MADE, about, digest, made_names, plain_twin, write_made
from quantized_oracle import unpack

import qwen3cpu
from qwen3cpu.checkpoint.readers.quantized_folder import QuantizedFolder
from qwen3cpu.checkpoint.weight_source import original_matrix
from qwen3cpu.cli.main import main
from qwen3cpu.loading.open import open_checkpoint, read_config
from qwen3cpu.loading.sources import open_unpacked

NAMES = [name for name in made_names() if (MADE / f"{name}.safetensors").exists()]
IDS = np.random.default_rng(0).integers(0, 256, 20).tolist()
GROUPED = {
    **{
        name: 32
        for name in NAMES
        if name.startswith(("awq_", "gptq_", "autoround_", "ct_w4a16", "ct_w3a16", "ct_w8a16"))
    },
    **{name: 32 for name in NAMES if name.startswith("mlx_") and "mxfp" not in name},
    "gptq_int4_desc_act": None,
}
"""Name -> columns of a group, for layouts with `groups`; None: groups are scattered."""
ROUNDED_TO = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def weights_of(folder: Path) -> QuantizedFolder:
    weights = open_unpacked(folder).weights
    assert isinstance(weights, QuantizedFolder)
    return weights


def test_every_library_is_there() -> None:
    kinds = {name.partition("_")[0] for name in NAMES}
    assert kinds == {"autoround", "awq", "bnb", "ct", "fp8", "gptq", "mlx"}
    assert len(NAMES) == 50


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_those_of_the_library(tmp_path: Path, name: str) -> None:
    weights = weights_of(write_made(tmp_path / "model", name))
    for tensor, expected in about(name)["sha256"].items():
        rows = weights.matrices[tensor][0]
        assert digest(original_matrix(weights, tensor)) == expected, tensor
        cuts = (*(cut for cut in (0, 1, 5, 24) if cut < rows), rows)
        pieces = [weights.rows(tensor, first, last) for first, last in itertools.pairwise(cuts)]
        assert all(piece.flags.c_contiguous and piece.flags.aligned for piece in pieces)
        assert digest(np.concatenate(pieces)) == expected, tensor
        weights.will_need(tensor)
        weights.drop_rows(tensor, 0, 5)
        weights.drop_rows(tensor, 5, rows)
        assert digest(original_matrix(weights, tensor)) == expected, "dropped pages come back"


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_that_of_the_plain_folder(tmp_path: Path, name: str) -> None:
    """The plain folder has the library's values as float32. Both are packed to the same bytes."""
    folder = write_made(tmp_path / "model", name)
    config = json.loads((folder / "config.json").read_text())
    weights = weights_of(folder)
    matrices = {tensor: original_matrix(weights, tensor) for tensor in about(name)["sha256"]}
    twin = plain_twin(tmp_path / "twin", config, matrices)
    assert read_config(folder)[0] == read_config(twin)[0]
    for quant in ("q8", "bf16"):
        found, expected = (qwen3cpu.load(path, quant, threads=1).logits(IDS) for path in (folder, twin))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_groups_are_the_weights_before_their_last_rounding(tmp_path: Path, name: str) -> None:
    weights = weights_of(write_made(tmp_path / "model", name))
    for tensor in about(name)["sha256"]:
        rows, cols = weights.matrices[tensor]
        size = weights.group_size(tensor)
        assert size == (cols if name == "ct_w4a16_channel" else group_size(name, tensor)), tensor
        if size is None:
            with pytest.raises(TypeError, match="no groups"):
                weights.groups(tensor, 0, rows)
            continue
        numbers, scales, minimums = weights.groups(tensor, 0, rows)
        assert (numbers.dtype, scales.dtype, minimums.dtype) == (np.uint8, np.float32, np.float32)
        assert numbers.shape == (rows, cols)
        assert scales.shape == minimums.shape == (rows, cols // size)
        dtype = dtype_of_scales(weights, tensor)
        scale, minimum = (np.repeat(each, size, axis=1) for each in (scales, minimums))
        if name.startswith("mlx"):
            product = to_dtype(scale * numbers, dtype)[1]
            values = to_dtype(product + minimum, dtype)[1]
        else:
            values = to_dtype((scale.astype(np.float64) * numbers + minimum).astype(np.float32), dtype)[1]
        np.testing.assert_array_equal(values, original_matrix(weights, tensor))
        part = weights.groups(tensor, 3, 9)
        for each, whole in zip(part, (numbers, scales, minimums), strict=True):
            np.testing.assert_array_equal(each, whole[3:9])


def group_size(name: str, tensor: str) -> int | None:
    """Return the columns of a group of a tensor. mlx-lm has a separate setting for routers."""
    return 64 if tensor.endswith("mlp.gate.weight") else GROUPED.get(name)


def dtype_of_scales(weights: QuantizedFolder, tensor: str) -> str:
    module = re.sub(r"\.experts\.\d+\.", ".switch_mlp.", tensor.removesuffix(".weight"))
    index = json.loads((weights.path / "model.safetensors.index.json").read_text())["weight_map"]
    header = (weights.path / index[f"{module}.{scales_name(index, module)}"]).read_bytes()
    entries = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])
    return ROUNDED_TO[entries[f"{module}.{scales_name(index, module)}"]["dtype"]]


def scales_name(index: dict[str, str], module: str) -> str:
    return "scales" if f"{module}.scales" in index else "weight_scale"


def test_groups_are_kept_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    folder = write_made(tmp_path / "model", "awq_autoawq")
    assert open_checkpoint(folder, threads=1).quant == "q4a32"
    assert open_checkpoint(folder, "q4", threads=1).quant == "q4"
    assert open_checkpoint(write_made(tmp_path / "8", "gptq_int8_sym_v1"), threads=1).quant == "q8"


@pytest.mark.parametrize("name", NAMES)
def test_packed_values_are_those_of_the_groups(tmp_path: Path, name: str) -> None:
    """A matrix in sixteen levels or fewer keeps each weight, before the maker's last rounding; others go to 8 bits.

    Routers are not rounded.
    """
    folder = write_made(tmp_path / "model", name)
    weights, packed = weights_of(folder), open_checkpoint(folder, threads=1)
    kept = [tensor for tensor in weights.matrices if packed.matrices[tensor].format.startswith("q4a")]
    bits = {tensor: weights.group_bits(tensor) for tensor in weights.matrices if weights.group_size(tensor)}
    assert kept == [tensor for tensor, count in bits.items() if count <= 4]
    assert packed.quant in ({packed.matrices[tensor].format for tensor in kept} or {"q8"})
    for tensor, (weight_format, rows, cols, data) in packed.matrices.items():
        if tensor not in kept:
            assert weight_format == ("f32" if tensor.endswith("mlp.gate.weight") else "q8"), tensor
            continue
        numbers, scales, minimums = weights.groups(tensor, 0, rows)
        scale, minimum = (np.repeat(each, cols // each.shape[1], 1).astype(np.float64) for each in (scales, minimums))
        np.testing.assert_array_equal(unpack((weight_format, rows, cols, data)), scale * numbers + minimum)


def test_the_fingerprint_covers_every_file(tmp_path: Path) -> None:
    folder = write_made(tmp_path / "model", "awq_autoawq")
    first = weights_of(folder).fingerprint()
    assert sorted(weights_of(folder).files()) == [f"model-0000{each}-of-00002.safetensors" for each in (1, 2)]
    for shard in folder.glob("*.safetensors"):
        status = shard.stat()
        os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        changed = weights_of(folder).fingerprint()
        assert changed != first
        first = changed


def test_commands_understand_such_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(write_made(tmp_path / "model", "gptq_int8_sym_v1"))
    assert main(["inspect", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["quant"] == "q8"
    assert main(["plan", folder, "--json"]) == 0
    assert "q8" in {plan["quant"] for plan in json.loads(capsys.readouterr().out)["plans"]}
    assert main(["quantize", folder, str(tmp_path / "model.qwen3")]) == 0
    packed = qwen3cpu.load(tmp_path / "model.qwen3", threads=1)
    assert packed.quant == "q8"
    np.testing.assert_array_equal(packed.logits(IDS), qwen3cpu.load(folder, threads=1).logits(IDS))
