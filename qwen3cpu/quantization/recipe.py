"""The settings of calibration. docs/quality.md measures the defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from qwen3cpu.errors import ArgumentError
from qwen3cpu.quantization.gptq import Rounding
from qwen3cpu.text.tokenizer import check_text

DEFAULT_BITS: Final = 6.1


@dataclass(frozen=True)
class Recipe:
    """How a model is calibrated.

    Attributes:
        bits: bits per weight, the average over all matrices of the model. The matrices that gain most get q8 until the
            bits are spent. None: only the matrices that plain q4 keeps in q8 are in q8.
        tokens: length of the text that the model writes.
        sequence: tokens of each piece of it. A piece begins with a random token.
        held_out: tokens of further pieces, on which the costs of matrices are measured.
        seed: seed of the first tokens and of sampling.
        rounding: settings for rounding a matrix.
        text: a text to use instead of one that the model writes. Only whole pieces of it are used. For an embedding
            model, which was not made to write, choose texts like those it will embed.
    """

    bits: float | None = DEFAULT_BITS
    tokens: int = 16384
    sequence: int = 512
    held_out: int = 1024
    seed: int = 0
    rounding: Rounding = field(default_factory=Rounding)
    text: str | None = None


def check_recipe(recipe: Recipe) -> None:
    """Raise ArgumentError for numbers out of range."""
    counts = {"tokens": recipe.tokens, "sequence": recipe.sequence, "held_out": recipe.held_out}
    for name, count in counts.items():
        if type(count) is not int or count < 2:
            raise ArgumentError(f"{name}: expected a whole number of tokens from 2, found {count!r}")
    if type(recipe.seed) is not int or not 0 <= recipe.seed < 1 << 64:
        raise ArgumentError(f"seed: expected a whole number from 0 to 2**64 - 1, found {recipe.seed!r}")
    if recipe.bits is not None and not (type(recipe.bits) in (int, float) and 4 <= recipe.bits <= 9):
        raise ArgumentError(f"bits: expected 4 to 9 per weight, found {recipe.bits!r}")
    if recipe.text is not None:
        check_text(recipe.text, "text")
    if not 0 < recipe.rounding.damping <= 1:
        raise ArgumentError(f"damping: expected a number above 0 and up to 1, found {recipe.rounding.damping!r}")
    if not 0 <= recipe.rounding.shared < float("inf"):
        raise ArgumentError(f"shared: expected a number from 0, found {recipe.rounding.shared!r}")
