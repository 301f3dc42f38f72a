"""Problems about letters, days and months, and the facts of a little world (facts are taught, never held out)."""

from __future__ import annotations

import random

from tiny.problems import Draft, kind
from tiny.words import CAPITALS, COLOURS, COUNTS, DAYS, MONTHS, OPPOSITES, SOUNDS, SPELLED


@kind("count_letter", "multi", 5, late=9)
def count_letter(rng: random.Random) -> Draft:
    word = rng.choice(SPELLED)
    letter = rng.choice(word) if rng.random() < 0.85 else rng.choice("abcdefghiklmnoprstuy")
    question = rng.choice(
        [
            f'How many times does the letter {letter} appear in "{word}"?',
            f"How many times is the letter {letter} in the word {word}?",
            f'How many {letter}\'s are in "{word}"?',
            f"How many letters {letter} are in {word}?",
            f"Count the letter {letter} in {word}.",
        ]
    )
    seen, marks = 0, []
    for c in word:
        if c == letter:
            seen += 1
            marks.append(f"{c}{seen}")
        else:
            marks.append(c)
    return Draft(f"count_letter {letter} {word}", question, " ".join(marks), str(seen))


@kind("word_length", "multi", 1.5, late=3)
def word_length(rng: random.Random) -> Draft:
    word = rng.choice(SPELLED)
    question = rng.choice(
        [
            f'How many letters are in "{word}"?',
            f"How many letters does the word {word} have?",
            f"How long is the word {word}?",
        ]
    )
    working = " ".join(f"{c}{i + 1}" for i, c in enumerate(word))
    return Draft(f"word_length {word}", question, working, f"{len(word)} letters")


@kind("spell", "fact", 1.5)
def spell(rng: random.Random) -> Draft:
    word = rng.choice(SPELLED)
    question = rng.choice([f"Spell {word}.", f'Spell the word "{word}".', f"How do you spell {word}?"])
    return Draft(f"spell {word}", question, " ".join(word), "-".join(word))


@kind("weekday", "multi", 3)
def weekday(rng: random.Random) -> Draft:
    start, steps = rng.randrange(7), rng.randint(2, 9)
    back = rng.random() < 0.4
    sign = -1 if back else 1
    if back:
        question = rng.choice(
            [
                f"Today is {DAYS[start]}. What day was it {steps} days ago?",
                f"Which day is {steps} days before {DAYS[start]}?",
            ]
        )
    else:
        question = rng.choice(
            [
                f"Today is {DAYS[start]}. What day will it be in {steps} days?",
                f"Which day comes {steps} days after {DAYS[start]}?",
                f"It is {DAYS[start]}. What day is it in {steps} days?",
            ]
        )
    path = [DAYS[(start + sign * i) % 7] for i in range(1, steps + 1)]
    working = "\n".join(f"{i} {day}" for i, day in enumerate(path, 1))
    return Draft(f"weekday {start} {sign * steps}", question, working, path[-1])


def neighbours(rng: random.Random, names: list[str], unit: str) -> Draft:
    """The day or month right after or before another."""
    i = rng.randrange(len(names))
    after = rng.random() < 0.6
    word = "after" if after else "before"
    answer = names[(i + (1 if after else -1)) % len(names)]
    question = rng.choice(
        [
            f"What {unit} comes {word} {names[i]}?",
            f"Which {unit} is {word} {names[i]}?",
            f"What {unit} is right {word} {names[i]}?",
        ]
    )
    return Draft(f"{unit} {word} {i}", question, f"{word} {names[i]} {answer}", answer)


@kind("next_day", "fact", 1)
def next_day(rng: random.Random) -> Draft:
    return neighbours(rng, DAYS, "day")


@kind("next_month", "fact", 1)
def next_month(rng: random.Random) -> Draft:
    return neighbours(rng, MONTHS, "month")


@kind("opposite", "fact", 1.5)
def opposite(rng: random.Random) -> Draft:
    a, b = rng.choice(OPPOSITES.split("|")).split()
    if rng.random() < 0.5:
        a, b = b, a
    question = rng.choice(
        [
            f"What is the opposite of {a}?",
            f'What is the opposite of "{a}"?',
            f"Tell me the opposite of {a}.",
            f"The opposite of {a} is?",
        ]
    )
    return Draft(f"opposite {a}", question, f"{a} {b}", b)


@kind("colour", "fact", 1)
def colour(rng: random.Random) -> Draft:
    what, answer = rng.choice(list(COLOURS.items()))
    spelling = rng.choice(["colour", "color"])
    question = rng.choice(
        [
            f"What {spelling} is {what}?",
            f"Which {spelling} does {what.removeprefix('the ')} have?",
            f"Tell me the {spelling} of {what}.",
        ]
    )
    return Draft(f"colour {what}", question, f"{what} {answer}", answer)


@kind("capital", "fact", 1)
def capital(rng: random.Random) -> Draft:
    country, city = rng.choice(list(CAPITALS.items()))
    if rng.random() < 0.25:
        question = rng.choice([f"{city} is the capital of which country?", f"In which country is {city}?"])
        return Draft(f"country {city}", question, f"{city} {country}", country)
    question = rng.choice(
        [
            f"What is the capital of {country}?",
            f"Name the capital of {country}.",
            f"Which city is the capital of {country}?",
        ]
    )
    return Draft(f"capital {country}", question, f"{country} {city}", city)


@kind("fact", "fact", 1.5)
def fact(rng: random.Random) -> Draft:
    if rng.random() < 0.25:
        animal, sound = rng.choice(list(SOUNDS.items()))
        question = rng.choice([f"What does a {animal} say?", f"What sound does a {animal} make?"])
        return Draft(f"sound {animal}", question, f"{animal} {sound}", sound)
    what, answer = rng.choice(list(COUNTS.items()))
    question = rng.choice([f"How many {what}?", f"Tell me, how many {what}?", f"how many {what}"])
    return Draft(f"fact {what}", question, answer, answer)
