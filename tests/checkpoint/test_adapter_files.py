"""Files of adapters: settings and tensors are read correctly, and every defect is named."""

import json
import shutil

import checkpoints
import numpy as np
import pytest
from lora_adapters import KINDS, LINEAR, adapter_tensors, peft_settings, write_adapter
from torch_files import write_torch_file

import qwen3cpu
from qwen3cpu.checkpoint.adapters.peft_config import PeftConfig
from qwen3cpu.checkpoint.adapters.read import read_adapter
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.safetensors_file import SafetensorsFile
from qwen3cpu.errors import AdapterError, CheckpointError, Qwen3CpuError

CONFIG = checkpoints.qwen3_config()
MODEL = ModelConfig.from_dict(CONFIG, "test")
Q_PROJ = "base_model.model.model.layers.0.self_attn.q_proj"


def written(tmp_path, kind=KINDS["plain"], **settings):
    """An adapter with more settings in its adapter_config.json, and its folder."""
    folder = write_adapter(tmp_path / "adapter", CONFIG, kind)
    (folder / "adapter_config.json").write_text(json.dumps({**peft_settings(kind), **settings}))
    return folder


# Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trainable_token_indices", [1, 2]),
        ("layer_replication", [[0, 2], [1, 2]]),
        ("lora_bias", True),
        ("alora_invocation_tokens", [5]),
        ("use_qalora", True),
        ("bias", "all"),
        ("bias", "lora_only"),
        ("target_parameters", ["mlp.experts.gate_up_proj"]),
        ("use_bdlora", {"x": 1}),
        ("arrow_config", {"top_k": 1}),
        ("a_setting_of_the_future", True),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "pissa_niter_16"),
        ("init_lora_weights", "olora"),
        ("init_lora_weights", "corda"),
        ("init_lora_weights", "loftq"),
        ("init_lora_weights", "lora_ga"),
        ("peft_type", "IA3"),
        ("r", 0),
        ("r", 257),
        ("r", "8"),
        ("lora_alpha", "8"),
        ("lora_alpha", None),
        ("use_dora", "yes"),
        ("rank_pattern", {"q_proj": "8"}),
        ("alpha_pattern", [8]),
        ("target_modules", 8),
        ("modules_to_save", [8]),
        ("layers_to_transform", "1"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(tmp_path, name, value):
    with pytest.raises(AdapterError, match=rf"adapter_config.json: {name}: expected .*, found "):
        read_adapter(written(tmp_path, **{name: value}), MODEL)


@pytest.mark.parametrize(
    "settings",
    [{"init_lora_weights": kind} for kind in (True, False, None, "gaussian", "eva", "orthogonal", "mica")]
    + [
        {"fan_in_fan_out": True, "lora_dropout": 0.5, "megatron_core": "megatron.core", "qalora_group_size": 16},
        {"trainable_token_indices": None, "lora_bias": False, "loftq_config": {}, "layer_replication": []},
        {"ensure_weight_tying": True, "task_type": None, "auto_mapping": {"unsloth_fixed": True}},
    ],
    ids=str,
)
def test_settings_without_effect_are_taken(tmp_path, settings):
    plain = read_adapter(written(tmp_path), MODEL)
    shutil.rmtree(tmp_path / "adapter")
    found = read_adapter(written(tmp_path, **settings), MODEL)
    assert found.low_rank.keys() == plain.low_rank.keys()


@pytest.mark.parametrize("value", ["(", "[z-a]", "a{2,1}"])
def test_a_pattern_that_is_none(tmp_path, value):
    for settings in ({"rank_pattern": {value: 3}}, {"modules_to_save": [value]}):
        with pytest.raises(AdapterError, match="expected a regular expression, found"):
            read_adapter(written(tmp_path, **settings), MODEL)


@pytest.mark.filterwarnings("ignore")  # of PEFT and transformers
def test_ranks_and_scales_are_those_of_peft(tmp_path):
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    kinds = [
        {"r": 8, "lora_alpha": 12, "target_modules": LINEAR, "rank_pattern": {"q_proj": 3, r".*\.0\.mlp\.up_proj": 5}},
        {
            "r": 4,
            "target_modules": LINEAR,
            "alpha_pattern": {"proj": 20},
            "rank_pattern": {"layers.1.self_attn.v_proj": 9},
        },
        {"r": 6, "use_rslora": True, "target_modules": r".*\.(q|k)_proj", "alpha_pattern": {r"^model.layers.1": 3}},
        {"r": 6, "target_modules": ["model.layers.1.mlp.up_proj", "k_proj"], "exclude_modules": r".*0.*k_proj"},
        {"r": 6, "target_modules": "all-linear"},
        {"r": 6, "target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": "layers"},
        {"r": 6, "target_modules": LINEAR, "layers_to_transform": 1, "exclude_modules": ["mlp.gate_proj", "v_proj"]},
        {"r": 6, "target_modules": [*LINEAR, "embed_tokens", "lm_head"], "modules_to_save": ["norm"]},
    ]
    transformers.logging.set_verbosity_error()
    for number, kind in enumerate(kinds):
        model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config.from_dict(CONFIG))
        adapted = peft.get_peft_model(model, peft.LoraConfig(**kind))
        folder = tmp_path / str(number)
        adapted.save_pretrained(folder)
        settings = PeftConfig(folder)
        layers = {
            name.removeprefix("base_model.model."): layer
            for name, layer in adapted.named_modules()
            if hasattr(layer, "lora_A")
        }
        assert layers
        for name, _ in model.named_modules():
            plain = name.replace(".base_layer", "")
            if "lora" not in plain and "modules_to_save" not in plain and "original_module" not in plain:
                is_linear = plain.rpartition(".")[2] in (*LINEAR, "embed_tokens", "lm_head")
                if is_linear:
                    assert settings.is_target(plain) == (plain in layers), (kind, plain)
        for name, layer in layers.items():
            assert settings.rank_of(name) == layer.r["default"]
            assert settings.scale_of(name) == layer.scaling["default"]
        assert read_adapter(folder, MODEL).low_rank.keys() == {f"{name}.weight" for name in layers}


