"""GGUF files that are damaged or not supported are refused, and the message names the defect."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import qwen3_config, random_tensors

from qwen3cpu.checkpoint.gguf_file import GgufFile
from qwen3cpu.errors import CheckpointError, ConfigError, Qwen3CpuError
from qwen3cpu.loading.open import open_checkpoint

gguf = pytest.importorskip("gguf")
from gguf_models import WIDE, write_gguf, write_small  # noqa: E402  needs the package


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of few bytes, for damage."""
    return write_small(tmp_path_factory.mktemp("gguf"))


# Damage and what is not supported


def test_every_cut_is_refused(small: Path, tmp_path: Path) -> None:
    whole = small.read_bytes()
    start = min(tensor.start for tensor in GgufFile(small).tensors.values())
    chance = np.random.default_rng(0)
    cuts = {*range(0, start, 97), *range(start - 20, start + 20), *range(len(whole) - 20, len(whole))}
    cuts |= set(chance.integers(0, len(whole), 100).tolist())
    assert len(cuts) > 200
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole)
    for cut in sorted(cuts, reverse=True):
        os.truncate(path, cut)
        with pytest.raises(CheckpointError) as caught:
            open_checkpoint(path, threads=1)
        assert str(path) in str(caught.value)


def test_flipped_header_bytes_never_crash(small: Path, tmp_path: Path) -> None:
    """A flip inside a text gives another text. All other flips are refused with this package's errors."""
    whole = small.read_bytes()
    start = min(tensor.start for tensor in GgufFile(small).tensors.values())
    chance = np.random.default_rng(0)
    path = tmp_path / "flipped.gguf"
    path.write_bytes(whole)
    refused = 0
    positions = {*range(64), *chance.integers(0, start, 500).tolist(), *range(start - 400, start)}
    with path.open("r+b") as file:
        for position in sorted(positions):
            file.seek(position)
            file.write(bytes([whole[position] ^ (1 << int(chance.integers(8)))]))
            file.flush()
            with contextlib.suppress(Qwen3CpuError):
                refused += 1
                open_checkpoint(path, threads=1)
                refused -= 1
            file.seek(position)
            file.write(whole[position : position + 1])
    assert len(positions) > 800
    assert refused > len(positions) / 2


def architecture(writer: Any) -> None:
    writer.kv_data[0]["general.architecture"].value = "qwen2moe"


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "another architecture": ({"change": architecture}, ConfigError, "general.architecture.*'qwen3moe'.*'qwen2moe'"),
    "a part of several": ({"change": lambda w: w.add_uint16("split.count", 3)}, CheckpointError, "split.count.*a part"),
    "no layers": ({"leave_out": ("qwen3.block_count",)}, ConfigError, "qwen3.block_count"),
    "no epsilon": ({"leave_out": ("qwen3.attention.layer_norm_rms_epsilon",)}, ConfigError, "rms_epsilon"),
    "no tokens": ({"leave_out": ("tokenizer.ggml.tokens",)}, CheckpointError, "tokenizer.ggml.tokens"),
    "no merges": ({"leave_out": ("tokenizer.ggml.merges",)}, CheckpointError, "tokenizer.ggml.merges"),
    "no types": ({"leave_out": ("tokenizer.ggml.token_type",)}, CheckpointError, "tokenizer.ggml.token_type"),
    "another tokenizer": ({"leave_out": ("tokenizer.ggml.model",)}, CheckpointError, "tokenizer.ggml.model"),
    "another split": ({"leave_out": ("tokenizer.ggml.pre",)}, CheckpointError, "tokenizer.ggml.pre"),
    "a tensor too few": ({"leave_out": ("blk.1.ffn_up.weight",)}, CheckpointError, "blk.1.ffn_up.weight.*no such"),
    "no embedding": ({"leave_out": ("token_embd.weight",)}, CheckpointError, "token_embd.weight"),
    "linear scaling": (
        {"change": lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)},
        ConfigError,
        "'linear'",
    ),
    "a tensor too many": (
        {"change": lambda w: w.add_tensor("rope_freqs.weight", np.ones(32, np.float32))},
        CheckpointError,
        "rope_freqs.weight",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_supported(tmp_path: Path, case: str) -> None:
    changes, error, says = WRONG[case]
    config = qwen3_config(torch_dtype="float32", **WIDE)
    write_gguf(tmp_path / "model.gguf", config, dict(random_tensors(config)), **changes)
    with pytest.raises(error, match=says) as caught:
        open_checkpoint(tmp_path / "model.gguf", threads=1)
    assert str(tmp_path / "model.gguf") in str(caught.value)


def test_a_type_that_is_not_known(tmp_path: Path) -> None:
    config = qwen3_config(**WIDE)
    path = tmp_path / "model.gguf"
    write_gguf(path, config, dict(random_tensors(config)), "Q8_0")
    data = path.read_bytes()
    name = b"token_embd.weight"
    at = data.index(name) + len(name) + 4 + 16  # after the number of dimensions and two of them
    assert data[at] == 8
    for number, says in ((31, "Q4_0_4_4, which llama.cpp has dropped"), (15, "Q8_K"), (99, "type number 99")):
        path.write_bytes(data[:at] + bytes([number]) + data[at + 1 :])
        with pytest.raises(CheckpointError, match=rf"token_embd.weight.*expected one of the types F32, .*found {says}"):
            open_checkpoint(path, threads=1)
