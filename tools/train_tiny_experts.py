"""Train the model with experts for tests: `python tools/train_tiny_experts.py`.

Its MLPs are made from those of the embedded chat model after the first part of its training (tools/train_tiny.py). Then
they are trained on the same problems. Writes the model's folder in the layout of Qwen3-30B-A3B. Needs torch, tokenizers
and safetensors. Ctrl-C loses at most the steps since the last checkpoint; continue with `--resume`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from tiny.evaluation import evaluate, held_out_problems
from tiny.experts import ExpertConfig, ExpertRecipe, with_experts
from tiny.export import load_weights, write_model
from tiny.model import Config, Qwen3
from tiny.training import train
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "tiny"


def main() -> None:
    """Parse the arguments, train, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "support" / "tiny_experts", help="folder")
    parser.add_argument("--from", dest="start", type=Path, default=WORK / "first", help="folder of the chat model")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the checkpoints")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=ExpertRecipe.steps)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = ExpertRecipe(steps=args.steps)
    torch.manual_seed(recipe.seed)
    tokenizer = Tokenizer.from_file(str(args.start / "tokenizer.json"))
    dense = Qwen3(Config())
    load_weights(dense, args.start)
    model = with_experts(dense, ExpertConfig(), recipe.balance)
    args.work.mkdir(parents=True, exist_ok=True)
    train(tokenizer, model, recipe, args.work / "experts.pt", args.resume)
    write_model(args.out, model, tokenizer, "qwen3_moe", "Qwen3MoeForCausalLM")
    for thinking in (True, False):
        score = evaluate(model, tokenizer, held_out_problems(), thinking=thinking)
        print(f"{'thinking' if thinking else 'direct'}: {score.all:.1f} % of 200 right", file=sys.stderr)


if __name__ == "__main__":
    main()
