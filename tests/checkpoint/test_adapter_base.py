"""An adapter of another released model is refused because of its name, although it has the same shape."""

import json
from pathlib import Path

import checkpoints
import pytest
from lora_adapters import KINDS, write_adapter

import qwen3cpu
from qwen3cpu.checkpoint.adapters.base_model import check_base
from qwen3cpu.checkpoint.adapters.contents import AdapterContents
from qwen3cpu.errors import AdapterError

SAME = [
    ("Qwen/Qwen3-4B", "Qwen/Qwen3-4B"),
    ("Qwen/Qwen3-4B", "qwen3:4b"),
    ("/data/models/Qwen3-4B/", "Qwen/Qwen3-4B"),
    ("C:\\models\\Qwen3-4B", "./Qwen3-4B"),
    ("unsloth/Qwen3-4B-bnb-4bit", "Qwen/Qwen3-4B-AWQ"),
    ("unsloth/Qwen3-4B-unsloth-bnb-4bit", "models/Qwen3-4B.qwen3"),
    ("Qwen/Qwen3-4B", "/data/my-own-model"),
    ("me/my-own-model", "Qwen/Qwen3-4B"),
    (None, "Qwen/Qwen3-4B"),
    ("Qwen/Qwen3-4B", "model.gguf"),
]
OTHER = [
    ("Qwen/Qwen3-4B-Base", "Qwen/Qwen3-4B"),
    ("Qwen/Qwen3-4B", "Qwen/Qwen3-4B-Base"),
    ("Qwen/Qwen3-4B-Instruct-2507", "/data/Qwen3-4B"),
    ("unsloth/Qwen3-8B-bnb-4bit", "4b"),
]


def contents(made_for):
    return AdapterContents(Path("adapter"), "0" * 64, {}, {}, made_for)


@pytest.mark.parametrize(("made_for", "name"), SAME)
def test_the_same_model_and_unknown_ones_pass(made_for, name):
    check_base(contents(made_for), name)


@pytest.mark.parametrize(("made_for", "name"), OTHER)
def test_another_released_model_is_refused(made_for, name):
    with pytest.raises(AdapterError, match=r"adapter: expected an adapter of Qwen/\S+, found one of Qwen/\S+ \(base_"):
        check_base(contents(made_for), name)


def test_what_a_file_was_packed_from_counts():
    with pytest.raises(AdapterError, match="expected an adapter of Qwen/Qwen3-4B, found one of Qwen/Qwen3-4B-Base"):
        check_base(contents("Qwen/Qwen3-4B-Base"), "my.qwen3", "Qwen/Qwen3-4B")


def test_load_and_merge_look_at_it(tmp_path):
    base = checkpoints.write_checkpoint(tmp_path / "Qwen3-4B")
    adapter = write_adapter(tmp_path / "adapter", base.config, KINDS["plain"])
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": "Qwen/Qwen3-4B-Base"}))
    with pytest.raises(AdapterError, match="found one of Qwen/Qwen3-4B-Base"):
        qwen3cpu.load(base.folder, threads=1, adapters={"a": adapter})
    with pytest.raises(AdapterError, match="found one of Qwen/Qwen3-4B-Base"):
        qwen3cpu.merge(base.folder, adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()
