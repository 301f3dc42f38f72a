"""Train the model that is embedded in the package: `python tools/train_tiny.py`.

The first part begins with random weights. The second adds questions that people try first. `--from` leaves out the
first part.

Writes the model's folder (Hugging Face layout) with its card, and the held-out problems for the accuracy test. Needs
torch, tokenizers and safetensors. Ctrl-C loses at most the steps since the last checkpoint; continue with `--resume`.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import torch
from tiny.evaluation import HELD_OUT, evaluate, held_out_problems, write_held_out
from tiny.export import Measurement, load_weights, write_card, write_model
from tiny.model import Config, Qwen3
from tiny.problems import Problem
from tiny.samples import draw_sample
from tiny.tokenizer import CONTROL, SPECIAL, train_tokenizer
from tiny.training import TRIES, Recipe, train
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parent.parent


def make_tokenizer(seed: int) -> Tokenizer:
    """The tokenizer learned from the texts of samples, without their control tokens."""
    rng = random.Random(f"tokenizer {seed}")
    texts = []
    for _ in range(30000):
        for piece in draw_sample(rng).pieces:
            text = piece.text
            for token in SPECIAL + CONTROL:
                text = text.replace(token, "\0")
            texts += [t for t in text.split("\0") if t]
    return train_tokenizer(texts)


def measure(model: Qwen3, tokenizer: Tokenizer, problems: list[Problem]) -> list[Measurement]:
    """Measure all modes and weight formats, greedy, on the shipped problems; then sampling, and more for f32 and q4."""
    plan = [(problems, fmt, thinking, 0.0) for fmt in ("f32", "q8", "q4") for thinking in (True, False)]
    plan.append((problems, "f32", True, 0.6))
    more = held_out_problems(2 * HELD_OUT * 5, seed=7)
    plan += [(more, fmt, thinking, 0.0) for fmt in ("f32", "q8", "q4") for thinking in (True, False)]
    rows = []
    for some, fmt, thinking, temperature in plan:
        score = evaluate(model, tokenizer, some, thinking=thinking, fmt=fmt, temperature=temperature)
        rows.append(Measurement(len(some), fmt, thinking, temperature, score))
        mode = "thinking" if thinking else "direct"
        print(
            f"{len(some)} problems, {fmt}, {mode}: {score.all:.1f} % right ({score.multi:.1f} % multi-step)",
            file=sys.stderr,
        )
    return rows


def main() -> None:
    """Parse the arguments, train, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "qwen3cpu" / "assets" / "tiny", help="folder of the model")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "tiny", help="folder of the checkpoints")
    parser.add_argument("--held-out", type=Path, default=ROOT / "tests" / "support" / "tiny_heldout.json")
    parser.add_argument("--from", dest="start", type=Path, help="begin with this model instead of the first part")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    parser.add_argument("--threads", type=int, default=1, help="more than one helps on an idle machine only")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(args.seed)
    tokenizer.save(str(args.work / "tokenizer.json"))
    torch.manual_seed(args.seed)
    model = Qwen3(Config())
    parts = {"first": Recipe(seed=args.seed, steps=args.steps), "tries": TRIES}
    states = {}
    for name, recipe in parts.items():
        if name == "first" and args.start:
            load_weights(model, args.start)
        else:
            states[name] = train(tokenizer, model, recipe, args.work / f"{name}.pt", args.resume)
            write_model(args.work / name, model, tokenizer)
    problems = held_out_problems()
    write_held_out(args.held_out, problems)
    write_model(args.out, model, tokenizer)
    changed = [
        f" --{name} {value}"
        for name, value in (("steps", args.steps), ("seed", args.seed))
        if value != getattr(Recipe, name)
    ]
    write_card(
        args.out,
        model,
        tokenizer.get_vocab_size(),
        parts,
        states,
        measure(model, tokenizer, problems),
        "".join(changed),
    )


if __name__ == "__main__":
    main()
