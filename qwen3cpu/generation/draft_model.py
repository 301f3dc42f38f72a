"""Makes a small model draft the answers of a large one."""

from __future__ import annotations

from qwen3cpu.engine.model_drafts import DraftModel
from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.answerer import Answerer


def use_draft_model(large: Answerer, small: Answerer, names: tuple[str, str]) -> None:
    """Add the small model to the sources of drafts.

    Args:
        large: the answerer of the model whose answers are drafted.
        small: the answerer of the small model.
        names: of both models, for messages.

    Raises:
        ArgumentError: the small model was not made to write text, or has another tokenizer.
    """
    small.request()  # refuses a model that was made for something else
    of_large, of_small = large.surroundings, small.surroundings
    mine, other = of_large.tokenizer, of_small.tokenizer
    if mine.fingerprint != other.fingerprint:
        raise ArgumentError(f"draft: expected a model with the tokenizer of {names[0]}, found another in {names[1]}")
    tokens = min(mine.size, of_large.engine.vocab_size, of_small.engine.vocab_size)
    drafts = DraftModel(of_small.engine, of_large.engine, tokens)
    large.surroundings = of_large.with_drafter(drafts.drafter)
