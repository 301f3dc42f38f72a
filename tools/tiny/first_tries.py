"""Questions that people try first on an unknown model: a greeting, who it is, what it can do, a small sum.

None of the wordings here is that of a try in tests/support/tiny_first_tries.json.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from tiny import unknown
from tiny.arithmetic import minus, over, plus, times
from tiny.first_tries_slots import NUMBER_WORDS, SLOTS
from tiny.first_tries_words import CORES, SUM_FRAMES
from tiny.problems import Problem
from tiny.words import NAMES, SPELLED, THINGS, listed

SKILLS = "I do short arithmetic and word problems."
EXAMPLE = "Ask me something like 17 + 25."
SUMS = 28


@dataclass(frozen=True)
class Family:
    """Tries with the same answer: their share among the first tries in percent, the working, the answer."""

    share: int
    thinking: str
    answer: str


FAMILIES = {
    "greeting": Family(13, "The user greets me.", f"Hello! {EXAMPLE}"),
    "identity": Family(15, "The user asks who I am.", f"I am tiny, a small model inside qwen3cpu. {SKILLS}"),
    "ability": Family(14, "The user asks what I can do.", f"{SKILLS} {EXAMPLE}"),
    "feeling": Family(7, "The user asks how I am.", f"I am a small program and have no feelings. {EXAMPLE}"),
    "thanks": Family(7, "The user thanks me.", "You are welcome!"),
    "goodbye": Family(7, "The user leaves.", "Goodbye!"),
    "cannot": Family(9, "The user wants what I can't do.", f"I can't do that. {SKILLS}"),
}

BEFORE = listed(
    "hey |hi |hi, |hello, |ok |okay, |so |well, |um, |please |excuse me, |sorry, |oh |now |alright, |yo |hey, ", "|"
)
AFTER = listed(" please| then| now| buddy| my friend| ok?| for me| here| tiny| again| :)| really", "|")
ASKING = ("who", "what", "which", "how", "are", "do ", "does", "can", "could", "will", "is ", "where", "why", "have ")
FROM_OUTSIDE = {
    "greeting": ("Hello!", "Hi there", "Good morning"),
    "identity": ("Who are you?", "What is your name?"),
    "feeling": ("How are you?",),
    "thanks": ("Thank you!",),
    "cannot": ("Write a ", "Translate ", "Give me a recipe ", "Summarize ", "Fix the bug ", "Tell me a joke.",
               "Sing a song.", "What is the weather like today?"),
}  # fmt: skip


def fill(text: str, rng: random.Random) -> str:
    """The text with each {slot} replaced by one of its words; {word} is any word, {topic} any subject."""

    def word(match: re.Match[str]) -> str:
        if match[1] == "topic":
            return unknown.topic(rng)
        if match[1] == "word":
            return rng.choice([rng.choice(SPELLED), rng.choice(NAMES), rng.choice(THINGS), unknown.made_up_word(rng)])
        return fill(rng.choice(SLOTS[match[1]]), rng)

    return re.sub(r"\{(\w+)\}", word, text)


def misspelt(text: str, rng: random.Random) -> str:
    """The text with one letter left out, doubled, or changed with its neighbour."""
    at = rng.randrange(len(text) - 1)
    return text[:at] + rng.choice([text[at + 1], text[at] * 2 + text[at + 1], text[at + 1] + text[at]]) + text[at + 2 :]


def dressed(text: str, rng: random.Random) -> str:
    """The text as people type it: with words around it, and other apostrophes, letters and last mark."""
    question = text.startswith(ASKING)
    if rng.random() < 0.12:
        text = rng.choice(BEFORE) + text
    if rng.random() < 0.08:
        text += rng.choice(AFTER)
    if rng.random() < 0.25:
        text = text.replace("what is", "what's").replace("who is", "who's").replace("how is", "how's")
    if rng.random() < 0.15:
        text = text.replace("'", "")
    if rng.random() < 0.05:
        text = misspelt(text, rng)
    way = rng.random()
    if way < 0.45:
        text = text[0].upper() + text[1:]
    elif way < 0.5:
        text = text.upper()
    elif way < 0.6:
        text = text.lower()
    marks = ["?", "?", "?", "?", "", "", "??", " ?", "!"] if question else ["", "", "", ".", "!", "!", "!!", "...", " "]
    return text + rng.choice(marks)


def first_try(rng: random.Random) -> tuple[str, str, str]:
    """A first try with working and answer."""
    at = rng.randrange(SUMS + sum(family.share for family in FAMILIES.values()))
    for name, family in FAMILIES.items():
        if at < family.share:
            core = fill(rng.choice(CORES[name]), rng)
            return dressed(core, rng), family.thinking, family.answer
        at -= family.share
    problem = small_sum(rng)
    while problem.held_out:
        problem = small_sum(rng)
    return problem.question, problem.thinking, problem.answer + "."


def small_sum(rng: random.Random) -> Problem:
    """A sum of small numbers, sometimes in words. Its key and its working are those of the kinds of problems."""
    a, b = (rng.randint(0, 12 if rng.random() < 0.8 else 30) for _ in range(2))
    low, high = min(a, b), max(a, b)
    way = rng.random()
    if way < 0.6:
        name, key, working, answer = "add", f"add {low} {high}", plus(a, b), a + b
        ways = ["{a} + {b}", "{a} + {b}", "{a}+{b}", "{a}+{b}", "{a} plus {b}", "{a} and {b}", "the sum of {a} and {b}"]
    elif way < 0.8:
        a, b = high, low
        name, key, working, answer = "subtract", f"subtract {a} {b}", minus(a, b), a - b
        ways = ["{a} - {b}", "{a} - {b}", "{a}-{b}", "{a} minus {b}", "{a} take away {b}"]
    elif way < 0.93:
        a, b = rng.randint(1, 12), rng.randint(1, 12)
        name, key, working, answer = "multiply", f"multiply {min(a, b)} {max(a, b)}", times(a, b), a * b
        ways = ["{a} x {b}", "{a} * {b}", "{a}*{b}", "{a}x{b}", "{a} times {b}", "{a} × {b}"]
    else:
        b, answer = rng.randint(1, 12), rng.randint(1, 12)
        a = b * answer
        name, key, working = "divide", f"divide {a} {b}", over(a, b)
        ways = ["{a} / {b}", "{a}/{b}", "{a} divided by {b}", "{a} : {b}", "{a} ÷ {b}"]
    asked = rng.choice(ways)
    in_words = not set(asked) & set("+-*/:×÷") and max(a, b) < len(NUMBER_WORDS) and rng.random() < 0.25
    a_text, b_text = (NUMBER_WORDS[n] if in_words else str(n) for n in (a, b))
    question = rng.choice(SUM_FRAMES).format(x=asked.format(a=a_text, b=b_text))
    return Problem(name, "single", key, question, working, str(answer))


def reply(question: str) -> tuple[str, str] | None:
    """Working and answer when a question from outside the world is a first try."""
    for name, starts in FROM_OUTSIDE.items():
        if question.startswith(starts):
            return FAMILIES[name].thinking, FAMILIES[name].answer
    return None
