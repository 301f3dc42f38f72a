"""Problems about bare numbers: the four operations, comparing, ordering, sequences, expressions."""

from __future__ import annotations

import random

from tiny.problems import Draft, kind

ASK = (
    "What is {x}?", "what is {x}?", "Calculate {x}.", "Compute {x}.", "{x} = ?", "{x}", "{x}=?", "How much is {x}?",
    "Can you tell me what {x} is?", "Please work out {x}.", "What does {x} make?", "What is the result of {x}?",
    "Find {x}.", "Solve {x}.", "Tell me {x}.",
)  # fmt: skip


def number(rng: random.Random, low: int = 2, high: int = 99) -> int:
    """A number of one or two digits. Small numbers are more frequent than in a uniform draw."""
    return rng.randint(low, min(high, 20)) if rng.random() < 0.3 else rng.randint(low, high)


def plus(a: int, b: int) -> str:
    """A line of working: the sum, by way of tens and ones where both numbers have ones and one has tens."""
    tens, ones = (a // 10 + b // 10) * 10, a % 10 + b % 10
    if tens == 0 or a % 10 == 0 or b % 10 == 0:
        return f"{a}+{b}={a + b}"
    return f"{a}+{b}={tens}+{ones}={a + b}"


def minus(a: int, b: int) -> str:
    """A line of working: the difference, the tens taken away first."""
    if b < 10 or b % 10 == 0:
        return f"{a}-{b}={a - b}"
    return f"{a}-{b}={a - b // 10 * 10}-{b % 10}={a - b}"


def times(a: int, b: int) -> str:
    """A line of working: the product, by tens and ones when a factor has two digits beyond the table."""
    small, large = min(a, b), max(a, b)
    if large <= 12 or large % 10 == 0:
        return f"{a}x{b}={a * b}"
    return f"{small}x{large}={small * (large // 10 * 10)}+{small * (large % 10)}={a * b}"


def over(a: int, b: int) -> str:
    """A line of working: the exact quotient."""
    return f"{a}/{b}={a // b}"


def listing(numbers: list[int], rng: random.Random) -> str:
    """The numbers with commas, sometimes with a final "and"."""
    words = [str(n) for n in numbers]
    if rng.random() < 0.6:
        return ", ".join(words)
    return ", ".join(words[:-1]) + " and " + words[-1]


def distinct(rng: random.Random, count: int, high: int = 99) -> list[int]:
    """`count` different numbers from 1 to `high`."""
    return rng.sample(range(1, high + 1), count)


@kind("add", "single", 4)
def add(rng: random.Random) -> Draft:
    a, b = number(rng), number(rng)
    ways = [f"{a} + {b}", f"{a}+{b}", f"{a} plus {b}", f"the sum of {a} and {b}"]
    question = rng.choice(ASK).format(x=rng.choice(ways))
    if rng.random() < 0.15:
        question = rng.choice([f"Add {a} and {b}.", f"Add {b} to {a}.", f"What is {b} more than {a}?"])
    return Draft(f"add {min(a, b)} {max(a, b)}", question, plus(a, b), str(a + b))


@kind("subtract", "single", 4)
def subtract(rng: random.Random) -> Draft:
    a, b = number(rng), number(rng)
    a, b = max(a, b), min(a, b)
    ways = [f"{a} - {b}", f"{a}-{b}", f"{a} minus {b}", f"the difference between {a} and {b}"]
    question = rng.choice(ASK).format(x=rng.choice(ways))
    if rng.random() < 0.15:
        question = rng.choice([f"Subtract {b} from {a}.", f"Take {b} away from {a}.", f"What is {b} less than {a}?"])
    return Draft(f"subtract {a} {b}", question, minus(a, b), str(a - b))


def product_question(rng: random.Random, a: int, b: int) -> str:
    """A wording of a times b."""
    ways = [f"{a} x {b}", f"{a} * {b}", f"{a} times {b}", f"{a}x{b}", f"{a}*{b}", f"the product of {a} and {b}"]
    if rng.random() < 0.1:
        return rng.choice([f"Multiply {a} by {b}.", f"Multiply {a} and {b}."])
    return rng.choice(ASK).format(x=rng.choice(ways))


@kind("multiply", "single", 3)
def multiply(rng: random.Random) -> Draft:
    a, b = rng.randint(2, 12), rng.randint(2, 12)
    return Draft(f"multiply {min(a, b)} {max(a, b)}", product_question(rng, a, b), times(a, b), str(a * b))


@kind("multiply_long", "multi", 4, late=5)
def multiply_long(rng: random.Random) -> Draft:
    a, b = rng.randint(2, 9), rng.randint(13, 49)
    if rng.random() < 0.5:
        a, b = b, a
    return Draft(f"multiply {min(a, b)} {max(a, b)}", product_question(rng, a, b), times(a, b), str(a * b))


@kind("divide", "single", 3)
def divide(rng: random.Random) -> Draft:
    b, q = rng.randint(2, 12), rng.randint(2, 12)
    a = b * q
    ways = [f"{a} / {b}", f"{a} divided by {b}", f"{a}/{b}", f"{a} : {b}"]
    question = rng.choice(ASK).format(x=rng.choice(ways))
    if rng.random() < 0.15:
        question = rng.choice([f"Divide {a} by {b}.", f"How many times does {b} go into {a}?"])
    return Draft(f"divide {a} {b}", question, over(a, b), str(q))


@kind("double_half", "single", 1)
def double_half(rng: random.Random) -> Draft:
    a = rng.randint(2, 50)
    if rng.random() < 0.5:
        question = rng.choice(
            [f"What is double {a}?", f"What is twice {a}?", f"Double {a}.", f"How much is twice {a}?"]
        )
        return Draft(f"double {a}", question, plus(a, a), str(a + a))
    question = rng.choice([f"What is half of {2 * a}?", f"How much is half of {2 * a}?", f"Halve {2 * a}."])
    tens, ones = 2 * a // 10 * 10, 2 * a % 10
    working = f"{2 * a}/2={a}" if tens == 0 or ones == 0 else f"{2 * a}/2={tens // 2}+{ones // 2}={a}"
    return Draft(f"half {2 * a}", question, working, str(a))


@kind("compare", "single", 2, late=3)
def compare(rng: random.Random) -> Draft:
    a, b = distinct(rng, 2)
    big = rng.random() < 0.5
    word = rng.choice(["bigger", "larger", "greater"] if big else ["smaller", "less"])
    question = rng.choice(
        [
            "Which is {w}, {a} or {b}?",
            "Which number is {w}: {a} or {b}?",
            "What is {w}, {a} or {b}?",
            "{a} or {b}: which is {w}?",
        ]
    ).format(w=word, a=a, b=b)
    sign = ">" if big else "<"
    best, rest = (max(a, b), min(a, b)) if big else (min(a, b), max(a, b))
    return Draft(f"compare {big} {min(a, b)} {max(a, b)}", question, f"{best}{sign}{rest}", str(best))


@kind("extreme", "single", 2, late=3)
def extreme(rng: random.Random) -> Draft:
    numbers = distinct(rng, rng.randint(3, 4))
    big = rng.random() < 0.5
    word = rng.choice(["largest", "biggest", "greatest"] if big else ["smallest", "least"])
    text = listing(numbers, rng)
    question = rng.choice(
        [f"Which is the {word}: {text}?", f"What is the {word} number of {text}?", f"Find the {word} of {text}."]
    )
    ranked = sorted(numbers, reverse=big)
    sign = ">" if big else "<"
    key = f"extreme {big} {' '.join(map(str, sorted(numbers)))}"
    return Draft(key, question, f"{ranked[0]}{sign}{ranked[1]}", str(ranked[0]))


@kind("order", "single", 3, late=6)
def order(rng: random.Random) -> Draft:
    numbers = distinct(rng, rng.randint(3, 4))
    down = rng.random() < 0.35
    text = listing(numbers, rng)
    how = (
        "from largest to smallest" if down else rng.choice(["from smallest to largest", "in order", "in rising order"])
    )
    question = rng.choice([f"Sort {text} {how}.", f"Order {text} {how}.", f"Put these numbers {how}: {text}."])
    ranked = sorted(numbers, reverse=down)
    sign = ">" if down else "<"
    key = f"order {down} {' '.join(map(str, sorted(numbers)))}"
    return Draft(key, question, sign.join(map(str, ranked)), ", ".join(map(str, ranked)))


@kind("spread", "multi", 3, late=5)
def spread(rng: random.Random) -> Draft:
    numbers = distinct(rng, rng.randint(3, 4))
    text = listing(numbers, rng)
    question = rng.choice(
        [
            f"What is the difference between the largest and the smallest of {text}?",
            f"Take the smallest from the largest of {text}.",
            f"How far apart are the largest and the smallest of {text}?",
        ]
    )
    high, low = max(numbers), min(numbers)
    working = f"largest {high}\nsmallest {low}\n{minus(high, low)}"
    return Draft(f"spread {' '.join(map(str, sorted(numbers)))}", question, working, str(high - low))


@kind("total", "multi", 3)
def total(rng: random.Random) -> Draft:
    numbers = [rng.randint(2, 40) for _ in range(rng.randint(3, 4))]
    text = listing(numbers, rng)
    question = rng.choice(
        [f"What is the sum of {text}?", f"Add up {text}.", f"Add {text}.", f"What do {text} make together?"]
    )
    lines, running = [], numbers[0]
    for n in numbers[1:]:
        lines.append(plus(running, n))
        running += n
    return Draft(f"chain {'+'.join(map(str, numbers))}", question, "\n".join(lines), str(running))


@kind("expression", "multi", 5)
def expression(rng: random.Random) -> Draft:
    shape = rng.randrange(4)
    if shape == 0:
        return plus_minus_chain(rng)
    a, b, c = rng.randint(2, 12), rng.randint(2, 12), rng.randint(2, 30)
    product = a * b
    if shape == 1:
        text, lines, value = f"{a} x {b} + {c}", [times(a, b), plus(product, c)], product + c
        if rng.random() < 0.4:
            text, lines, value = f"{c} + {a} x {b}", [times(a, b), plus(c, product)], product + c
    elif shape == 2:
        c = rng.randint(1, min(product - 1, 30))
        text, lines, value = f"{a} x {b} - {c}", [times(a, b), minus(product, c)], product - c
    else:
        a, b, c = rng.randint(2, 9), rng.randint(2, 9), rng.randint(2, 9)
        text, lines, value = f"({a} + {b}) x {c}", [plus(a, b), times(a + b, c)], (a + b) * c
        if rng.random() < 0.3:
            text, lines, value = f"{c} x ({a} + {b})", [plus(a, b), times(c, a + b)], (a + b) * c
    question = rng.choice(ASK).format(x=spaced(text, rng))
    return Draft(f"expression {text}", question, "\n".join(lines), str(value))


def plus_minus_chain(rng: random.Random) -> Draft:
    """Three or four terms added and subtracted from left to right, never below zero."""
    running = number(rng, 5, 60)
    text, lines = str(running), []
    for _ in range(rng.randint(2, 3)):
        n = rng.randint(2, 40)
        if n < running and rng.random() < 0.5:
            lines.append(minus(running, n))
            text, running = f"{text} - {n}", running - n
        else:
            lines.append(plus(running, n))
            text, running = f"{text} + {n}", running + n
    question = rng.choice(ASK).format(x=spaced(text, rng))
    return Draft(f"chain {text.replace(' ', '')}", question, "\n".join(lines), str(running))


def spaced(text: str, rng: random.Random) -> str:
    """The expression as written, without spaces, with * for x, or in words."""
    way = rng.random()
    if way < 0.15:
        return text.replace(" ", "")
    if way < 0.3:
        return text.replace("x", "*")
    if way < 0.45 and "(" not in text:
        return text.replace("+", "plus").replace("-", "minus").replace("x", "times")
    return text


@kind("sequence", "multi", 3)
def sequence(rng: random.Random) -> Draft:
    step, start, count = rng.randint(2, 15), rng.randint(1, 40), rng.randint(3, 5)
    terms = [start + i * step for i in range(count)]
    down = rng.random() < 0.3
    if down:
        terms = [t + step for t in reversed(terms)]
    following = terms[-1] + (terms[-1] - terms[-2])
    text = ", ".join(map(str, terms))
    question = rng.choice(
        [
            f"What comes next: {text}?",
            f"Which number comes next in {text}?",
            f"Continue: {text}, ...",
            f"{text}, ?",
            f"What is the next number: {text}",
        ]
    )
    working = (
        f"{minus(terms[0], terms[1])}\n{minus(terms[-1], step)}"
        if down
        else f"{minus(terms[1], terms[0])}\n{plus(terms[-1], step)}"
    )
    return Draft(f"sequence {text}", question, working, str(following))


@kind("think_of_number", "multi", 3)
def think_of_number(rng: random.Random) -> Draft:
    x, k, c = rng.randint(2, 12), rng.randint(2, 9), rng.randint(2, 30)
    name = (
        {2: "double it", 3: "triple it"}.get(k, f"multiply it by {k}") if rng.random() < 0.5 else f"multiply it by {k}"
    )
    if rng.random() < 0.5:
        got = x * k + c
        middle, working = f"add {c}", f"{minus(got, c)}\n{over(got - c, k)}"
    else:
        c = rng.randint(1, x * k - 1)
        got = x * k - c
        middle, working = f"take away {c}", f"{plus(got, c)}\n{over(got + c, k)}"
    start = name.replace(" it", " a number", 1)
    question = rng.choice(
        [
            f"I think of a number, {name} and {middle}. I get {got}. What is my number?",
            f"I {start} and {middle}. The result is {got}. Which number did I start with?",
            f"Think of a number, {name}, then {middle}: you get {got}. What was the number?",
        ]
    )
    return Draft(f"think_of_number {k} {middle} {got}", question, working, str(x))


@kind("parity", "single", 1)
def parity(rng: random.Random) -> Draft:
    n = rng.randint(1, 399)
    question = rng.choice([f"Is {n} even or odd?", f"Is {n} odd or even?", f"Is the number {n} even or odd?"])
    return Draft(f"parity {n}", question, f"last digit {n % 10}", "odd" if n % 2 else "even")
