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
from gguf_models import gguf_name  # noqa: E402  needs the package

IDS = list(range(40))
TYPES = {
    "F32": gguf.GGMLQuantizationType.F32,
    "F16": gguf.GGMLQuantizationType.F16,
    "BF16": gguf.GGMLQuantizationType.BF16,
}
TYPES["Q8_0"] = gguf.GGMLQuantizationType.Q8_0


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return checkpoints.write_checkpoint(tmp_path_factory.mktemp("base"), tie_word_embeddings=False)


@pytest.fixture(scope="module")
def model(base):
    return qwen3cpu.load(base.folder, quant="f32", kv="f32", threads=1)


def write(path, tensors, alpha=8.0, kind="F32", **metadata):
    """What the converter makes of tensors of a PEFT folder, in one type where their rows allow it."""
    writer = gguf.GGUFWriter(path, metadata.pop("arch", "qwen3"))
    writer.add_type(metadata.pop("type", gguf.GGUFType.ADAPTER))
    writer.add_string(gguf.Keys.Adapter.TYPE, metadata.pop("adapter_type", "lora"))
    if alpha is not None:
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    if "tokens" in metadata:
        writer.add_array("adapter.alora.invocation_tokens", metadata["tokens"])
    for name, values in tensors.items():
        name = name.removeprefix("base_model.model.")
        for part, end in (
            (".lora_A.weight", "a"),
            (".lora_embedding_A", "a"),
            (".lora_B.weight", "b"),
            (".lora_embedding_B", "b"),
        ):
            if name.endswith(part):
                name = gguf_name(name.removesuffix(part) + ".weight") + f".lora_{end}"
                break
        else:
            name = gguf_name(name) if name.startswith("model.") else name
        values = np.ascontiguousarray(values.T if name == "token_embd.weight.lora_a" else values)
        chosen = "F32" if values.ndim == 1 or (kind == "Q8_0" and values.shape[-1] % 32) else kind
        data = gguf.quants.quantize(values, TYPES[chosen])
        writer.add_tensor(name, data, raw_dtype=TYPES[chosen])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def plain(kind):
    """Kinds that the converter takes: those of plain LoRA."""
    return not kind.get("use_dora") and not kind.get("modules_to_save") and not kind.get("rank_pattern")


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if plain(kind)])
def test_it_is_the_adapter_of_the_folder(base, model, tmp_path, name):
    kind = {**KINDS[name], "use_rslora": False, "lora_alpha": 12}
    model.adapters.load("peft", write_adapter(tmp_path / "peft", base.config, kind, seed=4), replace=True)
    path = write(tmp_path / "adapter.gguf", adapter_tensors(base.config, kind, seed=4), alpha=12.0)
    model.adapters.load("gguf", path, replace=True)
    found = model.logits(IDS, adapter="gguf")
    assert np.array_equal(found, model.logits(IDS, adapter="peft"))
    assert not np.array_equal(found, model.logits(IDS))


@pytest.mark.parametrize("kind", TYPES)
def test_types_of_tensors(base, tmp_path, kind):
    config = checkpoints.qwen3_config()
    tensors = adapter_tensors(config, {"r": 32, "target_modules": ["o_proj"]}, seed=4)
    found = read_adapter(
        write(tmp_path / "a.gguf", tensors, kind=kind), qwen3cpu.load(base.folder, "f32", threads=1).config
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
    path = write(tmp_path / "a.gguf", {**tensors, "base_model.model.model.norm.weight": norm}, alpha=0.0)
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
        ({"tokens": [1, 2]}, "adapter.alora.invocation_tokens: expected nothing"),
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
    path = write(tmp_path / "a.gguf", {**tensors, **change.pop("more", {})}, **change)
    with pytest.raises(AdapterError, match=words):
        read_adapter(path, model.config)


def test_cuts_and_flipped_bytes_are_seen(model, base, tmp_path):
    tensors = adapter_tensors(base.config, {"r": 4, "target_modules": ["down_proj"]}, seed=4)
    path = write(tmp_path / "a.gguf", tensors)
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
