"""Measure drafts by kind of answer: python bench/speculate.py --model FOLDER [--draft FOLDER] [--corpus FILE]

Each kind is answered with and without drafts, in turns and in changing order, with the same seed. A check ensures that
both have the same tokens. An answer that rewrites or quotes is forced token by token, so that it is the same for every
model. The others are the model's own. Prints the tokens of an answer, the drafted and the accepted ones, and tokens a
pass. It also prints tokens a second of decoding with and without drafts, and the median of the ratios with its
quartiles.

`--draft` names a smaller model that drafts, and `--only-draft` leaves out the other sources. `--corpus` names a text
that is kept in a file of drafts. Some answers then quote it, although their prompt does not have it.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

import qwen3cpu
from qwen3cpu.bench.machine import Machine
from qwen3cpu.system.progress_bar import Progress

ROOT = Path(__file__).parents[1]
LENGTH = 600
"""Tokens of a text that is rewritten or quoted."""
WORDS = ("often", "small", "later", "perhaps", "clear", "new", "other", "simple")
SCHEMA = {
    "type": "object",
    "properties": {
        "people": {
            "type": "array",
            "minItems": 6,
            "maxItems": 6,
            "items": {
                "type": "object",
                "properties": {
                    "first_name": {"type": "string", "maxLength": 12},
                    "age": {"type": "integer", "minimum": 1, "maximum": 99},
                    "occupation": {"type": "string", "maxLength": 20},
                    "married": {"type": "boolean"},
                },
                "required": ["first_name", "age", "occupation", "married"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["people"],
    "additionalProperties": False,
}


@dataclass
class Kind:
    """A kind of answer: the prompt, the forced tokens of the answer, and options."""

    name: str
    prompt: Any
    forced: Sequence[int] | None = None
    options: dict[str, Any] = field(default_factory=dict)


class Forcing:
    """A logits processor that allows only the next token of a given answer."""

    def __init__(self, prompt_tokens: int, answer: Sequence[int]) -> None:
        self._prompt_tokens = prompt_tokens
        self._answer = answer

    def __call__(self, ids: Sequence[int], logits: NDArray[np.float32]) -> None:
        """Keep the next token of the answer."""
        token = self._answer[min(len(ids) - self._prompt_tokens, len(self._answer) - 1)]
        kept = logits[token]
        logits[:] = -np.inf
        logits[token] = kept


def edited(text: str) -> str:
    """A text in which one of about thirty words is replaced."""
    rng = random.Random(1)
    words = text.split(" ")
    return " ".join(rng.choice(WORDS) if rng.random() < 1 / 30 else word for word in words)


def summary(text: str) -> str:
    """An answer of own words and quoted sentences of the text."""
    rng = random.Random(2)
    sentences = [each for each in text.replace("\n", " ").split(". ") if len(each) > 40]
    chosen = rng.sample(sentences, min(6, len(sentences)))
    return " ".join(f'{rng.choice(WORDS).title()} {rng.choice(WORDS)} it says: "{each}."' for each in chosen)


def quotes(model: qwen3cpu.Model, corpus: Path) -> Kind:
    """An answer that quotes passages of a text which its prompt does not have, with own words between."""
    rng = random.Random(3)
    ids = model.tokenizer.encode(corpus.read_text("utf-8"))
    said: list[int] = []
    while len(said) < LENGTH:
        first = rng.randrange(len(ids) - 120)
        words = f" {rng.choice(WORDS).title()} {rng.choice(WORDS)} it says there: "
        said += [*model.tokenizer.encode(words), *ids[first : first + 120]]
    options = {"max_new_tokens": LENGTH, "ignore_eos": True, "loop_detection": False}
    return Kind("quoting a kept text", "What do the texts say?\n\n", said[:LENGTH], options)


def kinds(model: qwen3cpu.Model) -> list[Kind]:
    """All kinds, for this tokenizer."""

    def beginning(path: str) -> str:
        ids = model.tokenizer.encode((ROOT / path).read_text("utf-8"))[:LENGTH]
        return model.tokenizer.decode(ids)

    prose, code = beginning("docs/architecture.md"), beginning("qwen3cpu/system/progress_bar.py")

    def forced(name: str, task: str, text: str, answer: str) -> Kind:
        ids = model.tokenizer.encode(answer)
        return Kind(name, f"{task}\n\n{text}\n\n", ids, {"max_new_tokens": len(ids), "ignore_eos": True})

    own = {"ignore_eos": True, "temperature": 0.8, "top_k": 20, "top_p": 0.95, "seed": 5}
    return [
        forced("rewriting with small edits", "Improve this text:", prose, edited(prose)),
        forced("code edit: a name changed", "Rename self._bar to self._meter:", code, code.replace("_bar", "_meter")),
        forced("summary with quotes", "Summarise this text and quote it:", prose, summary(prose)),
        Kind(
            "JSON by a schema",
            "Six people with their first names, ages, occupations, and whether they are married, as JSON:",
            options={**own, "ignore_eos": False, "schema": SCHEMA, "thinking": False, "max_new_tokens": 600},
        ),
        Kind("chat", "How do I grow tomatoes on a balcony?", options={**own, "thinking": False, "max_new_tokens": 300}),
        Kind("free prose", "The old house by the river", options={**own, "raw": True, "max_new_tokens": 300}),
        Kind("free prose, temperature 1.2", "The old house by the river",
             options={**own, "raw": True, "max_new_tokens": 300, "temperature": 1.2, "top_k": 0, "top_p": 1.0}),
    ]  # fmt: skip


def answer(model: qwen3cpu.Model, kind: Kind, *, speculate: bool) -> qwen3cpu.Result:
    """One answer of a kind."""
    options = dict(kind.options, speculate=speculate)
    prompt = kind.prompt
    if kind.forced is not None:
        prompt = model.tokenizer.encode(prompt)
        options["processors"] = [Forcing(len(prompt), kind.forced)]
    found = model.generate(prompt, **options)
    assert isinstance(found, qwen3cpu.Result)
    return found


def measure(model: qwen3cpu.Model, chosen: Sequence[Kind], turns: int) -> list[dict[str, Any]]:
    """A row for each kind."""
    rows = []
    with Progress("Measuring", (turns + 1) * len(chosen), unit="rounds") as progress:
        for kind in chosen:
            rates: dict[bool, list[float]] = {True: [], False: []}
            for turn in range(turns + 1):
                found = {}
                for speculate in (True, False) if turn % 2 else (False, True):
                    result = found[speculate] = answer(model, kind, speculate=speculate)
                    if turn:
                        rates[speculate].append(result.timings.tokens_per_second)
                if found[True].token_ids != found[False].token_ids:
                    raise SystemExit(f"{kind.name}: other tokens with drafts than without")
                progress.advance(1)
            ratios = [on / off for on, off in zip(rates[True], rates[False], strict=True)]
            drafted = found[True]
            tokens, accepted = len(drafted.token_ids), drafted.timings.accepted
            rows.append(
                {
                    "kind": kind.name,
                    "tokens": tokens,
                    "drafted": drafted.timings.drafted,
                    "accepted": accepted,
                    "tokens_a_pass": tokens / (tokens - accepted),
                    "without": statistics.median(rates[False]),
                    "with": statistics.median(rates[True]),
                    "ratio": statistics.median(ratios),
                    "quartiles": statistics.quantiles(ratios, n=4)[::2] if len(ratios) > 1 else [],
                }
            )
    return rows


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a table."""
    lines = [
        "| answer | tokens | drafted | accepted | tokens a pass | tok/s without | with | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        spread = " to ".join(f"{each:.2f}" for each in row["quartiles"])
        lines.append(
            f"| {row['kind']} | {row['tokens']} | {row['drafted']} | {row['accepted']} | {row['tokens_a_pass']:.2f} | "
            f"{row['without']:.1f} | {row['with']:.1f} | **{row['ratio']:.2f}** ({spread}) |"
        )
    return "\n".join(lines)


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--draft", metavar="FOLDER", help="a smaller model that drafts")
    parser.add_argument("--only-draft", action="store_true", help="without the drafts of other sources")
    parser.add_argument("--corpus", type=Path, metavar="FILE", help="a text that is kept in a file of drafts")
    parser.add_argument("--quant")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--kinds", nargs="+", metavar="WORD", help="only kinds whose name has one of these words")
    parser.add_argument("-o", "--output", type=Path, help="write the figures here as JSON")
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        kept = None
        if args.corpus is not None:
            kept = Path(folder) / "kept"
            qwen3cpu.write_drafts(args.model, [args.corpus.read_text("utf-8")], kept)
        model = qwen3cpu.load(
            args.model, quant=args.quant, threads=args.threads, prefix_cache=1 << 30, draft=args.draft, drafts_from=kept
        )
    if args.only_draft:
        around = model.answerer.surroundings
        make = around.make_drafters
        assert make is not None
        model.answerer.surroundings = replace(around, make_drafters=lambda: make()[-1:])
    every = [*kinds(model), *([] if args.corpus is None else [quotes(model, args.corpus)])]
    chosen = [each for each in every if not args.kinds or any(word in each.name for word in args.kinds)]
    rows = measure(model, chosen, args.turns)
    machine = Machine.here()
    print(f"{model!r}\n{machine}\n")
    print(as_markdown(rows))
    if args.output is not None:
        args.output.write_text(json.dumps({"machine": machine.__dict__, "model": repr(model), "rows": rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
