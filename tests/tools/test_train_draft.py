"""tools/train_draft.py on the embedded model: a draft that loads, is the same each time, and changes no answer."""

import sys
from pathlib import Path

import pytest
from drafters import Free, timeless
from scripts import script_module

import qwen3cpu
from qwen3cpu.engine.model_drafts import DraftModel

TINY = Path(qwen3cpu.__file__).parent / "assets" / "tiny"


@pytest.fixture(scope="module")
def train():
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    return script_module("tools/train_draft.py")


def made(train, monkeypatch, out, *more):
    monkeypatch.setattr(train, "TEXTS", 4)
    monkeypatch.setattr(train, "LENGTH", 48)
    monkeypatch.setattr(
        sys, "argv", ["train_draft.py", "--model", str(TINY), "--out", str(out), "--layers", "2", *more]
    )
    train.main()
    return out


def test_layers_are_spread_evenly(train):
    assert train.kept_layers(30, 4) == [0, 10, 19, 29]
    assert train.kept_layers(3, 3) == [0, 1, 2]
    assert train.kept_layers(5, 1) == [0]
    for wanted in (0, 6):
        with pytest.raises(SystemExit, match="expected from 1 to 5"):
            train.kept_layers(5, wanted)


def test_a_draft_is_the_same_each_time_and_changes_no_answer(train, monkeypatch, tmp_path):
    text = tmp_path / "text"
    text.write_text("Anna has 3 apples. " * 30, "utf-8")
    first, second, other = (
        made(train, monkeypatch, tmp_path / name, "--steps", "5", "--text", str(text), "--seed", seed)
        for name, seed in (("first", "1"), ("second", "1"), ("other", "2"))
    )
    weights = [(each / "model.safetensors").read_bytes() for each in (first, second, other)]
    assert weights[0] == weights[1] != weights[2]
    pruned = made(train, monkeypatch, tmp_path / "pruned", "--minutes", "0")
    assert (pruned / "model.safetensors").read_bytes() != weights[0]

    monkeypatch.setattr(DraftModel, "least_chance", property(lambda self: 0.0))
    model = qwen3cpu.load("tiny", threads=1, draft=first)
    assert model.draft_model.config.num_hidden_layers == 2
    model.engine.pass_times = Free()
    for seed in range(2):
        options = {"seed": seed, "max_new_tokens": 60}
        plain = model.generate("What is 17 + 25?", speculate=False, **options)
        assert timeless(model.generate("What is 17 + 25?", **options)) == timeless(plain)
