"""Contrastive training of the embedding model: questions and the texts that answer them, against the whole batch."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from tiny.facts import draw_pair
from tiny.model import Config, Qwen3
from tiny.samples import vary
from tiny.training import Progress, Recipe, optimizers, rate_at

INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
INSTRUCTIONS = (INSTRUCTION, INSTRUCTION, "Find the text that answers the question", "Find a note about this")


@dataclass
class EmbeddingRecipe(Recipe):
    """The settings that determine the result of a run.

    pairs: questions and texts of a batch. temperature: divides the cosines. sizes: numbers of dimensions that are
    trained to be useful alone.
    """

    steps: int = 800
    pairs: int = 96
    matrix_rate: float = 0.01
    other_rate: float = 2e-3
    warmup: int = 50
    temperature: float = 0.05
    sizes: tuple[int, ...] = (128, 64, 32)


def query_prefix(instruction: str) -> str:
    """The text before a query."""
    return f"Instruct: {instruction}\nQuery:"


def first_layers(model: Qwen3, layers: int) -> Qwen3:
    """A smaller model with the same embedding, first layers and last norm."""
    config = Config(**{**vars(model.config), "num_hidden_layers": layers})
    small = Qwen3(config)
    kept = small.state_dict()
    small.load_state_dict({name: values for name, values in model.state_dict().items() if name in kept})
    return small


class Encoder:
    """Texts to vectors, with gradients.

    Args:
        model: gives the hidden states.
        tokenizer: of the model, without an end token of its own.
    """

    def __init__(self, model: Qwen3, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.end = tokenizer.token_to_id("<|endoftext|>")

    def vectors(self, texts: list[str], before: str = "") -> Tensor:
        """The states after the last norm at the end tokens: float32 [texts, hidden], not of length 1."""
        encoded = [each.ids for each in self.tokenizer.encode_batch([before + text for text in texts])]
        start = self._shared(encoded) if before else 0
        width = max(map(len, encoded)) + 1 - start
        ids = torch.tensor([row[start:] + [self.end] * (width - len(row) + start) for row in encoded])
        last = torch.tensor([len(row) - start for row in encoded])
        positions = torch.arange(start, start + width).expand(len(texts), -1)
        past = mask = None
        if start:
            _, common = self.model.hidden(torch.tensor([encoded[0][:start]]), torch.arange(start)[None])
            past = [(k.expand(len(texts), -1, -1, -1), v.expand(len(texts), -1, -1, -1)) for k, v in common]
            mask = torch.ones(width, start + width, dtype=torch.bool).tril(start)
        hidden, _ = self.model.hidden(ids, positions, mask, past)
        normed: Tensor = self.model.model.norm(hidden[torch.arange(len(texts)), last])
        return normed.float()

    @staticmethod
    def _shared(encoded: list[list[int]]) -> int:
        first, last = min(encoded), max(encoded)
        most = min(map(len, encoded))
        return next((place for place in range(most) if first[place] != last[place]), most)


def contrastive_loss(queries: Tensor, texts: Tensor, keys: list[str], recipe: EmbeddingRecipe) -> Tensor:
    """Cross entropy of each question's text among all texts, and of each text's question, for all sizes.

    queries, texts: [pairs, hidden]. keys: pairs with equal keys are not negatives of each other.
    """
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    of = torch.tensor([numbers[key] for key in keys])
    same = (of[:, None] == of[None]) & ~torch.eye(len(keys), dtype=torch.bool)
    target = torch.arange(len(keys))
    total = torch.zeros(())
    for size in recipe.sizes:
        a, b = functional.normalize(queries[:, :size], dim=-1), functional.normalize(texts[:, :size], dim=-1)
        logits = (a @ b.T / recipe.temperature).masked_fill(same, float("-inf"))
        total = total + functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
    return total / (2 * len(recipe.sizes))


def train_embedding(
    model: Qwen3, tokenizer: Tokenizer, recipe: EmbeddingRecipe
) -> tuple[list[tuple[int, float]], float]:
    """Train in place. Returns (step, mean loss) at intervals, and the seconds of the training."""
    rng = random.Random(f"embedding {recipe.seed}")
    torch.manual_seed(recipe.seed)
    encoder, opts = Encoder(model, tokenizer), optimizers(model, recipe)
    progress, losses, mean = Progress(recipe.steps), [], 0.0
    started = time.monotonic()
    model.compute = torch.bfloat16
    for step in range(recipe.steps):
        factor = rate_at(step, recipe)
        for opt, rate in zip(opts, (recipe.matrix_rate, recipe.other_rate), strict=True):
            for group in opt.param_groups:
                group["lr"] = rate * factor
        pairs = [draw_pair(rng) for _ in range(recipe.pairs)]
        queries = encoder.vectors([vary(pair.question, rng) for pair in pairs], query_prefix(rng.choice(INSTRUCTIONS)))
        texts = encoder.vectors([pair.text for pair in pairs])
        loss = contrastive_loss(queries, texts, [pair.key for pair in pairs], recipe)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        mean = loss.item() if step == 0 else 0.98 * mean + 0.02 * loss.item()
        if (step + 1) % 100 == 0:
            losses.append((step + 1, round(mean, 4)))
        progress.show(step + 1, mean, (step + 1) / (time.monotonic() - started))
    model.compute = torch.float32
    return losses, time.monotonic() - started


@torch.no_grad()
def first_hits(
    model: Qwen3, tokenizer: Tokenizer, texts: list[str], questions: list[tuple[str, int]], size: int
) -> int:
    """The number of questions whose own text is the nearest, by the first `size` dimensions."""
    encoder = Encoder(model, tokenizer)
    rows = functional.normalize(encoder.vectors(texts)[:, :size], dim=-1)
    asked = functional.normalize(
        encoder.vectors([question for question, _ in questions], query_prefix(INSTRUCTION))[:, :size], dim=-1
    )
    nearest = (asked @ rows.T).argmax(-1).tolist()
    return sum(found == place for found, (_, place) in zip(nearest, questions, strict=True))
