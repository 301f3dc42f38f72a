"""The facts of the little world as questions and texts, for training and testing search.

A fact is worded in several ways. Some wordings are never trained on, and the test uses these. Facts about who has what
are also held out by a hash of person and thing, in any wording.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from tiny.unknown import topic
from tiny.words import CAPITALS, COLOURS, COUNTS, DAYS, GROUPS, LEGS, MONTHS, NAMES, OPPOSITES, SOUNDS, THINGS

Values = dict[str, str]
HELD_OUT_ONE_IN = 4


@dataclass(frozen=True)
class Wordings:
    """Ways to ask for a fact and to state it, with {names} of its values."""

    questions: tuple[str, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """One kind of facts.

    `facts` are all facts, or a function that draws one. `trained` and `tested` are their wordings. `turned`: the values
    `a` and `b` may change places in a question or a text. `in_test` texts and questions of this kind are in the test.
    """

    facts: list[Values] | Callable[[random.Random], Values]
    trained: Wordings
    tested: Wordings
    turned: bool = False
    in_test: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Pair:
    """A question and a text that answers it. Pairs with the same key state the same fact."""

    key: str
    question: str
    text: str


def _counts() -> list[Values]:
    """Facts of the form: {whole} has {number} {parts}."""
    found = []
    for question, answer in COUNTS.items():
        inside = re.fullmatch(r"(\w+) are (?:in|on) (.+)", question)
        owned = re.fullmatch(r"(\w+) does (.+) have", question)
        parts, whole = (inside or owned).groups()  # type: ignore[union-attr]
        found.append({"whole": whole, "parts": parts, "number": answer.split()[0]})
    known = {(each["whole"], each["parts"]) for each in found}
    for animals, number in LEGS.items():
        whole = ("an " if animals[0] in "aeiou" else "a ") + animals.removesuffix("s")
        if (whole, "legs") not in known:
            found.append({"whole": whole, "parts": "legs", "number": str(number)})
    return found


def _neighbours(names: list[str]) -> list[Values]:
    return [{"one": name, "next": names[(place + 1) % len(names)]} for place, name in enumerate(names)]


def _owned(rng: random.Random) -> Values:
    return {"name": rng.choice(NAMES), "things": rng.choice(THINGS), "number": str(rng.randint(2, 99))}


def _placed(rng: random.Random) -> Values:
    return {"name": rng.choice(NAMES), "things": rng.choice(THINGS), "places": rng.choice(GROUPS)}


def _note(rng: random.Random) -> Values:
    return {"topic": topic(rng), "other": topic(rng)}


_WHEN = Wordings(
    (
        "What {unit} comes after {one}?", "Which {unit} is after {one}?", "What {unit} is right before {next}?",
        "Which {unit} comes before {next}?", "What {unit} follows {one}?",
    ),
    ("{next} comes after {one}.", "{one} is the {unit} before {next}.", "After {one} comes {next}."),
)  # fmt: skip
_WHEN_TESTED = Wordings(
    ("Tell me which {unit} comes right after {one}.", "Name the {unit} before {next}."),
    ("{next} is the {unit} right after {one}.", "Right before {next} comes {one}."),
)

KINDS: dict[str, Kind] = {
    "capital": Kind(
        [{"country": country, "city": city} for country, city in CAPITALS.items()],
        Wordings(
            (
                "What is the capital of {country}?", "Name the capital of {country}.",
                "Which city is the capital of {country}?", "{city} is the capital of which country?",
                "In which country is {city}?", "capital of {country}",
            ),
            (
                "{city} is the capital of {country}.", "The capital of {country} is {city}.",
                "The city of {city} is in {country}.", "{country} has a capital with the name {city}.",
            ),
        ),
        Wordings(
            ("What is the name of {country}'s capital?", "Tell me the country of which {city} is the capital."),
            ("In {country} the capital city is {city}.", "{city}, a big city, is the capital of {country}."),
        ),
        in_test=(15, 2),
    ),
    "colour": Kind(
        [{"what": what, "colour": colour} for what, colour in COLOURS.items()],
        Wordings(
            ("What colour is {what}?", "What color is {what}?", "Tell me the colour of {what}.", "colour of {what}"),
            ("{what} is {colour}.", "The colour of {what} is {colour}.", "{colour} is the color of {what}."),
        ),
        Wordings(
            ("Which colour has {what}?", "Is {what} red, green or what other colour?"),
            ("The color that {what} has is {colour}.", "Look at {what}: it is {colour}."),
        ),
        in_test=(16, 2),
    ),
    "opposite": Kind(
        [dict(zip("ab", pair.split(), strict=True)) for pair in OPPOSITES.split("|")],
        Wordings(
            (
                "What is the opposite of {a}?", 'What is the opposite of "{a}"?', "Tell me the opposite of {a}.",
                "The opposite of {a} is?",
            ),
            ("The opposite of {a} is {b}.", "{a} and {b} are opposites.", '"{a}" is the opposite of "{b}".'),
        ),
        Wordings(
            ("Which word is the opposite of {a}?", "Name the opposite of the word {a}."),
            ("Two opposites are {a} and {b}.", "The word {a} has the opposite {b}."),
        ),
        turned=True,
        in_test=(30, 2),
    ),
    "sound": Kind(
        [{"animal": animal, "sound": sound} for animal, sound in SOUNDS.items()],
        Wordings(
            ("What does a {animal} say?", "What sound does a {animal} make?", "Which animal says {sound}?"),
            ("A {animal} says {sound}.", "The sound of a {animal} is {sound}.", "{sound} is what a {animal} says."),
        ),
        Wordings(
            ("Tell me the sound that a {animal} makes.", "Which sound is that of a {animal}?"),
            ("When a {animal} makes a sound, it is {sound}.", "The {animal} in the garden says {sound}."),
        ),
        in_test=(7, 2),
    ),
    "count": Kind(
        _counts(),
        Wordings(
            (
                "How many {parts} are in {whole}?", "How many {parts} does {whole} have?",
                "Tell me, how many {parts} has {whole}?", "how many {parts} in {whole}",
            ),
            ("{whole} has {number} {parts}.", "There are {number} {parts} in {whole}.", "{number} {parts}: {whole}."),
        ),
        Wordings(
            ("What is the number of {parts} that {whole} has?", "Count the {parts} of {whole}."),
            ("The number of {parts} of {whole} is {number}.", "For {whole} we count {number} {parts}."),
        ),
        in_test=(24, 2),
    ),
    "day": Kind([{**each, "unit": "day"} for each in _neighbours(DAYS)], _WHEN, _WHEN_TESTED, in_test=(7, 1)),
    "month": Kind([{**each, "unit": "month"} for each in _neighbours(MONTHS)], _WHEN, _WHEN_TESTED, in_test=(12, 1)),
    "age": Kind(
        [{"name": name} for name in NAMES],
        Wordings(
            ("How old is {name}?", "What is the age of {name}?", "Tell me how old {name} is."),
            ("{name} is {number} years old.", "{name} has lived for {number} years.", "The age of {name} is {number}."),
        ),
        Wordings(
            ("How many years old is {name}?", "Can you tell me the age of {name}?"),
            ("With {number} years {name} is in the school.", "At the moment {name} is {number} years old."),
        ),
        in_test=(24, 2),
    ),
    "price": Kind(
        [{"things": things} for things in THINGS],
        Wordings(
            ("How much do {things} cost?", "What do {things} cost?", "What is the price of {things}?"),
            (
                "{things} cost {number} dollars each.", "The price of {things} is {number} dollars.",
                "You pay {number} dollars for {things}.",
            ),
        ),
        Wordings(
            ("How many dollars do I pay for {things}?", "Tell me the cost of {things}."),
            ("The shop sells {things} for {number} dollars.", "For {things} the shop takes {number} dollars."),
        ),
        in_test=(30, 2),
    ),
    "owned": Kind(
        _owned,
        Wordings(
            (
                "How many {things} does {name} have?", "How many {things} has {name}?",
                "Tell me how many {things} {name} owns.", "{name} {things}",
            ),
            ("{name} has {number} {things}.", "{name} owns {number} {things}.", "{number} {things} belong to {name}."),
        ),
        Wordings(
            ("What is the number of {things} that {name} has?", "How many {things} are with {name}?"),
            ("We count {number} {things} that {name} has.", "With {name} there are {number} {things}."),
        ),
        in_test=(23, 2),
    ),
    "placed": Kind(
        _placed,
        Wordings(
            (
                "Where are the {things} of {name}?", "Where does {name} keep the {things}?",
                "Where are {name}'s {things}?",
            ),
            (
                "{name} keeps the {things} in the {places}.", "The {things} of {name} are in the {places}.",
                "In the {places} are {name}'s {things}.",
            ),
        ),
        Wordings(
            ("Tell me where {name} has the {things}.", "In which place are the {things} of {name}?"),
            ("{name} puts all {things} into the {places}.", "Look in the {places} for the {things} of {name}."),
        ),
        in_test=(12, 2),
    ),
    "note": Kind(
        _note,
        Wordings(
            ("What is {topic}?", "Tell me about {topic}.", "{topic}", "What do you know about {topic}?"),
            (
                "{topic} is like {other}.", "This is about {topic}.", "About {topic}: see {other}.",
                "{topic}, not {other}",
            ),
        ),
        Wordings((), ()),
    ),
}  # fmt: skip

_AROUND = ("Everybody knows that.", "That is all.", "We learned it in school.", "So it is.", "It was that way before.")


def draw_pair(rng: random.Random) -> Pair:
    """A question and a text of the training side."""
    name = rng.choice(list(KINDS))
    kind = KINDS[name]
    while True:
        values = kind.facts(rng) if callable(kind.facts) else rng.choice(kind.facts)
        if not held_out(name, values):
            break
    text = _worded(rng, kind, kind.trained.texts, values)
    if rng.random() < 0.25:
        around = rng.choice(_AROUND)
        text = f"{around} {text}" if rng.random() < 0.5 else f"{text} {around}"
    return Pair(_key(name, values), _worded(rng, kind, kind.trained.questions, values), text)


def held_out(kind: str, values: Values) -> bool:
    """Whether the hash of person and thing keeps a fact out of training."""
    if kind not in ("owned", "placed"):
        return False
    digest = hashlib.sha256(f"{values['name']} {values['things']}".encode()).digest()
    return digest[0] % HELD_OUT_ONE_IN == 0


def test_pairs(seed: int) -> tuple[list[str], list[tuple[str, int]]]:
    """Texts of the test, each about a fact of its own, and questions with the place of the text that answers them."""
    rng = random.Random(f"search test {seed}")
    texts: list[tuple[str, str, Values]] = []
    asked: list[tuple[str, Values]] = []
    for name, kind in KINDS.items():
        facts = kind.facts
        if callable(facts):
            found: dict[str, Values] = {}
            while len(found) < kind.in_test[0]:
                values = facts(rng)
                # Each thing of a person is in one text only, so that exactly one text answers.
                key = _key("", values)
                if held_out(name, values) and not any(_key("", other) == key for _, _, other in texts):
                    found[key] = values
            facts = list(found.values())
        chosen = rng.sample(facts, kind.in_test[0])
        texts += [(name, _worded(rng, kind, kind.tested.texts, values), values) for values in chosen]
        asked += [(name, values) for values in rng.sample(chosen, kind.in_test[1])]
    rng.shuffle(texts)
    places = {_key(name, values): place for place, (name, _, values) in enumerate(texts)}
    questions = [
        (_worded(rng, KINDS[name], KINDS[name].tested.questions, values), places[_key(name, values)])
        for name, values in asked
    ]
    return [text for _, text, _ in texts], questions


def _key(kind: str, values: Values) -> str:
    return " ".join(
        [kind, *(value for name, value in sorted(values.items()) if name not in ("number", "places", "other"))]
    )


def _worded(rng: random.Random, kind: Kind, wordings: tuple[str, ...], values: Values) -> str:
    filled = {"number": str(rng.randint(2, 99)), **values}
    if kind.turned and rng.random() < 0.5:
        filled["a"], filled["b"] = filled["b"], filled["a"]
    text = rng.choice(wordings).format(**filled)
    return text[0].upper() + text[1:]
