"""Train the model with experts that tests ask: `python tools/train_tiny_experts.py`.

Its MLPs are made of those of the chat model inside the package, and then trained on the same problems. Writes the
model's folder in the layout of Qwen3-30B-A3B. Needs torch, tokenizers and safetensors.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from tiny.evaluation import evaluate, held_out_problems
from tiny.experts import ExpertConfig, ExpertRecipe, train_experts, with_experts
from tiny.export import round_to_bfloat16, write_model
from tiny.model import Config, Qwen3
from tiny.quantization import set_format
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "qwen3cpu" / "assets" / "tiny"


def main() -> None:
    """Parse the arguments, train, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "support" / "tiny_experts", help="folder")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=ExpertRecipe.steps)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = ExpertRecipe(steps=args.steps)
    torch.manual_seed(recipe.seed)
    tokenizer = Tokenizer.from_file(str(TINY / "tokenizer.json"))
    dense = Qwen3(Config())
    dense.load_state_dict({name: values.float() for name, values in load_file(TINY / "model.safetensors").items()})
    model = with_experts(dense, ExpertConfig(), recipe.balance)
    train_experts(model, tokenizer, recipe)
    set_format(model, "f32")
    model.compute = torch.float32
    round_to_bfloat16(model)
    write_model(args.out, model, tokenizer, "qwen3_moe", "Qwen3MoeForCausalLM")
    for thinking in (True, False):
        score = evaluate(model, tokenizer, held_out_problems(), thinking=thinking)
        print(f"{'thinking' if thinking else 'direct'}: {score.all:.1f} % of 200 right", file=sys.stderr)


if __name__ == "__main__":
    main()
