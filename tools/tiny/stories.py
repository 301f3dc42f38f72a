"""Word problems: people who buy, lose, compare and share things, shopping, ages, legs, who is the tallest."""

from __future__ import annotations

import random
from itertools import pairwise

from tiny.arithmetic import minus, number, over, plus, times
from tiny.problems import Draft, kind
from tiny.words import GROUPS, LEGS, NAMES, THINGS

GAINS = (
    "{p} buys {n} more",
    "{p} finds {n} more",
    "{p} gets {n} more",
    "{p} gets {n} from {q}",
    "{q} gives {p} {n} more",
)
LOSSES = ("{p} gives {n} to {q}", "{p} loses {n}", "{p} sells {n}", "{p} gives away {n}", "{q} takes {n} of them")
HOLDS = ("{p} has {n} {t}", "{p} owns {n} {t}", "There are {n} {t} in {p}'s bag", "{p} starts with {n} {t}")


def unusual_word(rng: random.Random) -> str:
    """A made-up word of two or three syllables, so that the model copies words instead of knowing them."""
    syllables = ["".join((rng.choice("bdfgklmnprstvz"), rng.choice("aeiou"))) for _ in range(rng.randint(2, 3))]
    return "".join(syllables)


def people(rng: random.Random, count: int) -> list[str]:
    """Different first names, a few of them made up."""
    names = rng.sample(NAMES, count)
    return [unusual_word(rng).capitalize() if rng.random() < 0.05 else name for name in names]


def thing(rng: random.Random) -> str:
    """A plural noun, rarely a made-up one."""
    return unusual_word(rng) + "s" if rng.random() < 0.05 else rng.choice(THINGS)


def have_now(rng: random.Random, person: str, things: str) -> str:
    """The question for the number of things that a person has in the end."""
    return rng.choice(
        [
            f"How many {things} does {person} have now?",
            f"How many {things} does {person} have?",
            f"How many {things} does {person} have in the end?",
            f"How many {things} are left for {person}?",
            f"Now how many {things} does {person} have?",
        ]
    )


def join(rng: random.Random, sentences: list[str]) -> str:
    """Sentences put together with full stops, sometimes with "then"."""
    text = sentences[0]
    for sentence in sentences[1:]:
        text += rng.choice([". ", ". ", ". Then ", ", then ", " and "]) + sentence
    return text + ". "


def chain_story(rng: random.Random, events: int, distractor: bool) -> Draft:
    """A person with things who gains and loses some, one line of working for each event."""
    p, q, other = people(rng, 3)
    t = thing(rng)
    start = running = number(rng, 3, 60)
    sentences, lines = [rng.choice(HOLDS).format(p=p, n=start, t=t)], []
    changes = [start]
    if distractor:
        sentences.append(f"{other} has {number(rng, 2, 50)} {t}")
    for _ in range(events):
        n = number(rng, 2, 40)
        if n < running and rng.random() < 0.5:
            sentences.append(rng.choice(LOSSES).format(p=p, q=q, n=n))
            lines.append(minus(running, n))
            running -= n
            changes.append(-n)
        else:
            sentences.append(rng.choice(GAINS).format(p=p, q=q, n=n))
            lines.append(plus(running, n))
            running += n
            changes.append(n)
    question = join(rng, sentences) + have_now(rng, p, t)
    key = f"chain {'+'.join(map(str, changes)).replace('+-', '-')}"
    if events == 1:
        a, b = changes
        key = f"add {min(a, b)} {max(a, b)}" if b > 0 else f"subtract {a} {-b}"
    return Draft(key, question, "\n".join(lines), f"{running} {t}")


@kind("story_one", "single", 4)
def story_one(rng: random.Random) -> Draft:
    return chain_story(rng, 1, distractor=rng.random() < 0.2)


@kind("story_chain", "multi", 7)
def story_chain(rng: random.Random) -> Draft:
    return chain_story(rng, rng.choice([2, 2, 3]), distractor=rng.random() < 0.2)