# Tensors


def changed(tmp_path, change, kind=KINDS["dora"]):
    tensors = adapter_tensors(CONFIG, kind, seed=0)
    change(tensors)
    return write_adapter(tmp_path / "adapter", CONFIG, kind, tensors=tensors)


def renamed(old, new):
    def change(tensors):
        tensors[new] = tensors.pop(old)

    return change


def replaced(name, values):
    def change(tensors):
        tensors[name] = np.asarray(values, np.float32)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda all_: all_.pop(f"{Q_PROJ}.lora_A.weight"), "expected lora_A, lora_B, lora_magnitude_vector, found"),
        (lambda all_: all_.pop(f"{Q_PROJ}.lora_magnitude_vector"), "self_attn.q_proj: expected lora_A, lora_B"),
        (
            lambda all_: [all_.pop(each) for each in list(all_) if "q_proj" in each],
            "expected tensors of model.layers.0",
        ),
        (
            renamed(f"{Q_PROJ}.lora_A.weight", f"{Q_PROJ}.lora_C.weight"),
            "lora_C.weight': expected a tensor of this model",
        ),
        (renamed(f"{Q_PROJ}.lora_A.weight", f"{Q_PROJ}.lora_embedding_A"), "expected one lora_A"),
        (
            renamed(f"{Q_PROJ}.lora_A.weight", "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"),
            "another model",
        ),
        (replaced("base_model.model.model.norm.weight", np.ones(64)), "expected it among modules_to_save"),
        (
            replaced(f"{Q_PROJ}.base_layer.weight", np.ones((2, 2))),
            "expected shape .* found .2, 2.: an adapter of another",
        ),
        (replaced(f"{Q_PROJ}.lora_A.weight", np.ones((16, 65))), "expected A of shape .rank, 64. .* another model"),
        (replaced(f"{Q_PROJ}.lora_A.weight", np.ones((15, 64))), "expected A of shape"),
        (replaced(f"{Q_PROJ}.lora_A.weight", np.ones(64)), "expected A of shape"),
        (replaced(f"{Q_PROJ}.lora_B.weight", np.full((128, 16), np.nan)), "expected finite numbers, found nan at 0"),
        (replaced(f"{Q_PROJ}.lora_magnitude_vector", np.ones(127)), "expected a magnitude vector of 128, found .127."),
        (replaced("base_model.model.model.embed_tokens.lora_embedding_A", np.ones((16, 416))), "target_modules"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, change, words):
    with pytest.raises(AdapterError, match=words):
        read_adapter(changed(tmp_path, change), MODEL)


def test_another_rank_than_the_settings_say(tmp_path):
    folder = written(tmp_path, r=9)
    with pytest.raises(AdapterError, match=r"q_proj: expected rank 9, as .*adapter_config.json says, found 8"):
        read_adapter(folder, MODEL)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_of_another_model_is_refused(tmp_path, kind):
    folder = write_adapter(tmp_path / "adapter", checkpoints.qwen3_config(hidden_size=96, head_dim=48), KINDS[kind])
    with pytest.raises(AdapterError, match=r"an adapter of another model \(of 'somewhere/else'\)"):
        read_adapter(folder, MODEL)


