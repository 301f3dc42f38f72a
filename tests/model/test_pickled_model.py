"""A pickled model is loaded again from the arguments of `load`."""

import copy
import pickle
import subprocess
import sys

import pytest
from checkpoints import write_checkpoint
from lora_adapters import KINDS, model_shape, write_adapter

import qwen3cpu
from qwen3cpu.loading.open import open_checkpoint
from qwen3cpu.model import Model


def test_it_is_loaded_again(tmp_path, monkeypatch):
    folder = write_checkpoint(tmp_path / "model").folder
    monkeypatch.chdir(tmp_path)
    model = qwen3cpu.load("model", "q8", kv="q8", context=300, threads=1, prefix_cache=0)
    kept = pickle.dumps(model)
    monkeypatch.chdir(folder)
    again = pickle.loads(kept)
    assert (again.source, again.quant, again.kv, again.context, again.threads) == (str(folder), "q8", "q8", 300, 1)
    assert again.engine.prefix_cache.limit == 0
    assert (
        again.generate("x", seed=1, max_new_tokens=9).token_ids
        == model.generate("x", seed=1, max_new_tokens=9).token_ids
    )
    assert len(kept) < 2000


def test_adapters_come_along(tmp_path, monkeypatch):
    folder = write_checkpoint(tmp_path / "model").folder
    model = qwen3cpu.load(folder, "f32", threads=1)
    write_adapter(tmp_path / "adapter", model_shape(model), KINDS["plain"])
    monkeypatch.chdir(tmp_path)
    model.adapters.load("late", "adapter")
    again = copy.copy(model)
    assert {name: named.path for name, named in again.adapters.items()} == {"late": str(tmp_path / "adapter")}
    options = {"seed": 1, "max_new_tokens": 9, "adapter": "late"}
    assert again.generate("x", **options).token_ids == model.generate("x", **options).token_ids


def test_the_model_inside_the_package_in_another_process(tmp_path):
    kept = tmp_path / "model.pickle"
    kept.write_bytes(pickle.dumps(qwen3cpu.load("tiny", threads=1)))
    load = "import pickle, sys; model = pickle.load(open(sys.argv[1], 'rb'))"
    code = f"{load}; print(model.generate('2 + 2?', thinking=False, seed=1).text)"
    done = subprocess.run([sys.executable, "-c", code, kept], capture_output=True, text=True, check=True)
    assert done.stdout == qwen3cpu.load("tiny").generate("2 + 2?", thinking=False, seed=1).text + "\n"


def test_another_checkpoint_in_its_place_is_refused(tmp_path):
    folder = write_checkpoint(tmp_path / "model").folder
    kept = pickle.dumps(qwen3cpu.load(folder, "f32", threads=1))
    write_checkpoint(folder, seed=2)
    with pytest.raises(qwen3cpu.CheckpointError, match="expected the checkpoint that the model was loaded from"):
        pickle.loads(kept)


def test_what_cannot_be_pickled():
    model = qwen3cpu.load("tiny", threads=1)
    own = Model(open_checkpoint("tiny", threads=1), kv="f16", context=None, threads=1)
    with pytest.raises(qwen3cpu.ArgumentError, match="expected a model that `load` made"):
        pickle.dumps(own)
    with pytest.raises(qwen3cpu.ArgumentError, match="a conversation cannot be pickled"):
        pickle.dumps(model.chat())
    model.close()
    with pytest.raises(qwen3cpu.ClosedModelError):
        pickle.dumps(model)