@kind("story_together", "single", 2)
def story_together(rng: random.Random) -> Draft:
    p, q = people(rng, 2)
    t, a, b = thing(rng), number(rng), number(rng)
    question = rng.choice(
        [
            f"{p} has {a} {t} and {q} has {b} {t}. How many {t} do they have together?",
            f"{p} has {a} {t}. {q} has {b}. How many {t} do they have in all?",
            f"There are {a} {t} on the table and {b} on the floor. How many {t} are there altogether?",
        ]
    )
    return Draft(f"add {min(a, b)} {max(a, b)}", question, plus(a, b), f"{a + b} {t}")


@kind("story_relative", "multi", 8)
def story_relative(rng: random.Random) -> Draft:
    """Two or three people, each with a count relative to the previous one. The question is about one or all of them."""
    count = rng.choice([2, 2, 3])
    names, t = people(rng, count), thing(rng)
    values, parts, lines, marks = [number(rng, 3, 40)], [], [], []
    parts.append(rng.choice(["{p} has {n} {t}", "{p} owns {n} {t}"]).format(p=names[0], n=values[0], t=t))
    for name, previous in zip(names[1:], names, strict=False):
        base = values[-1]
        way = rng.random()
        if way < 0.4:
            n = rng.randint(2, 30)
            parts.append(f"{name} has {n} more {rng.choice(['', t + ' '])}than {previous}".replace("  ", " "))
            values.append(base + n)
            lines.append(f"for {name}: {plus(base, n)}")
            marks.append(f"+{n}")
        elif way < 0.7 and base > 3:
            n = rng.randint(1, min(base - 1, 30))
            parts.append(f"{name} has {n} {rng.choice(['fewer', 'less'])} than {previous}")
            values.append(base - n)
            lines.append(f"for {name}: {minus(base, n)}")
            marks.append(f"-{n}")
        elif base <= 12:
            k = rng.randint(2, 5)
            word = "twice" if k == 2 else f"{k} times"
            parts.append(f"{name} has {word} as many {rng.choice(['', t + ' '])}as {previous}")
            values.append(base * k)
            lines.append(f"for {name}: {times(base, k)}")
            marks.append(f"x{k}")
        else:
            parts.append(f"{name} has as many as {previous}")
            values.append(base)
            lines.append(f"for {name}: {base}")
            marks.append("=")
    together = count == 2 or rng.random() < 0.5
    if together:
        running = values[0]
        for value in values[1:]:
            lines.append(plus(running, value))
            running += value
        ending = rng.choice([f"How many {t} do they have together?", f"How many {t} do they have in all?"])
    else:
        running = values[-1]
        ending = f"How many {t} does {names[-1]} have?"
    question = rng.choice([". ", ". ", ", and "]).join(parts) + ". " + ending
    key = f"relative {values[0]} {' '.join(marks)} {together}"
    return Draft(key, question, "\n".join(lines), f"{running} {t}")


@kind("story_groups", "multi", 6)
def story_groups(rng: random.Random) -> Draft:
    g, t = rng.choice(GROUPS), thing(rng)
    p = people(rng, 1)[0]
    n, m = rng.randint(2, 12), rng.randint(2, 12)
    product = n * m
    start = rng.choice(
        [
            f"{p} has {n} {g} with {m} {t} each",
            f"There are {n} {g} with {m} {t} in each",
            f"{p} fills {n} {g} with {m} {t} each",
        ]
    )
    if rng.random() < 0.5:
        r = rng.randint(2, 30)
        middle = rng.choice(
            [f"{r} more {t} are on the table", f"{p} gets {r} more {t}", f"There are {r} more {t} on the floor"]
        )
        value, line, mark = product + r, plus(product, r), f"+{r}"
    else:
        r = rng.randint(1, min(product - 1, 30))
        middle = rng.choice(
            [f"{r} of the {t} are broken", f"{p} gives away {r} {t}", f"{p} sells {r} of them", f"{r} {t} get lost"]
        )
        value, line, mark = product - r, minus(product, r), f"-{r}"
        if "broken" in middle:
            question = f"{start}. {middle}. How many {t} are not broken?"
            return Draft(f"groups {n} {m} {mark}", question, f"{times(n, m)}\n{line}", f"{value} {t}")
    ending = rng.choice(
        [f"How many {t} are there now?", f"How many {t} are there in all?", f"How many {t} does that make?"]
    )
    return Draft(f"groups {n} {m} {mark}", f"{start}. {middle}. {ending}", f"{times(n, m)}\n{line}", f"{value} {t}")


