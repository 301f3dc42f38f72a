"""A trained model and a distilled draft model: answers do not change, and some of the drafted tokens are right."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from drafters import Free, timeless

import qwen3cpu
from qwen3cpu.engine.model_drafts import DraftModel

pytestmark = [pytest.mark.smol, pytest.mark.heavy]
PROMPTS = ("How do I grow tomatoes on a balcony?", "Write a short story about a lighthouse.", "What is a prime number?")


@pytest.fixture(scope="module")
def draft():
    """The draft model that tools/train_draft.py made of smolqwen3."""
    folder = os.environ.get("QWEN3CPU_SMOLQWEN3_DRAFT")
    if not folder or not Path(folder, "config.json").is_file():
        pytest.skip("QWEN3CPU_SMOLQWEN3_DRAFT does not name a draft of smolqwen3")
    return folder


@pytest.fixture(scope="module", params=["q4", "q8"])
def model(request, smolqwen3, draft):
    return qwen3cpu.load(smolqwen3, quant=request.param, context=1024, draft=draft)


@pytest.mark.parametrize(
    "options", [{"temperature": 0, "seed": 2}, {"temperature": 0.8, "seed": 3}, {"seed": 4, "logprobs": 1}], ids=str
)
def test_answers_are_those_without(model, options, monkeypatch):
    monkeypatch.setattr(DraftModel, "least_chance", property(lambda self: 0.0))
    monkeypatch.setattr(model.engine, "pass_times", Free())
    around = model.answerer.surroundings
    monkeypatch.setattr(
        model.answerer, "surroundings", replace(around, make_drafters=lambda: around.make_drafters()[-1:])
    )
    options = {**options, "max_new_tokens": 60, "ignore_eos": True}
    accepted = 0
    for prompt in PROMPTS:
        plain = model.generate(prompt, speculate=False, **options)
        drafted = model.generate(prompt, **options)
        assert timeless(drafted) == timeless(plain)
        accepted += drafted.timings.accepted
    assert accepted > 0
