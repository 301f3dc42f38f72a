"""The embedded model answers its held-out problems: whole greedy answers of the shipped file are compared.

tiny_heldout.json has 200 problems that are not in the training in any wording (tools/tiny decides by a hash of kind and
numbers).
"""

import json
from functools import cache
from pathlib import Path

import pytest

import qwen3cpu

PROBLEMS = json.loads((Path(__file__).parents[1] / "support" / "tiny_heldout.json").read_text())
MULTI_STEP = [problem["steps"] == "multi" for problem in PROBLEMS]


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The embedded model in q4, calibrated with its own text."""
    path = tmp_path_factory.mktemp("tiny") / "calibrated.qwen3"
    qwen3cpu.pack("tiny", path, calibrate=True)
    return str(path)


@cache
def right(quant: str | None, thinking: bool, source: str = "tiny") -> tuple[bool, ...]:
    model = qwen3cpu.load(source, quant=quant)
    questions = [[{"role": "user", "content": problem["question"]}] for problem in PROBLEMS]
    results = model.generate_batch(questions, thinking=thinking, temperature=0, max_new_tokens=300)
    assert all(bool(result.reasoning) == thinking for result in results)
    return tuple(
        result.finish_reason == "stop" and result.text.rstrip(".") == problem["answer"]
        for result, problem in zip(results, PROBLEMS, strict=True)
    )


def percent(flags: tuple[bool, ...]) -> float:
    return 100 * sum(flags) / len(flags)


def test_there_are_200_problems_of_both_kinds():
    assert len(PROBLEMS) == 200
    assert len({problem["question"] for problem in PROBLEMS}) == 200
    assert 40 < sum(MULTI_STEP) < 160


def test_nine_of_ten_are_right_with_thinking():
    assert percent(right("f32", True)) >= 90


def test_thinking_is_what_solves_the_problems_of_several_steps():
    thought = [flag for flag, multi in zip(right("f32", True), MULTI_STEP, strict=True) if multi]
    direct = [flag for flag, multi in zip(right("f32", False), MULTI_STEP, strict=True) if multi]
    # Four standard deviations of the difference of two shares of this many problems.
    noise = 4 * 100 * (0.25 / len(thought) * 2) ** 0.5
    assert percent(tuple(thought)) - percent(tuple(direct)) > noise


@pytest.mark.parametrize(("quant", "points"), [("bf16", 1), ("q8", 1), ("q4", 5)])
@pytest.mark.parametrize("thinking", [True, False])
def test_quantised_weights_lose_little(quant, points, thinking):
    assert percent(right(quant, thinking)) >= percent(right("f32", thinking)) - points


@pytest.mark.heavy
@pytest.mark.parametrize("thinking", [True, False])
def test_calibrated_weights_lose_less(calibrated, thinking):
    assert percent(right(None, thinking, calibrated)) >= percent(right("f32", thinking)) - 2


@pytest.mark.parametrize(
    "question",
    [
        "Wie heißt die Hauptstadt von Österreich und warum liegt sie an der Donau?",
        "请用中文解释量子力学。",
        "\U0001f600 \U0001f680 qzx wvut!!",
        "Explain the causes of the French revolution. " * 60,
    ],
    ids=["german", "chinese", "gibberish", "long"],
)
@pytest.mark.parametrize("thinking", [True, False])
def test_outside_its_world_it_stops(question, thinking):
    result = qwen3cpu.load("tiny").generate(question, thinking=thinking, temperature=0, max_new_tokens=300)
    assert result.finish_reason == "stop"
    assert result.text


def test_an_answer_follows_a_spent_budget():
    result = qwen3cpu.load("tiny").generate(
        "Tom has 14 apples. He buys 9 more and gives 5 away. How many apples does he have now?",
        thinking=True,
        thinking_budget=8,
        temperature=0,
        max_new_tokens=300,
    )
    assert result.thinking_budget_spent
    assert result.finish_reason == "stop"
    assert result.text.removesuffix(" apples.").isdigit()