@kind("story_table", "single", 2)
def story_table(rng: random.Random) -> Draft:
    t, g, p = thing(rng), rng.choice(GROUPS), people(rng, 1)[0]
    n, m = rng.randint(2, 12), rng.randint(2, 12)
    if rng.random() < 0.5:
        question = rng.choice(
            [
                f"{p} has {n} {g} with {m} {t} each. How many {t} is that?",
                f"There are {n} {g} with {m} {t} in each. How many {t} are there in all?",
                f"How many {t} are in {n} {g} of {m} {t} each?",
            ]
        )
        return Draft(f"multiply {min(n, m)} {max(n, m)}", question, times(n, m), f"{n * m} {t}")
    question = rng.choice(
        [
            f"{p} puts {n * m} {t} into {m} {g}, the same number in each. How many {t} are in each?",
            f"{m} children share {n * m} {t} equally. How many {t} does each child get?",
            f"{n * m} {t} are shared equally by {m} friends. How many {t} does each friend get?",
        ]
    )
    return Draft(f"divide {n * m} {m}", question, over(n * m, m), f"{n} {t}")


@kind("story_share", "multi", 4)
def story_share(rng: random.Random) -> Draft:
    p, q = people(rng, 2)
    t = thing(rng)
    m, each = rng.randint(2, 10), rng.randint(2, 10)
    whole = m * each
    if rng.random() < 0.5 and whole > 5:
        a = rng.randint(2, whole - 2)
        question = rng.choice(
            [
                f"{p} has {a} {t} and {q} has {whole - a}. They put them together and share them among {m} children.",
                f"{p} brings {a} {t} and {q} brings {whole - a} {t}. {m} children share them all equally.",
            ]
        )
        ending = f" How many {t} does each child get?"
        return Draft(
            f"share {sorted([a, whole - a])} {m}",
            question + ending,
            f"{plus(a, whole - a)}\n{over(whole, m)}",
            f"{each} {t}",
        )
    eaten = rng.randint(1, each - 1)
    verb = rng.choice(["loses", "gives away", "uses"])
    question = (
        f"{m} children share {whole} {t} equally. Each child {verb} {eaten}. How many {t} does each child have left?"
    )
    return Draft(
        f"share {whole} {m} -{eaten}", question, f"{over(whole, m)}\n{minus(each, eaten)}", f"{each - eaten} {t}"
    )


@kind("story_shop", "multi", 6)
def story_shop(rng: random.Random) -> Draft:
    p = people(rng, 1)[0]
    t, u = rng.sample(THINGS, 2)
    n, a = rng.randint(2, 9), rng.randint(2, 9)
    if rng.random() < 0.5:
        m, b = rng.randint(2, 9), rng.randint(2, 9)
        question = rng.choice(
            [
                f"{p} buys {n} {t} for {a} dollars each and {m} {u} for {b} dollars each. How much does {p} pay?",
                f"{t.capitalize()} cost {a} dollars each and {u} cost {b} dollars each. "
                f"How much are {n} {t} and {m} {u}?",
                f"{p} buys {n} {t} at {a} dollars and {m} {u} at {b} dollars. What is the total cost?",
            ]
        )
        lines = [times(n, a), times(m, b), plus(n * a, m * b)]
        return Draft(f"shop {sorted([(n, a), (m, b)])}", question, "\n".join(lines), f"{n * a + m * b} dollars")
    cost = n * a
    money = rng.randint(cost + 1, min(cost + 40, 100))
    question = rng.choice(
        [
            f"{p} has {money} dollars and buys {n} {t} for {a} dollars each. How much money is left?",
            f"{p} has {money} dollars. {p} buys {n} {t} at {a} dollars each. How many dollars does {p} have left?",
            f"{t.capitalize()} cost {a} dollars each. {p} buys {n} and pays with {money} dollars. "
            f"How much change does {p} get?",
        ]
    )
    return Draft(
        f"shop {n} {a} of {money}", question, f"{times(n, a)}\n{minus(money, cost)}", f"{money - cost} dollars"
    )


