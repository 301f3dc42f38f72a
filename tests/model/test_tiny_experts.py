"""The trained model with experts (tools/train_tiny_experts.py): its answers, and its use in the rest of the package.

tests/support/tiny_experts has its folder. The problems are those of test_tiny.py, which are not in the training.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from cli_runs import run

import qwen3cpu
from qwen3cpu.quantization.layer_runner import CHOSEN, Layer

SUPPORT = Path(__file__).parents[1] / "support"
FOLDER = SUPPORT / "tiny_experts"
PROBLEMS = json.loads((SUPPORT / "tiny_heldout.json").read_text())
LIMITS = {"thinking": True, "temperature": 0, "max_new_tokens": 300}


@cache
def answers(source: str, quant: str | None) -> list[str]:
    """The answers to all problems, without the last full stop."""
    model = qwen3cpu.load(source, quant, cache=False)
    results = model.generate_batch([problem["question"] for problem in PROBLEMS], **LIMITS)
    return [result.text.rstrip(".") if result.finish_reason == "stop" else "" for result in results]


def percent(found: list[str]) -> float:
    right = [answer == problem["answer"] for answer, problem in zip(found, PROBLEMS, strict=True)]
    return 100 * sum(right) / len(right)


def test_it_solves_problems() -> None:
    assert percent(answers(str(FOLDER), "f32")) >= 90


@pytest.mark.parametrize(("quant", "points"), [("bf16", 1), ("q8", 1), ("q4", 5)])
def test_quantised_weights_lose_little(quant: str, points: int) -> None:
    assert percent(answers(str(FOLDER), quant)) >= percent(answers(str(FOLDER), "f32")) - points


@pytest.mark.heavy
def test_calibrated_weights_lose_less(tmp_path: Path) -> None:
    qwen3cpu.pack(FOLDER, tmp_path / "calibrated.qwen3", calibrate=True)
    assert percent(answers(str(tmp_path / "calibrated.qwen3"), None)) >= percent(answers(str(FOLDER), "f32")) - 2


def test_every_expert_has_work() -> None:
    """A text that the model has written uses all experts of all layers."""
    checkpoint = qwen3cpu.load(FOLDER, "f32", cache=False)._checkpoint
    config = checkpoint.config
    assert config.experts is not None
    model = qwen3cpu.load(FOLDER, "f32", cache=False)
    text = "".join(
        f"{problem['question']}\n{answer}\n"
        for problem, answer in zip(PROBLEMS, answers(str(FOLDER), "f32"), strict=True)
    )
    ids = np.array(model.tokenizer.encode(text)[:2048], np.int32)
    x = model.engine.native.embed(ids)
    for number in range(config.num_hidden_layers):
        layer = Layer(config, checkpoint.matrices, checkpoint.vectors, number, length=len(ids), threads=1)
        (shown,) = layer.advance(x, CHOSEN)
        shares = np.bincount(shown[CHOSEN].reshape(-1), minlength=config.experts.count) / shown[CHOSEN].size
        assert (shares > 0.02).all()


def test_transformers_gives_the_same_answers() -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    model = qwen3cpu.load(FOLDER, "f32", kv="f32", cache=False)
    for problem in PROBLEMS[:8]:
        text = model.render([{"role": "user", "content": problem["question"]}], thinking=True)
        prompt = model.tokenizer.encode(text, control_tokens=True)
        ours = model.generate(problem["question"], **LIMITS).token_ids
        with torch.no_grad():
            logits = theirs(torch.tensor([[*prompt, *ours]])).logits[0, len(prompt) - 1 : -1].numpy()
        assert (logits.argmax(1) == ours).all()
        found = model.logits([*prompt, *ours])[len(prompt) - 1 : -1]
        assert (np.abs(found - logits).max(1) <= 2e-4 * np.abs(logits).max(1)).all()


def test_conversations_sessions_and_schemas(tmp_path: Path) -> None:
    model = qwen3cpu.load(FOLDER, "q8", cache=False)
    conversation = model.chat()
    first = conversation.send("What is 17 + 25?", seed=1)
    assert first.text.rstrip(".") == "42"
    conversation.save(tmp_path / "session")
    resumed = model.resume(tmp_path / "session")
    assert resumed.send("And 3 more?", seed=2).token_ids == conversation.send("And 3 more?", seed=2).token_ids
    pytest.importorskip("llguidance")
    schema = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}
    found = model.generate("What is 17 + 25?", schema=schema, temperature=0)
    assert isinstance(json.loads(found.text)["answer"], int)


def test_commands(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("What is 3 + 4? It is 7. " * 400)
    assert run("quantize", FOLDER, tmp_path / "model.qwen3").returncode == 0
    assert run("verify", tmp_path / "model.qwen3").returncode == 0
    evaluated = run("eval", FOLDER, "--text", tmp_path / "text.txt", "--quant", "q4")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "perplexity" in evaluated.stdout
    shown = run("show", FOLDER)
    assert shown.returncode == 0, shown.stderr
    assert "2 of 6 experts" in shown.stdout
    generated = run("generate", "What is 17 + 25?", "--model", FOLDER, "--temp", "0")
    assert generated.stdout.strip().rstrip(".").endswith("42")
