"""Fake quantisation: simulates the engine's 4- and 8-bit weights and 8-bit activations in floating point."""

from __future__ import annotations

import torch
from torch import Tensor

from tiny.model import Linear, Qwen3

GROUP = 32
SCALE_SEARCH = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7)


def grouped(x: Tensor) -> Tensor:
    """[..., k] -> [..., k / 32, 32]."""
    return x.unflatten(-1, (-1, GROUP))


def int8(x: Tensor) -> Tensor:
    """Round x to 8 bits in groups of 32 along the last dimension, with scale amax / 127."""
    groups = grouped(x)
    scale = groups.abs().amax(-1, keepdim=True).clamp(min=1e-12) / 127
    return ((groups / scale).round() * scale).flatten(-2)


def int4(x: Tensor) -> Tensor:
    """Round x to symmetric 4 bits in groups of 32, with the best of a few scales by squared error."""
    groups = grouped(x)
    # The value of largest magnitude gets the code -8, one level more than with amax / 7.
    extreme = groups.gather(-1, groups.abs().argmax(-1, keepdim=True))
    base = torch.where(extreme == 0, torch.full_like(extreme, 1e-12), extreme / -8)
    best = torch.zeros_like(groups)
    least = torch.full_like(base, float("inf"))
    for factor in SCALE_SEARCH:
        scale = base * factor
        candidate = (groups / scale).round().clamp(-8, 7) * scale
        error = (candidate - groups).square().sum(-1, keepdim=True)
        better = error < least
        best, least = torch.where(better, candidate, best), torch.where(better, error, least)
    return best.flatten(-2)


class StraightThrough(torch.autograd.Function):
    """A rounding in the forward pass, the identity in the backward pass."""

    @staticmethod
    def forward(_ctx: object, x: Tensor, bits: int) -> Tensor:
        """x: [..., k] -> the rounded x."""
        return int4(x) if bits == 4 else int8(x)

    @staticmethod
    def backward(_ctx: object, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """The unchanged gradient."""
        return gradient, None


def quantize_weights(x: Tensor) -> Tensor:
    """4-bit rounding for training."""
    return StraightThrough.apply(x, 4)  # type: ignore[no-any-return]


def quantize_embedding(x: Tensor) -> Tensor:
    """8-bit rounding for training."""
    return StraightThrough.apply(x, 8)  # type: ignore[no-any-return]


def set_format(model: Qwen3, name: str, activations: bool = True) -> None:
    """Make the model compute as the engine does in a weight format: "f32", "q8" or "q4"."""
    weight = {"f32": None, "q8": quantize_embedding, "q4": quantize_weights}[name]
    model.on_embedding = None if name == "f32" else quantize_embedding
    for module in model.modules():
        if isinstance(module, Linear):
            module.on_weight = weight
            module.on_input = quantize_embedding if activations and name != "f32" else None
