"""LoRA adapters in GGUF files, as llama.cpp's converter writes them."""

import contextlib

import checkpoints
import numpy as np
import pytest
from lora_adapters import KINDS, adapter_tensors, write_adapter

import qwen3cpu
from qwen3cpu.checkpoint.adapters.read import read_adapter
from qwen3cpu.errors import AdapterError, CheckpointError, Qwen3CpuError

gguf = pytest.importorskip("gguf")
from lora_gguf import TYPES, write_gguf_adapter  # noqa: E402  needs the package

IDS = list(range(40))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return checkpoints.write_checkpoint(tmp_path_factory.mktemp("base"), tie_word_embeddings=False)


@pytest.fixture(scope="module")
def model(base):
    return qwen3cpu.load(base.folder, quant="f32", kv="f32", threads=1)


def plain(kind):
    """Whether the converter accepts this kind: plain LoRA only."""
    return not kind.get("use_dora") and not kind.get("modules_to_save") and not kind.get("rank_pattern")


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if plain(kind)])
def test_it_is_the_adapter_of_the_folder(base, model, tmp_path, name):
    kind = {**KINDS[name], "use_rslora": False, "lora_alpha": 12}
    model.adapters.load("peft", write_adapter(tmp_path / "peft", base.config, kind, seed=4), replace=True)
    path = write_gguf_adapter(tmp_path / "adapter.gguf", adapter_tensors(base.config, kind, seed=4), alpha=12.0)
    model.adapters.load("gguf", path, replace=True)
    found = model.logits(IDS, adapter="gguf")
    assert np.array_equal(found, model.logits(IDS, adapter="peft"))
    assert not np.array_equal(found, model.logits(IDS))


@pytest.mark.parametrize("kind", TYPES)
def test_types_of_tensors(base, tmp_path, kind):
    config = checkpoints.qwen3_config()
    tensors = adapter_tensors(config, {"r": 32, "target_modules": ["o_proj"]}, seed=4)
    found = read_adapter(
        write_gguf_adapter(tmp_path / "a.gguf", tensors, kind=kind), qwen3cpu.load(base.folder, "f32", threads=1).config
    )
    change = found.low_rank["model.layers.1.self_attn.o_proj.weight"]
    name = "base_model.model.model.layers.1.self_attn.o_proj"
    for values, part in ((change.a, "lora_A.weight"), (change.b, "lora_B.weight")):
        stored = tensors[f"{name}.{part}"]
        expected = gguf.quants.dequantize(gguf.quants.quantize(stored, TYPES[kind]), TYPES[kind])
        assert np.array_equal(values, expected.reshape(stored.shape))


def test_norms_and_an_alpha_of_nought(base, model, tmp_path):
    tensors = adapter_tensors(base.config, {"r": 4, "target_modules": ["q_proj"]}, seed=4)
    norm = np.linspace(0.5, 2, base.config["hidden_size"], dtype=np.float32)
    path = write_gguf_adapter(tmp_path / "a.gguf", {**tensors, "base_model.model.model.norm.weight": norm}, alpha=0.0)
    kind = {"r": 4, "lora_alpha": 4, "target_modules": ["q_proj"], "modules_to_save": ["model.norm"]}
    folder = write_adapter(
        tmp_path / "peft", base.config, kind, tensors={**tensors, "base_model.model.model.norm.weight": norm}
    )
    model.adapters.load("gguf", path, replace=True)
    model.adapters.load("peft", folder, replace=True)
    assert np.array_equal(model.logits(IDS, adapter="gguf"), model.logits(IDS, adapter="peft"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"arch": "llama"}, "general.architecture: expected 'qwen3', found 'llama'"),
        ({"type": "model"}, "general.type: expected 'adapter', found 'model'"),
        ({"adapter_type": "ia3"}, "adapter.type: expected 'lora', found 'ia3'"),
        ({"alpha": None}, "adapter.lora.alpha: expected a number, found null"),
        ({"alpha": float("nan")}, "adapter.lora.alpha: expected a number, found nan"),
        ({"tokens": [1, 2]}, "adapter.alora.invocation_tokens: expected no such tokens"),
        ({"without": ".lora_b"}, "expected .lora_a and .lora_b, found only .lora_a"),
        ({"without": "lora"}, "expected tensors of an adapter, found none"),
        ({"more": {"blk.9.attn_q.weight.lora_a": np.ones((4, 64), np.float32)}}, "an adapter of another model"),
        ({"more": {"blk.0.attn_q.weight": np.ones((4, 64), np.float32)}}, "expected a norm, or .lora_a or .lora_b"),
        ({"more": {"blk.0.attn_norm.weight.lora_a": np.ones((4, 64), np.float32)}}, "expected a norm, or .lora_a"),
    ],
)
def test_what_is_wrong_is_named(model, base, tmp_path, change, words):
    tensors = adapter_tensors(base.config, {"r": 4, "target_modules": ["o_proj"]}, seed=4)
    without = change.pop("without", None)
    part = {".lora_b": "lora_B"}.get(without, "lora")
    tensors = {name: values for name, values in tensors.items() if without is None or part not in name}
    path = write_gguf_adapter(tmp_path / "a.gguf", {**tensors, **change.pop("more", {})}, **change)
    with pytest.raises(AdapterError, match=words):
        read_adapter(path, model.config)


def test_cuts_and_flipped_bytes_are_seen(model, base, tmp_path):
    tensors = adapter_tensors(base.config, {"r": 4, "target_modules": ["down_proj"]}, seed=4)
    path = write_gguf_adapter(tmp_path / "a.gguf", tensors)
    data = path.read_bytes()
    found = read_adapter(path, model.config)
    start = len(data) - sum(values.nbytes for values in tensors.values())
    for length in (0, 3, 4, 11, *range(20, len(data) - 32, 131)):
        path.unlink()
        path.write_bytes(data[:length])
        with pytest.raises(Qwen3CpuError):
            read_adapter(path, model.config)
    for place in range(start):
        path.unlink()
        path.write_bytes(data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :])
        with contextlib.suppress(CheckpointError):
            assert read_adapter(path, model.config).identity != found.identity