@kind("story_ages", "multi", 3)
def story_ages(rng: random.Random) -> Draft:
    p, q, r = people(rng, 3)
    age, later = rng.randint(4, 15), rng.randint(2, 15)
    k = rng.randint(2, 4)
    first = f"{p} is {age} years old. "
    as_old = f"{'twice' if k == 2 else f'{k} times'} as old as"
    if rng.random() < 0.5:
        question = f"{q} is {later} years older than {p}. {r} is {as_old} {q}."
        value = (age + later) * k
        lines = [f"for {q}: {plus(age, later)}", f"for {r}: {times(age + later, k)}"]
        return Draft(f"ages {age} +{later} x{k}", f"{first}{question} How old is {r}?", "\n".join(lines), str(value))
    question = f"{q} is {as_old} {p}."
    if rng.random() < 0.5:
        lines = [f"for {q}: {times(age, k)}", plus(age * k, later)]
        ending = f"How old will {q} be in {later} years?"
        return Draft(f"ages {age} x{k} +{later}", f"{first}{question} {ending}", "\n".join(lines), str(age * k + later))
    lines = [f"for {q}: {times(age, k)}", f"for {r}: {minus(age * k, later)}"]
    ending = f"{r} is {later} years younger than {q}. How old is {r}?"
    if age * k <= later:
        return story_ages(rng)
    return Draft(f"ages {age} x{k} -{later}", f"{first}{question} {ending}", "\n".join(lines), str(age * k - later))


@kind("legs", "multi", 3)
def legs(rng: random.Random) -> Draft:
    one, two = rng.sample(sorted(LEGS), 2)
    n, m = rng.randint(2, 12), rng.randint(2, 12)
    question = rng.choice(
        [
            f"How many legs do {n} {one} and {m} {two} have together?",
            f"There are {n} {one} and {m} {two}. How many legs are there?",
            f"A farm has {n} {one} and {m} {two}. How many legs do they have in all?",
        ]
    )
    a, b = n * LEGS[one], m * LEGS[two]
    lines = [f"for {one}: {times(n, LEGS[one])}", f"for {two}: {times(m, LEGS[two])}", plus(a, b)]
    return Draft(f"legs {sorted([(n, one), (m, two)])}", question, "\n".join(lines), f"{a + b} legs")


@kind("who_most", "single", 2, late=4)
def who_most(rng: random.Random) -> Draft:
    names, t = people(rng, 3), thing(rng)
    values = rng.sample(range(2, 99), 3)
    most = rng.random() < 0.6
    parts = [f"{p} has {v}" for p, v in zip(names, values, strict=True)]
    parts[0] += f" {t}"
    text = rng.choice([". ", ", "]).join(parts)
    ranked = sorted(zip(values, names, strict=True), reverse=most)
    sign = ">" if most else "<"
    working = f"{ranked[0][0]}{sign}{ranked[1][0]}\n{ranked[0][0]}: {ranked[0][1]}"
    key = f"who_most {most} {' '.join(map(str, values))}"
    return Draft(key, f"{text}. Who has the {'most' if most else 'fewest'} {t}?", working, ranked[0][1])


@kind("who_tallest", "multi", 4, late=12)
def who_tallest(rng: random.Random) -> Draft:
    more, less, most, least = rng.choice(
        [
            ("taller", "shorter", "tallest", "shortest"),
            ("older", "younger", "oldest", "youngest"),
            ("faster", "slower", "fastest", "slowest"),
            ("stronger", "weaker", "strongest", "weakest"),
        ]
    )
    names = rng.sample(NAMES, rng.choice([3, 3, 4]))
    pairs = list(pairwise(names))
    rng.shuffle(pairs)
    facts, lines = [], []
    for high, low in pairs:
        facts.append(f"{high} is {more} than {low}" if rng.random() < 0.6 else f"{low} is {less} than {high}")
        lines.append(f"so {high} > {low}")
    lines.append(f"order: {' > '.join(names)}")
    top = rng.random() < 0.5
    question = f"{'. '.join(facts)}. Who is the {most if top else least}?"
    answer = names[0] if top else names[-1]
    return Draft(f"tallest {' '.join(names)} {top} {more}", question, "\n".join(lines), answer)
