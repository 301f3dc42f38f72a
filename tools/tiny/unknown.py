"""Questions from outside the little world, answered with one short sentence and a stop."""

from __future__ import annotations

import random

from tiny.words import FOREIGN, UNKNOWN_FRAMES, UNKNOWN_TOPICS, listed

ANSWER = "I don't know that one."
THINKING = "I can't work this out."

ONSETS = listed("b c d f g h j k l m n p r s t v w z br ch st tr pl sh")
VOWELS = listed("a e i o u ea ou ie")
CODAS = listed(" n r s t l m ck nd", " ")

SCRIPTS = ((0x20, 0x7E), (0xC0, 0x17F), (0x391, 0x3C9), (0x410, 0x44F), (0x5D0, 0x5EA), (0x627, 0x64A), (0x905, 0x939),
           (0xE01, 0xE2E), (0x3041, 0x3096), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3), (0x1F600, 0x1F64F))  # fmt: skip


def made_up_word(rng: random.Random) -> str:
    """Letters that look like a word of some European language."""
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.randint(1, 4)))


def topic(rng: random.Random) -> str:
    """A subject that the model is not taught."""
    way = rng.random()
    if way < 0.6:
        return rng.choice(UNKNOWN_TOPICS)
    if way < 0.9:
        return " ".join(made_up_word(rng) for _ in range(rng.randint(1, 3)))
    return made_up_word(rng).capitalize()


def gibberish(rng: random.Random) -> str:
    """Random characters of one script, in groups."""
    low, high = rng.choice(SCRIPTS)
    groups = ["".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 6))) for _ in range(rng.randint(1, 5))]
    return " ".join(groups).strip() or "?"


def paragraph(rng: random.Random) -> str:
    """A longer text of made-up sentences, sometimes with numbers in it."""
    sentences = []
    for _ in range(rng.randint(2, 4) if rng.random() < 0.9 else rng.randint(5, 14)):
        words = [
            str(rng.randint(1, 2500)) if rng.random() < 0.06 else made_up_word(rng) for _ in range(rng.randint(4, 12))
        ]
        sentences.append(" ".join(words).capitalize() + rng.choice([".", ".", "?", "!", ","]))
    return " ".join(sentences)


def unknown_question(rng: random.Random) -> str:
    """One question or text from outside the little world."""
    way = rng.random()
    if way < 0.55:
        return rng.choice(UNKNOWN_FRAMES).format(x=topic(rng), y=topic(rng))
    if way < 0.7:
        return rng.choice(FOREIGN)
    if way < 0.85:
        return gibberish(rng)
    return paragraph(rng)


def short_text(rng: random.Random) -> str:
    """A text to repeat: a character, a word, some numbers, a phrase, a sentence."""
    way = rng.random()
    if way < 0.25:
        return rng.choice("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789.,!?-+=*/#")
    if way < 0.45:
        return " ".join(made_up_word(rng) for _ in range(rng.randint(1, 6)))
    if way < 0.65:
        return " ".join(str(rng.randint(0, 999)) for _ in range(rng.randint(1, 4)))
    return unknown_question(rng)
