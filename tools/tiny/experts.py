"""A chat model whose MLPs are made into experts (sparse upcycling), and its training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tiny.model import MLP, Config, Qwen3
from tiny.training import Recipe


@dataclass(frozen=True)
class ExpertConfig(Config):
    """The shape of the model with experts. Two experts have as many rows as the MLP from which they are made."""

    decoder_sparse_step: int = 1
    moe_intermediate_size: int = 160
    norm_topk_prob: bool = True
    num_experts: int = 6
    num_experts_per_tok: int = 2


@dataclass
class ExpertRecipe(Recipe):
    """The settings that determine the result of a run. balance: the factor of the loss for uneven choices."""

    steps: int = 1600
    matrix_rate: float = 0.01
    other_rate: float = 2e-3
    warmup: int = 50
    decay_from: float = 0.3
    quantized_from: float = 0.7
    late_from: int = 0
    other_decay: float = 0.01
    balance: float = 0.01


class ExpertMLP(nn.Module):
    """A router and the experts it chooses from, as in transformers' Qwen3MoeSparseMoeBlock."""

    def __init__(self, c: ExpertConfig) -> None:
        super().__init__()
        self.chosen = c.num_experts_per_tok
        self.gate = nn.Linear(c.hidden_size, c.num_experts, bias=False)
        narrow = Config(hidden_size=c.hidden_size, intermediate_size=c.moe_intermediate_size)
        self.experts = nn.ModuleList([MLP(narrow) for _ in range(c.num_experts)])
        self.uneven = torch.zeros(())
        """The experts' shares of the tokens times their mean probabilities in the last pass; 1 if all are equal."""

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, L, hidden] -> the same shape."""
        rows = x.reshape(-1, x.shape[-1])
        probabilities = functional.linear(rows.float(), self.gate.weight).softmax(-1)
        weights, chosen = probabilities.topk(self.chosen, -1)
        weights = weights / weights.sum(-1, keepdim=True)
        out = torch.zeros_like(rows, dtype=torch.float32)
        shares = []
        for number, expert in enumerate(self.experts):
            token, place = (chosen == number).nonzero(as_tuple=True)
            out = out.index_add(0, token, expert(rows[token]).float() * weights[token, place, None])
            shares.append(len(token) / len(rows))
        even = len(self.experts) / self.chosen
        self.uneven = even * (torch.tensor(shares) * probabilities.mean(0)).sum()
        return out.to(x.dtype).view_as(x)


class ExpertQwen3(Qwen3):
    """The model with experts; its loss has a part for uneven choices."""

    def __init__(self, config: ExpertConfig, balance: float) -> None:
        super().__init__(config)
        self.balance = balance
        for layer in self.model.layers:
            layer.mlp = ExpertMLP(config)

    def loss(self, ids: Tensor, positions: Tensor, at: Tensor, targets: Tensor) -> Tensor:
        """As Qwen3.loss."""
        loss = super().loss(ids, positions, at, targets)
        return loss + self.balance * sum(layer.mlp.uneven for layer in self.model.layers)


def with_experts(dense: Qwen3, config: ExpertConfig, balance: float) -> ExpertQwen3:
    """Each expert begins as one half of the rows of the dense MLP: even experts as the first half, odd as the second.

    A token that uses an even and an odd expert with equal weights gets the result of the dense MLP.
    """
    model = ExpertQwen3(config, balance)
    model.load_state_dict(dense.state_dict(), strict=False)
    rows = config.moe_intermediate_size
    for layer, old in zip(model.model.layers, dense.model.layers, strict=True):
        for number, expert in enumerate(layer.mlp.experts):
            own = slice(number % 2 * rows, (number % 2 + 1) * rows)
            with torch.no_grad():
                expert.gate_proj.weight.copy_(old.mlp.gate_proj.weight[own])
                expert.up_proj.weight.copy_(old.mlp.up_proj.weight[own])
                # Two experts with equal weights have one half each.
                expert.down_proj.weight.copy_(2 * old.mlp.down_proj.weight[:, own])
    return model
