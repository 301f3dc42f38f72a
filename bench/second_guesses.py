"""Would a tree of drafts pay? python bench/second_guesses.py --model FOLDER [--draft FOLDER] [--kinds WORD ...]

A tree feeds a second guess next to the first one. It helps where the first guess is wrong and the second right. For
each kind of answer of bench/speculate.py, this script looks at every token of the answer for which a source has a
guess. It counts how often the first guess was right, and how often the second was right where the first was wrong. It
computes the gain of one more position, with the second guess of the first token: the additional tokens a pass, in
percent. A position costs some percent of a pass (qwen3cpu-bench --draft), and could make the draft longer instead of
wider.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import qwen3cpu
from qwen3cpu.engine.batch import BatchItem
from qwen3cpu.engine.ngram_drafts import LONGEST

sys.path.insert(0, str(Path(__file__).parent))
from speculate import Forcing, Kind, kinds

Guesser = Callable[[list[int]], Sequence[int]]
"""From a text to the guesses of its next token, the likeliest first. The sequence may be empty."""


def from_text(text: Sequence[int]) -> Sequence[int]:
    """The tokens after the longest earlier matches with the end, the latest first, then those after shorter ones."""
    ids = np.array(text, np.int32)
    last = len(ids) - 1
    places = (ids[:last] == ids[last]).nonzero()[0]
    found: list[int] = []
    levels = [places]
    for length in range(1, LONGEST):
        places = places[places >= length]
        places = places[ids[places - length] == ids[last - length]]
        if not len(places):
            break
        levels.append(places)
    for level in reversed(levels):
        for place in level[::-1][:64]:
            token = int(ids[place + 1])
            if token not in found:
                found.append(token)
            if len(found) == 2:
                return found
    return found


def from_model(small: qwen3cpu.Model) -> Guesser:
    """The two most likely tokens of the small model."""
    sequence = small.engine.new_sequence()

    def guess(text: list[int]) -> Sequence[int]:
        sequence.truncate(sequence.common_prefix(text[:-1]))
        new = text[sequence.length :]
        (rows,) = small.engine.forward([BatchItem(sequence, new, [len(new) - 1])])
        return [int(token) for token in np.argsort(rows[0])[-2:][::-1]]

    return guess


def answer(model: qwen3cpu.Model, kind: Kind) -> tuple[list[int], list[int]]:
    """The ids of a prompt and of its answer."""
    options: dict[str, Any] = {**kind.options, "speculate": False}
    asked = {name: value for name, value in kind.options.items() if name in ("raw", "thinking", "schema")}
    prompt = kind.prompt
    if kind.forced is None:
        prompt = model.answerer.encode(kind.prompt, model.answerer.request(kind.prompt, **asked))
    else:
        prompt = model.tokenizer.encode(kind.prompt)
        options["processors"] = [Forcing(len(prompt), kind.forced)]
    options.pop("raw", None)
    found = model.generate(prompt, **options)
    assert isinstance(found, qwen3cpu.Result)
    return prompt, list(found.token_ids)


def counted(prompt: list[int], said: list[int], guess: Guesser) -> Iterator[tuple[bool, bool]]:
    """For each token of an answer with a guess: whether the first one was right, and the second."""
    for place in range(1, len(said)):
        found = guess(prompt + said[:place])
        if len(found):
            yield found[0] == said[place], said[place] in found[1:2]


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--draft", metavar="FOLDER")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--kinds", nargs="+", metavar="WORD", help="only kinds whose name has one of these words")
    args = parser.parse_args()
    model = qwen3cpu.load(args.model, threads=args.threads)
    sources: dict[str, Guesser] = {"the text": from_text}
    if args.draft is not None:
        sources["a model"] = from_model(qwen3cpu.load(args.draft, threads=args.threads, prefix_cache=0))
    print("| answer | source | guesses | first right | second right where the first is wrong | tokens a pass, more |")
    print("|---|---|---:|---:|---:|---:|")
    for kind in kinds(model):
        if args.kinds and not any(word in kind.name for word in args.kinds):
            continue
        prompt, said = answer(model, kind)
        for name, guess in sources.items():
            rows = list(counted(prompt, said, guess))
            first = sum(right for right, _ in rows) / len(rows)
            wrong = [second for right, second in rows if not right]
            second = sum(wrong) / max(1, len(wrong))
            tokens = 1 / (1 - min(first, 0.97))  # of a pass whose draft goes on until it is wrong
            more = 100 * (1 - first) * second / tokens
            print(f"| {kind.name} | {name} | {len(rows)} | {first:.2f} | {second:.2f} | {more:.1f} % |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
