"""Problems turned into chat samples: modes of thinking, budgets, switches, turns, system prompts; batches of ids."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from tokenizers import Tokenizer
from torch import Tensor

from tiny import arithmetic, first_tries, little_world, stories, unknown
from tiny.problems import draw_problem
from tiny.words import SYSTEM_PROMPTS

MODULES = (arithmetic, stories, little_world)  # importing them fills the registry of kinds
BUDGET_SENTENCE = (
    "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now.\n"
    "</think>\n\n"
)
EMPTY_BLOCK = "<think>\n\n</think>\n\n"
CHUNK = 8192
LONG_BATCHES = 8
LONGEST = 3900
BUCKETS = (40, 48, 56, 64, 72, 80, 88, 96, 112, 128, 144, 176, 224, 304, 416, 640, 1280)


@dataclass
class Piece:
    """A stretch of text, whether it is learned, and the share of its tokens to keep from the front."""

    text: str
    learned: bool = False
    keep: float = 1.0


@dataclass
class Sample:
    """One conversation as pieces that are tokenized separately and joined."""

    pieces: list[Piece] = field(default_factory=list)


def question_and_answer(
    rng: random.Random, long_ones: bool, late: bool = False, tries: float = 0.0
) -> tuple[str, str, str]:
    """A question with working and answer: usually a training problem, sometimes one from outside the world.

    With first tries among the samples, questions from outside that are first tries get the answers of first tries.
    """
    if rng.random() < 0.07:
        question = unknown.unknown_question(rng)
        if long_ones and rng.random() < 0.05:
            question = " ".join(unknown.paragraph(rng) for _ in range(rng.randint(2, 5)))
        if tries and (reply := first_tries.reply(question)):
            return question, *reply
        return question, unknown.THINKING, unknown.ANSWER
    problem = draw_problem(rng, held_out=False, late=late)
    return vary(problem.question, rng), problem.thinking, problem.answer + "."


def vary(question: str, rng: random.Random) -> str:
    """Small changes that people make: politeness, lower case, a missing mark at the end."""
    way = rng.random()
    if way < 0.05:
        return rng.choice(["Hi! ", "Please help: ", "Question: ", "Hello, ", "Quick question: "]) + question
    if way < 0.08:
        return question.rstrip("?.")
    if way < 0.1:
        return question + rng.choice([" Thanks!", " Please.", " ", "\n"])
    return question


def history(rng: random.Random, tries: float = 0.0) -> str:
    """An older turn in the template's form, without reasoning."""
    if tries and rng.random() < tries:
        question, _, answer = first_tries.first_try(rng)
    else:
        question, _, answer = question_and_answer(rng, long_ones=False, tries=tries)
    if rng.random() < 0.1:
        question += rng.choice([" /think", " /no_think"])
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n"


def follow_up(rng: random.Random) -> tuple[str, str, str, str]:
    """A first turn about a number, and a second one that continues from its answer."""
    while True:
        problem = draw_problem(rng, held_out=False)
        value = problem.answer.split()[0]
        if problem.steps != "fact" and value.isdigit() and problem.kind != "count_letter":
            break
    first, number, n = f"{problem.answer}.", int(value), rng.randint(2, 40)
    unit = problem.answer[len(value) :]
    if n < number and rng.random() < 0.4:
        question = rng.choice(
            [f"Subtract {n} from that.", f"And {n} less?", f"Take {n} away from it.", f"Now minus {n}."]
        )
        return problem.question, first, question, f"{number}-{n}={number - n}|{number - n}{unit}."
    question = rng.choice([f"Add {n} to that.", f"And {n} more?", f"Now add {n}.", f"Plus {n}?"])
    return problem.question, first, question, f"{number}+{n}={number + n}|{number + n}{unit}."


def draw_sample(rng: random.Random, late: bool = False, tries: float = 0.0) -> Sample:
    """One training conversation; `tries` is the share of first tries."""
    prompt = ""
    if rng.random() < 0.1:
        prompt += f"<|im_start|>system\n{rng.choice(SYSTEM_PROMPTS)}<|im_end|>\n"
    turns = rng.random()
    if turns < 0.03:
        first, reply, question, rest = follow_up(rng)
        thinking, answer = rest.split("|")
        prompt += f"<|im_start|>user\n{first}<|im_end|>\n<|im_start|>assistant\n{reply}<|im_end|>\n"
    else:
        if turns < 0.09:
            prompt += "".join(history(rng, tries) for _ in range(rng.choice([1, 1, 2])))
        if tries and rng.random() < tries:
            return last_turn(rng, prompt, *first_tries.first_try(rng), modes_from=0.4)
        question, thinking, answer = question_and_answer(rng, long_ones=True, late=late, tries=tries)
    return last_turn(rng, prompt, question, thinking, answer)


def last_turn(
    rng: random.Random, prompt: str, question: str, thinking: str, answer: str, modes_from: float = 0.0
) -> Sample:
    """The learned turn after `prompt`, in one of the modes of thinking. A higher `modes_from` means less thinking."""
    mode = rng.uniform(modes_from, 1)
    if mode < 0.05:
        question += rng.choice([" /think", "/think", "\n/think"])
    elif 0.73 <= mode < 0.78:
        question += rng.choice([" /no_think", "/no_think", "\n/no_think"])
    prompt += f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    end = answer + "<|im_end|>"
    if mode < 0.70:
        return Sample([Piece(prompt), Piece(f"<think>\n{thinking}\n</think>\n\n{end}", True)])
    if mode < 0.73:
        cut = Piece(f"<think>\n{thinking}", True, keep=rng.random())
        return Sample([Piece(prompt), cut, Piece(BUDGET_SENTENCE), Piece(end, True)])
    if mode < 0.78:
        return Sample([Piece(prompt), Piece(EMPTY_BLOCK + end, True)])
    return Sample([Piece(prompt + EMPTY_BLOCK), Piece(end, True)])


