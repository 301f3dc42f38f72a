"""The wordings of tiny_first_tries.json are held out: the embedded model's training never draws one of them."""

import json
import random
import re
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / "support" / "tiny_first_tries.json"
ASKED = json.loads(FILE.read_text(encoding="utf-8"))
QUESTION = re.compile(r"<\|im_start\|>user\n(.*?)<\|im_end\|>", re.DOTALL)


def worded(question: str) -> str:
    """The question without thinking switches, case, spaces and marks, but with signs of operations."""
    return re.sub(r"[^\w+\-*/×÷:]", "", re.sub(r"/(no_)?think", "", question).lower())


TRIES = {worded(row["question"]) for row in ASKED["tries"]}


@pytest.fixture(scope="module")
def first_tries():
    from tiny import first_tries

    return first_tries


@pytest.fixture(scope="module")
def drawn(first_tries):
    rng = random.Random(11)
    return {worded(first_tries.first_try(rng)[0]) for _ in range(60000)}


def test_no_first_try_of_the_training_is_one_of_the_test(drawn):
    assert len(drawn) > 20000
    assert not drawn & TRIES


def test_tries_that_are_not_held_out_are_found_among_those_of_the_training(drawn):
    named = {worded(row["question"]) for row in ASKED["named"]}
    assert named <= drawn


@pytest.mark.parametrize(("late", "tries"), [(False, 0.0), (True, 0.0), (True, 0.15)], ids=["early", "late", "tries"])
def test_no_sample_of_the_training_has_one(late, tries):
    pytest.importorskip("torch")
    pytest.importorskip("tokenizers")
    from tiny.samples import draw_sample

    rng = random.Random(12)
    texts = ("".join(piece.text for piece in draw_sample(rng, late, tries).pieces) for _ in range(20000))
    questions = {worded(question) for text in texts for question in QUESTION.findall(text)}
    assert len(questions) > 10000
    assert not questions & TRIES


def test_small_sums_come_from_the_training_side_of_the_problems(first_tries):
    rng = random.Random(13)
    drafts = [first_tries.small_sum(rng) for _ in range(5000)]
    held_out = {worded(draft.question) for draft in drafts if draft.held_out}
    assert held_out
    rng = random.Random(13)
    kept = {worded(first_tries.first_try(rng)[0]) for _ in range(20000)}
    assert not kept & held_out


def test_answers_are_those_of_the_families(first_tries):
    right = ASKED["answers"]
    for name, family in first_tries.FAMILIES.items():
        assert family.answer in right[name]


@pytest.mark.parametrize(
    ("question", "family"),
    [
        ("Hello!", "greeting"),
        ("Who are you?", "identity"),
        ("How are you?", "feeling"),
        ("Translate a into b.", "cannot"),
    ],
)
def test_questions_from_outside_that_are_first_tries_get_their_answer(first_tries, question, family):
    row = first_tries.FAMILIES[family]
    assert first_tries.reply(question) == (row.thinking, row.answer)


def test_other_questions_from_outside_are_none(first_tries):
    assert first_tries.reply("Who wrote Hamlet?") is None
