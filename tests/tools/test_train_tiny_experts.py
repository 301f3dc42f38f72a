"""tools/train_tiny_experts.py: its output has the layout of the model for tests, and loads."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from scripts import script_module

import qwen3cpu

TINY = Path(qwen3cpu.__file__).parent / "assets" / "tiny"
SHIPPED = Path(__file__).parents[1] / "support" / "tiny_experts"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """After one step, from the chat model inside the package."""
    pytest.importorskip("torch")
    train, out = script_module("tools/train_tiny_experts.py"), tmp_path_factory.mktemp("experts")
    from tiny.evaluation import Score
    from tiny.training import train as train_model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "evaluate", lambda *_, **__: Score(1.0, 2.0, 3.0, 4.0, []))
        # Without long conversations, whose attention takes gigabytes.
        patch.setattr(
            train,
            "train",
            lambda tokenizer, model, recipe, *more: train_model(tokenizer, model, replace(recipe, late_from=1), *more),
        )
        places = [f"--from={TINY}", f"--out={out}", f"--work={tmp_path_factory.mktemp('work')}"]
        patch.setattr(sys, "argv", ["train_tiny_experts.py", *places, "--steps=1"])
        train.main()
    return out


def test_the_folder_is_laid_out_as_the_shipped_one(written):
    names = {path.name for path in SHIPPED.iterdir()}
    assert {path.name for path in written.iterdir()} == names
    for name in names - {"model.safetensors"}:
        assert (written / name).read_bytes() == (SHIPPED / name).read_bytes()
    assert (written / "model.safetensors").stat().st_size == (SHIPPED / "model.safetensors").stat().st_size


def test_two_different_halves_of_the_dense_model_compute_what_it_does():
    """With a router that gives even weights to an even and an odd expert, before any training."""
    torch = pytest.importorskip("torch")
    from tiny.experts import ExpertConfig, with_experts
    from tiny.export import load_weights
    from tiny.model import Config, Qwen3

    dense = Qwen3(Config())
    load_weights(dense, TINY)
    model = with_experts(dense, ExpertConfig(), balance=0.0)
    layer, old = model.model.layers[1].mlp, dense.model.layers[1].mlp
    with torch.no_grad():
        layer.gate.weight.zero_()
        layer.gate.weight[[2, 5]] = 1.0  # a positive input chooses these two, and gives each a half
        x = torch.rand(1, 7, 128)
        expected = old(x)
        # Sums of 320 products in float32.
        assert (layer(x) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_it_loads_and_answers(written):
    model = qwen3cpu.load(written, "f32", cache=False)
    assert model.config.experts is not None
    assert model.generate("2 + 2?", max_new_tokens=4).token_ids