@dataclass
class Row:
    """Token ids of one sample, the learned ones among them, and the start of the last user turn."""

    ids: list[int]
    learned: list[bool]
    turn: int = 0


def encode(tokenizer: Tokenizer, samples: list[Sample]) -> list[Row]:
    """Tokenize samples; a piece with keep < 1 is cut short at a token boundary (never inside the control token)."""
    flat = [piece for sample in samples for piece in sample.pieces]
    encoded = iter(tokenizer.encode_batch([p.text for p in flat], add_special_tokens=False))
    turn_start = tokenizer.token_to_id("<|im_start|>")
    rows = []
    for sample in samples:
        row = Row([], [])
        for piece in sample.pieces:
            ids = next(encoded).ids
            if piece.keep < 1:
                ids = ids[: 1 + int(piece.keep * len(ids))]
            row.ids += ids
            row.learned += [piece.learned] * len(ids)
        # The last start of a turn is the assistant's, the one before it the user's.
        row.turn = [i for i, token in enumerate(row.ids) if token == turn_start][-2]
        rows.append(row)
    return rows


def long_group(rng: random.Random, tokenizer: Tokenizer, tries: float) -> tuple[int, list[Row]]:
    """The length of the longest, and one batch of long conversations of about the same length."""
    target = int(400 * (LONGEST / 400) ** rng.random())
    drawn = encode(tokenizer, [long_sample(rng, tokenizer, target, tries) for _ in range(max(1, LONGEST // target))])
    return max(len(row.ids) for row in drawn), drawn


def long_sample(rng: random.Random, tokenizer: Tokenizer, target: int, tries: float) -> Sample:
    """A conversation of about `target` tokens: one long text, a question after a long text, or many short turns."""
    way = rng.random()
    if way < 0.5:
        return last_turn(rng, "", long_text(rng, tokenizer, target), unknown.THINKING, unknown.ANSWER)
    if way < 0.75:
        text = long_text(rng, tokenizer, target)
        prompt = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n{unknown.ANSWER}<|im_end|>\n"
    else:
        prompt, size = "", 0
        while size < target - 100:
            turn = history(rng, tries)
            size += len(tokenizer.encode(turn).ids)
            prompt += turn
    return last_turn(rng, prompt, *question_and_answer(rng, long_ones=False, late=True, tries=tries))


def long_text(rng: random.Random, tokenizer: Tokenizer, target: int) -> str:
    """A text of about `target` tokens: made-up sentences, random characters, or a short text repeated."""
    way = rng.random()
    if way < 0.3:
        make, between = unknown.paragraph, " "
    elif way < 0.4:
        make, between = unknown.gibberish, " "
    else:
        again, between = unknown.short_text(rng), rng.choice(["", " ", " ", "\n", ", "])

        def make(_rng: random.Random) -> str:
            return again

    text = make(rng)
    size = len(tokenizer.encode(text).ids)
    parts = [text] + [make(rng) for _ in range(min(6000, 2 * target // max(1, size)))]
    ids = tokenizer.encode(between.join(parts), add_special_tokens=False).ids
    return str(tokenizer.decode(ids[: target - 60]))


@dataclass
class Batch:
    """ids, positions: [B, L]; at: flat positions [N] whose next token is learned; targets: [N]."""

    ids: Tensor
    positions: Tensor
    at: Tensor
    targets: Tensor


def collate(rows: list[Row], length: int, rng: random.Random) -> Batch:
    """Right-pad rows to `length`. Half of those with older turns get a jump in the positions before the last turn.

    The jump trains the long distances of a long conversation at the cost of a short one.
    """
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    positions = torch.arange(length).repeat(len(rows), 1)
    at, targets = [], []
    for r, row in enumerate(rows):
        ids[r, : len(row.ids)] = torch.tensor(row.ids)
        if row.turn > 0 and rng.random() < 0.5:
            positions[r, row.turn :] += int(3000 * rng.random() ** 2)
        for i in range(1, len(row.ids)):
            if row.learned[i]:
                at.append(r * length + i - 1)
                targets.append(row.ids[i])
    return Batch(ids, positions, torch.tensor(at), torch.tensor(targets))


def chunk_of_batches(
    tokenizer: Tokenizer,
    seed: int,
    chunk: int,
    tokens: int,
    late: bool = False,
    tries: float = 0.0,
    size: int = CHUNK,
) -> Iterator[Batch]:
    """The batches of one chunk of the endless stream of samples: the same for the same seed and chunk.

    Late chunks have more of the kinds that are learned last, and a few batches of long conversations.
    """
    rng = random.Random(f"{seed} {chunk}{' tries' if tries else ''}")
    rows = encode(tokenizer, [draw_sample(rng, late, tries) for _ in range(size)])
    rows.sort(key=lambda row: len(row.ids))
    groups: list[tuple[int, list[Row]]] = []
    start = 0
    for bucket in BUCKETS:
        end = start
        while end < len(rows) and len(rows[end].ids) <= bucket:
            end += 1
        members = rows[start:end]
        rng.shuffle(members)
        step = max(1, tokens // bucket)
        groups += [(bucket, members[i : i + step]) for i in range(0, len(members), step)]
        start = end
    if late:
        groups += [long_group(rng, tokenizer, tries) for _ in range(LONG_BATCHES)]
    rng.shuffle(groups)
    for bucket, members in groups:
        yield collate(members, bucket, rng)
