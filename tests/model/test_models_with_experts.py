"""Models with experts in daily use: packing, planning, generating, and errors that name what is not supported."""

from __future__ import annotations

import itertools
from pathlib import Path

import checkpoints
import numpy as np
import pytest
from lora_adapters import write_adapter

import qwen3cpu
from qwen3cpu.checkpoint.tensors import QUANTS
from qwen3cpu.errors import AdapterError
from qwen3cpu.loading import open as loader
from qwen3cpu.loading.memory_plan import needs
from qwen3cpu.packed.matrix import plan_matrices
from qwen3cpu.system.free_memory import AvailableMemory

SHAPE = {"num_hidden_layers": 3, "mlp_only_layers": [1], "num_experts": 7, "num_experts_per_tok": 3}
PROMPT = "a b c d e f"
IDS = list(range(40))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = checkpoints.EXPERTS | SHAPE | {"dtype": "float32"}
    return checkpoints.write_checkpoint(tmp_path_factory.mktemp("experts"), **shape).folder


def test_a_packed_file_is_the_folder(folder: Path, tmp_path: Path) -> None:
    for quant in QUANTS:
        path = tmp_path / f"{quant}.qwen3"
        qwen3cpu.pack(folder, path, quant=quant)
        packed, loaded = qwen3cpu.load(path), qwen3cpu.load(folder, quant, cache=False)
        assert packed.config == loaded.config
        assert packed.config.experts is not None
        assert np.array_equal(packed.logits(IDS), loaded.logits(IDS))


def test_experts_that_memory_does_not_hold(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read when they are chosen, which changes no bit of the answer."""
    qwen3cpu.pack(folder, tmp_path / "model.qwen3", quant="q4")
    expected = qwen3cpu.load(tmp_path / "model.qwen3").logits(IDS)
    monkeypatch.setattr(loader, "available_memory", lambda: AvailableMemory(1, "system"))
    model = qwen3cpu.load(tmp_path / "model.qwen3")
    assert not model._checkpoint.fits
    assert np.array_equal(model.logits(IDS), expected)
    assert model.config.native(8, fits=False)["experts"]["fetched"] is True
    assert qwen3cpu.load(folder, "q4", cache=False)._checkpoint.fits, "its weights are in memory already"


def test_answers_in_any_company(folder: Path) -> None:
    """Batches, threads, the prefix cache, drafts and a saved session: equal to the answer alone."""
    prompts = [PROMPT, "c d", PROMPT + " g h", "e"]
    alone = qwen3cpu.load(folder, "q4", threads=1, prefix_cache=0)
    expected = [alone.generate(each, max_tokens=24, seed=5, speculate=False).token_ids for each in prompts]
    for threads, speculate in itertools.product((1, 3), (True, False)):
        model = qwen3cpu.load(folder, "q4", threads=threads)
        for _ in range(2):
            found = model.generate_batch(prompts, max_tokens=24, seed=5, speculate=speculate)
            assert [each.token_ids for each in found] == expected


def test_the_plan_counts_what_a_token_reads(folder: Path) -> None:
    model = qwen3cpu.load(folder, "q8", cache=False)
    plan = plan_matrices(model.config, "q8")
    found = needs(model.config, plan, "f16", 64, 1)
    assert found.weight_bytes == model.weight_bytes
    experts = sum(matrix.bytes for name, matrix in plan.items() if ".experts." in name)
    embedding = plan["model.embed_tokens.weight"].bytes
    assert found.read_bytes_at_start == found.weight_bytes - embedding - experts * 4 // 7


def test_what_is_not_there_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    values = checkpoints.experts_config(**SHAPE)
    for name in ("mlp.experts.2.up_proj", "mlp.gate"):
        kind = {"r": 4, "target_modules": rf".*layers\.0\.{name}"}
        adapter = write_adapter(tmp_path / name, values, kind)
        with pytest.raises(AdapterError, match=rf"found one of model.layers.0.{name}.weight"):
            qwen3cpu.load(folder, adapters={"a": adapter})


def test_adapters_of_attention_and_dense_layers(folder: Path, tmp_path: Path) -> None:
    """Equal to the merged checkpoint within float32's rounding; the model without adapters does not change."""
    values = checkpoints.experts_config(**SHAPE)
    kind = {"r": 4, "target_modules": r".*(q_proj|o_proj|layers\.1\.mlp\.up_proj)"}
    adapter = write_adapter(tmp_path / "adapter", values, kind)
    qwen3cpu.merge(folder, adapter, tmp_path / "merged")
    model = qwen3cpu.load(folder, "f32", kv="f32", adapters={"a": adapter})
    merged = qwen3cpu.load(tmp_path / "merged", "f32", kv="f32")
    found, expected = model.logits(IDS, adapter="a"), merged.logits(IDS)
    assert (np.abs(found - expected).max(1) <= 2e-5 * np.abs(expected).max(1)).all()
    assert np.array_equal(model.logits(IDS), qwen3cpu.load(folder, "f32", kv="f32").logits(IDS))
    assert not np.array_equal(model.logits(IDS), found)
