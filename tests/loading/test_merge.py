"""`qwen3cpu merge`: the merged checkpoint computes the same as the adapter, and no partial folder is left."""

import json
import os

import checkpoints
import numpy as np
import pytest
from cli_runs import run_here
from lora_adapters import KINDS, write_adapter

import qwen3cpu
from qwen3cpu.checkpoint import safetensors_writer
from qwen3cpu.checkpoint.dtypes import as_dtype
from qwen3cpu.loading import merge as merging

TOLERANCE = 2e-4
IDS = np.random.default_rng(1).integers(checkpoints.VOCAB_SIZE, size=40).tolist()


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "own_head"])
def base(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    return checkpoints.write_checkpoint(folder, dtype="float32", shards=2, tie_word_embeddings=request.param)


def logits(folder, adapter=None):
    adapters = {} if adapter is None else {"a": adapter}
    model = qwen3cpu.load(folder, quant="f32", kv="f32", threads=1, adapters=adapters)
    return model.logits(IDS, adapter="a" if adapters else None)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_with_the_adapter(base, tmp_path, kind):
    adapter = write_adapter(tmp_path / "adapter", base.config, KINDS[kind], seed=3)
    counts = qwen3cpu.merge(base.folder, adapter, tmp_path / "out")
    assert 0 < counts["changed"] <= counts["tensors"]
    assert np.abs(logits(tmp_path / "out") - logits(base.folder, adapter)).max() <= TOLERANCE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "out"]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    changes_ends = kind in ("embedding", "head", "ends", "saved")
    assert config["tie_word_embeddings"] == (base.config["tie_word_embeddings"] and not changes_ends)


def test_transformers_loads_it(base, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    adapter = write_adapter(tmp_path / "adapter", base.config, KINDS["ends"], seed=3)
    qwen3cpu.merge(base.folder, adapter, tmp_path / "out")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        found = model(torch.tensor([IDS]), use_cache=False).logits[0].numpy()
    assert np.abs(found - logits(base.folder, adapter)).max() <= TOLERANCE


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_it_has_the_dtype_of_the_base(tmp_path, dtype):
    base = checkpoints.write_checkpoint(tmp_path / "base", dtype=dtype)
    adapter = write_adapter(tmp_path / "adapter", base.config, KINDS["patterns"], seed=3)
    qwen3cpu.merge(base.folder, adapter, tmp_path / "out")
    opened = qwen3cpu.loading.sources.open_unpacked(tmp_path / "out").weights
    kinds = {opened.rows(name, 0, 1).dtype for name in (*opened.matrices, *opened.vectors)}
    assert kinds == {np.dtype(np.uint16 if dtype == "bfloat16" else np.float16)}
    # Each weight is the float32 result, rounded.
    name = "model.layers.1.mlp.up_proj.weight"
    tensors = checkpoints_of(adapter)
    a, b = (tensors[f"base_model.model.{name.removesuffix('.weight')}.lora_{each}.weight"] for each in "AB")
    expected = base.tensors[name] + np.float32(8 / 17) * (b @ a)
    assert np.array_equal(opened.rows(name, 0, len(expected)), as_dtype(expected, opened.rows(name, 0, 1).dtype))
    untouched = "model.layers.0.self_attn.k_norm.weight"
    assert np.array_equal(opened.vector(untouched), base.tensors[untouched])


def checkpoints_of(adapter):
    from qwen3cpu.checkpoint.safetensors_file import SafetensorsFile

    file = SafetensorsFile(adapter / "adapter_model.safetensors")
    return {name: file.array(name) for name in file.tensors}


def test_small_shards_and_pieces(base, tmp_path, monkeypatch):
    adapter = write_adapter(tmp_path / "adapter", base.config, KINDS["dora"], seed=3)
    qwen3cpu.merge(base.folder, adapter, tmp_path / "one")
    monkeypatch.setattr(merging, "_ROWS_BYTES", 1000)
    monkeypatch.setattr(merging, "write_model", lambda *args: safetensors_writer.write_model(*args, most_shard=50_000))
    qwen3cpu.merge(base.folder, adapter, tmp_path / "many")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 2
    one, many = (qwen3cpu.loading.sources.open_unpacked(tmp_path / each).weights for each in ("one", "many"))
    for name, (rows, _) in one.matrices.items():
        assert np.allclose(one.rows(name, 0, rows), many.rows(name, 0, rows), rtol=1e-6, atol=1e-6)


def test_nothing_half_written_is_left(base, tmp_path, monkeypatch):
    adapter = write_adapter(tmp_path / "adapter", base.config, KINDS["plain"], seed=3)

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(merging, "write_model", fail)
    with pytest.raises(KeyboardInterrupt):
        qwen3cpu.merge(base.folder, adapter, tmp_path / "out")
    assert os.listdir(tmp_path) == ["adapter"]


def test_what_is_refused(base, tmp_path):
    adapter = write_adapter(tmp_path / "adapter", base.config, KINDS["plain"])
    with pytest.raises(qwen3cpu.ArgumentError, match="does not exist yet"):
        qwen3cpu.merge(base.folder, adapter, tmp_path / "adapter")
    qwen3cpu.pack(base.folder, tmp_path / "packed.qwen3", "q8")
    with pytest.raises(qwen3cpu.ArgumentError, match="base: expected a model folder with weights in bfloat16"):
        qwen3cpu.merge(tmp_path / "packed.qwen3", adapter, tmp_path / "out")
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"peft_type": "IA3"}')
    with pytest.raises(qwen3cpu.AdapterError, match="peft_type: expected \"LORA\", found 'IA3'"):
        qwen3cpu.merge(base.folder, adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_number_that_the_dtype_cannot_hold(tmp_path):
    base = checkpoints.write_checkpoint(tmp_path / "base", dtype="float16")
    adapter = write_adapter(tmp_path / "adapter", base.config, KINDS["plain"], size=500.0)
    with pytest.raises(qwen3cpu.AdapterError, match="expected a number that float16 can hold, found"):
        qwen3cpu.merge(base.folder, adapter, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["adapter", "base"]


def test_the_command(base, tmp_path):
    adapter = write_adapter(tmp_path / "adapter", base.config, KINDS["one"])
    done = run_here("merge", base.folder, adapter, tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"2 of {24 + (not base.config['tie_word_embeddings'])} tensors changed\n")
    assert run_here("merge", base.folder, adapter, tmp_path / "out").returncode == 2