def test_what_is_no_adapter(tmp_path):
    for name, words in (
        (".", "found no adapter_config.json"),
        ("nobody", "found no such path"),
        ("file", "another file"),
    ):
        (tmp_path / "file").write_text("hello")
        with pytest.raises(AdapterError, match=words):
            read_adapter(tmp_path / name, MODEL)
    folder = written(tmp_path)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(
        AdapterError, match=r"expected adapter_model\.safetensors or adapter_model\.bin, found neither$"
    ):
        read_adapter(folder, MODEL)
    with pytest.raises(qwen3cpu.ArgumentError, match="adapters: expected a path, found int"):
        read_adapter(3, MODEL)


def test_every_flipped_byte_of_the_header_is_seen(tmp_path):
    """The adapter is refused, or has another identity."""
    folder = written(tmp_path, KINDS["one"])
    path = folder / "adapter_model.safetensors"
    data = path.read_bytes()
    identity = read_adapter(folder, MODEL).identity
    end = 8 + int.from_bytes(data[:8], "little")
    refused = []
    for place in range(end):
        for bit in (1 << place % 8, 0x20):
            path.unlink()
            path.write_bytes(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
            try:
                assert read_adapter(folder, MODEL).identity != identity
            except CheckpointError as error:
                refused.append(str(error))
    assert len(refused) > end
    assert all(str(folder) in each for each in refused)


def test_every_cut_is_refused(tmp_path):
    folder = written(tmp_path, KINDS["one"])
    path = folder / "adapter_model.safetensors"
    data = path.read_bytes()
    for length in (0, 1, 7, 8, 9, 100, *range(200, len(data), 97), len(data) - 1):
        path.unlink()
        path.write_bytes(data[:length])
        with pytest.raises(Qwen3CpuError):
            read_adapter(folder, MODEL)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_dtypes_are_read_exactly(tmp_path, dtype):
    tensors = adapter_tensors(CONFIG, KINDS["dora"], seed=1)
    folder = write_adapter(tmp_path / "adapter", CONFIG, KINDS["dora"], tensors=tensors, dtype=dtype)
    found = read_adapter(folder, MODEL).low_rank["model.layers.0.self_attn.q_proj.weight"]
    for values, part in ((found.a, "lora_A.weight"), (found.b, "lora_B.weight")):
        assert np.array_equal(values, checkpoints.to_dtype(tensors[f"{Q_PROJ}.{part}"], dtype)[1])
    assert found.scale == 20 / 16


def test_other_numbers_are_refused(tmp_path):
    folder = written(tmp_path, KINDS["one"])
    path = folder / "adapter_model.safetensors"
    tensors = SafetensorsFile(path)
    stored = {name: ("I32", tensors.array(name).view(np.int32).copy()) for name in tensors.tensors}
    path.unlink()
    checkpoints.write_safetensors(path, stored)
    with pytest.raises(AdapterError, match="expected F32, F16, BF16, found I32"):
        read_adapter(folder, MODEL)


def test_a_file_of_torch_save_is_read_too(tmp_path):
    folder = written(tmp_path, KINDS["dora"])
    expected = read_adapter(folder, MODEL)
    file = SafetensorsFile(folder / "adapter_model.safetensors")
    write_torch_file(folder / "adapter_model.bin", {name: ("F32", file.array(name).copy()) for name in file.tensors})
    (folder / "adapter_model.safetensors").unlink()
    found = read_adapter(folder, MODEL)
    assert found.low_rank.keys() == expected.low_rank.keys()
    for name, change in found.low_rank.items():
        assert np.array_equal(change.a, expected.low_rank[name].a)
        assert np.array_equal(change.magnitude, expected.low_rank[name].magnitude)


def test_copies_of_what_the_model_has_are_not_kept(tmp_path):
    base = checkpoints.write_checkpoint(tmp_path / "base")
    name = "model.embed_tokens.weight"
    tensors = adapter_tensors(base.config, KINDS["embedding"], seed=1)
    tensors["base_model.model.model.embed_tokens.base_layer.weight"] = base.tensors[name]
    folder = write_adapter(tmp_path / "adapter", base.config, KINDS["embedding"], tensors=tensors)
    for quant in ("f32", "q4"):
        model = qwen3cpu.load(base.folder, quant=quant, threads=1, adapters={"a": folder})
        assert model.adapters.nbytes < 50_000
    tensors["base_model.model.model.embed_tokens.base_layer.weight"] = 2 * base.tensors[name]
    folder = write_adapter(tmp_path / "adapter", base.config, KINDS["embedding"], tensors=tensors)
    other = qwen3cpu.load(base.folder, quant="f32", threads=1, adapters={"a": folder})
    assert other.adapters.nbytes > 4 * base.tensors[name].size


def test_an_embedding_model_takes_no_adapters(tmp_path):
    with pytest.raises(qwen3cpu.ArgumentError, match="expected a model that writes text"):
        qwen3cpu.load("tiny-embedding", threads=1, adapters={"a": tmp_path})
