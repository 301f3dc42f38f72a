"""Held-out problems, and the share that a model answers right in each mode and format."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from tiny import samples
from tiny.model import Qwen3, generate
from tiny.problems import KINDS, Problem, draw_problem
from tiny.quantization import set_format

HELD_OUT = 200
LIMIT = 120


def held_out_problems(count: int = HELD_OUT, seed: int = 2024) -> list[Problem]:
    """`count` different held-out problems, of all kinds that can be held out, heavier kinds more often."""
    assert samples.MODULES
    rng = random.Random(seed)
    rows = [row for row in KINDS.values() if row.steps != "fact"]
    names = [row.name for row in rows for _ in range(max(1, round(row.weight)))]
    found: dict[str, Problem] = {}
    i = 0
    while len(found) < count:
        problem = draw_problem(rng, held_out=True, name=names[i % len(names)])
        found.setdefault(problem.key, problem)
        i += 1
    return list(found.values())


def write_held_out(path: Path, problems: list[Problem]) -> None:
    """Write the problems as JSON: question, answer, kind of steps, name of the kind."""
    rows = [{"question": p.question, "answer": p.answer, "steps": p.steps, "kind": p.kind} for p in problems]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n", encoding="utf-8")


def prompt(question: str, thinking: bool) -> str:
    """The chat template's text for one user message."""
    empty = "" if thinking else samples.EMPTY_BLOCK
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{empty}"


def answer_of(text: str) -> str:
    """The answer in a reply: what follows the thinking, without the last full stop."""
    return text.split("</think>")[-1].strip().removesuffix(".")


@dataclass(frozen=True)
class Score:
    """Right answers in percent: all, single-step and multi-step problems; and the mean length of a reply in tokens."""

    all: float
    single: float
    multi: float
    tokens: float
    wrong: list[tuple[Problem, str]]


def evaluate(
    model: Qwen3,
    tokenizer: Tokenizer,
    problems: list[Problem],
    *,
    thinking: bool,
    fmt: str = "f32",
    temperature: float = 0.0,
) -> Score:
    """Answer all problems and compare the answers."""
    ids = [tokenizer.encode(prompt(p.question, thinking), add_special_tokens=False).ids for p in problems]
    end = {tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")}
    set_format(model, fmt)
    outputs = generate(model, ids, end, LIMIT, temperature)
    set_format(model, "f32")
    right: dict[str, list[bool]] = {"single": [], "multi": []}
    wrong = []
    for problem, output in zip(problems, outputs, strict=True):
        complete = output[-1] in end
        text = tokenizer.decode(output[:-1] if complete else output, skip_special_tokens=False)
        good = complete and answer_of(text) == problem.answer
        right[problem.steps].append(good)
        if not good:
            wrong.append((problem, text))
    everything = right["single"] + right["multi"]
    percent = [100 * sum(r) / max(1, len(r)) for r in (everything, right["single"], right["multi"])]
    return Score(*percent, sum(map(len, outputs)) / len(outputs), wrong)
