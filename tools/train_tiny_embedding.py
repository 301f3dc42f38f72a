"""Train the embedding model that is inside the package: `python tools/train_tiny_embedding.py`.

Begins with the embedding and the first layers of the chat model after the first part of its training
(tools/train_tiny.py). Writes the model's folder in the layout of Qwen3-Embedding with its card, and the texts and
questions that test search. Needs torch, tokenizers and safetensors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tiny.embedding import EmbeddingRecipe, first_hits, first_layers, train_embedding
from tiny.embedding_export import write_embedding_card, write_embedding_model, write_search_test
from tiny.export import load_weights
from tiny.facts import test_pairs
from tiny.model import Config, Qwen3
from tiny.training import round_to_bfloat16
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "qwen3cpu" / "assets"
FIRST = ROOT / "build" / "tiny" / "first"
LAYERS = 2
OTHER_DRAWS = range(101, 111)


def main() -> None:
    """Parse the arguments, train, test, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ASSETS / "tiny-embedding", help="folder of the model")
    parser.add_argument("--test", type=Path, default=ROOT / "tests" / "support" / "tiny_search.json")
    parser.add_argument("--from", dest="start", type=Path, default=FIRST, help="folder of the chat model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=EmbeddingRecipe.steps)
    parser.add_argument("--seed", type=int, default=EmbeddingRecipe.seed)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = Tokenizer.from_file(str(ASSETS / "tiny" / "tokenizer.json"))
    torch.manual_seed(args.seed)
    chat_model = Qwen3(Config())
    load_weights(chat_model, args.start)
    model = first_layers(chat_model, LAYERS)
    recipe = EmbeddingRecipe(seed=args.seed, steps=args.steps)
    losses, seconds = train_embedding(model, tokenizer, recipe)
    round_to_bfloat16(model)
    texts, questions = test_pairs(args.seed)
    write_search_test(args.test, texts, questions)
    write_embedding_model(args.out, model, tokenizer)
    hits = [
        (
            size,
            first_hits(model, tokenizer, texts, questions, size),
            sum(first_hits(model, tokenizer, *test_pairs(seed), size) for seed in OTHER_DRAWS) / len(OTHER_DRAWS),
        )
        for size in recipe.sizes
    ]
    changed = [
        f" --{name} {value}"
        for name, value in (("steps", args.steps), ("seed", args.seed))
        if value != getattr(EmbeddingRecipe, name)
    ]
    counts = (len(texts), len(questions))
    write_embedding_card(args.out, model, recipe, losses, seconds, hits, counts, "".join(changed))


if __name__ == "__main__":
    main()
