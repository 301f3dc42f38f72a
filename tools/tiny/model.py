"""The Qwen3 architecture in PyTorch, for training and for checking: HF tensor names, key-value cache, generation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Cache = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Config:
    """The shape of the model; field names are those of config.json."""

    vocab_size: int = 1024
    hidden_size: int = 128
    num_hidden_layers: int = 5
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    head_dim: int = 32
    intermediate_size: int = 320
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    max_position_embeddings: int = 4096


class Linear(nn.Linear):
    """A linear layer without bias whose weight, and input, can pass through a function (fake quantisation)."""

    on_weight: Callable[[Tensor], Tensor] | None = None
    on_input: Callable[[Tensor], Tensor] | None = None

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., in_features] -> [..., out_features]."""
        weight = self.weight if self.on_weight is None else self.on_weight(self.weight)
        return functional.linear(x if self.on_input is None else self.on_input(x), weight.to(x.dtype))


class Normalize(torch.autograd.Function):
    """x / rms(x) * weight in a given dtype. Composed of torch's operators it would take a third of a step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:  # type: ignore[override]
        """x: [..., size], weight: [size] -> [..., size] of `dtype`; the mean is taken in float32."""
        wide = x.float()
        inverse = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        normed = (wide * inverse).to(dtype)
        ctx.save_for_backward(normed, weight, inverse)
        return normed * weight.to(dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override]
        """The gradients of x and weight."""
        normed, weight, inverse = ctx.saved_tensors
        product = gradient * normed
        for_weight = product.reshape(-1, normed.shape[-1]).sum(0, dtype=torch.float32)
        factor = weight.to(gradient.dtype)
        along = (product @ factor[:, None]) / normed.shape[-1]
        return torch.addcmul(gradient * factor, normed, along, value=-1) * inverse, for_weight, None, None


class RMSNorm(nn.Module):
    """Root mean square norm over the last dimension, with a learned factor."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """x: [..., size] -> the same shape, of `dtype` (default: that of x)."""
        return Normalize.apply(x, self.weight, self.eps, dtype or x.dtype)  # type: ignore[no-any-return]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of pairs (i, i + head_dim/2). x: [B, heads, L, head_dim]; cos, sin: [B, 1, L, head_dim/2]."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Attention(nn.Module):
    """Grouped-query attention with norms on queries and keys."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = c.num_attention_heads, c.num_key_value_heads, c.head_dim
        self.q_proj = Linear(c.hidden_size, self.heads * self.head_dim)
        self.k_proj = Linear(c.hidden_size, self.kv_heads * self.head_dim)
        self.v_proj = Linear(c.hidden_size, self.kv_heads * self.head_dim)
        self.o_proj = Linear(self.heads * self.head_dim, c.hidden_size)
        self.q_norm, self.k_norm = RMSNorm(self.head_dim, c.rms_norm_eps), RMSNorm(self.head_dim, c.rms_norm_eps)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x: [B, L, hidden]; mask: [B, 1, L, past + L] or None for causal -> [B, L, hidden] and keys, values."""
        batch, length, _ = x.shape
        split = (batch, length, -1, self.head_dim)
        q = rotate(self.q_norm(self.q_proj(x).view(split)).transpose(1, 2), *rope)
        k = rotate(self.k_norm(self.k_proj(x).view(split)).transpose(1, 2), *rope)
        v = self.v_proj(x).view(split).transpose(1, 2)
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        group = self.heads // self.kv_heads
        wide_k, wide_v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        # In float32, because the bfloat16 backward pass of this operator is ten times slower on CPUs.
        out = functional.scaled_dot_product_attention(
            q.float(), wide_k.float(), wide_v.float(), attn_mask=mask, is_causal=mask is None
        ).to(x.dtype)
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, -1)), (k, v)


class Gate(torch.autograd.Function):
    """silu(a) * b that keeps only a and b for the backward pass."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:  # type: ignore[override]
        """a, b: the same shape."""
        ctx.save_for_backward(a, b)
        return functional.silu(a) * b

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """The gradients of a and b."""
        a, b = ctx.saved_tensors
        return torch.ops.aten.silu_backward(gradient * b, a), gradient * functional.silu(a)


class MLP(nn.Module):
    """The gated feed-forward layer."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.gate_proj = Linear(c.hidden_size, c.intermediate_size)
        self.up_proj = Linear(c.hidden_size, c.intermediate_size)
        self.down_proj = Linear(c.intermediate_size, c.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, L, hidden] -> the same shape."""
        return self.down_proj(Gate.apply(self.gate_proj(x), self.up_proj(x)))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """One transformer layer."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(c), MLP(c)
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """As Attention.forward, with the residual stream in float32 and the rest in the dtype of `rope`."""
        compute = rope[0].dtype
        attended, present = self.self_attn(self.input_layernorm(x, compute), rope, mask, past)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x, compute)), present


class Backbone(nn.Module):
    """Embedding, layers and the last norm (the `model.` of the checkpoint)."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList([Layer(c) for _ in range(c.num_hidden_layers)])
        self.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)


class Qwen3(nn.Module):
    """The whole model with the tied head."""

    on_embedding: Callable[[Tensor], Tensor] | None = None
    compute: torch.dtype = torch.float32

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.model = Backbone(config)
        half = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
        self.register_buffer("inv_freq", config.rope_theta**-half, persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                std = 0.02 if "embed" in name else p.shape[1] ** -0.5
                scale = (2 * config.num_hidden_layers) ** -0.5 if "o_proj" in name or "down_proj" in name else 1.0
                nn.init.normal_(p, std=std * scale)

    def embedding(self) -> Tensor:
        """The embedding matrix [vocab, hidden], through the fake quantizer when one is set."""
        weight = self.model.embed_tokens.weight
        return weight if self.on_embedding is None else self.on_embedding(weight)

    def hidden(
        self, ids: Tensor, positions: Tensor, mask: Tensor | None = None, past: Cache | None = None
    ) -> tuple[Tensor, Cache]:
        """ids, positions: [B, L] -> hidden states [B, L, hidden] before the last norm, and keys, values by layer."""
        angles = (positions[..., None].float() * self.inv_freq)[:, None]
        rope = (angles.cos().to(self.compute), angles.sin().to(self.compute))
        x = functional.embedding(ids, self.embedding())
        presents: Cache = []
        for i, layer in enumerate(self.model.layers):
            x, present = layer(x, rope, mask, None if past is None else past[i])
            presents.append(present)
        return x, presents

    def loss(self, ids: Tensor, positions: Tensor, at: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy of `targets` [N] at the flat positions `at` [N] of ids [B, L]."""
        hidden, _ = self.hidden(ids, positions)
        return functional.cross_entropy(self.logits(hidden.reshape(-1, hidden.shape[-1])[at]), targets)

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden: [N, hidden] -> [N, vocab] in float32."""
        return functional.linear(self.model.norm(hidden, self.compute), self.embedding().to(self.compute)).float()


@torch.no_grad()
def generate(
    model: Qwen3, prompts: list[list[int]], stop: set[int], limit: int, temperature: float = 0.0, seed: int = 0
) -> list[list[int]]:
    """Continue all prompts at once (left-padded) until a stop id or `limit` tokens; temperature 0 is greedy."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
    real = torch.tensor([[False] * (longest - len(p)) + [True] * len(p) for p in prompts])
    positions = (real.cumsum(1) - 1).clamp(min=0)
    causal = torch.ones(longest, longest, dtype=torch.bool).tril()
    # A padded row attends to itself, because its softmax would be nan if it attended to nothing.
    mask = (causal & real[:, None, None, :]) | torch.eye(longest, dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    out: list[list[int]] = [[] for _ in prompts]
    live = list(range(len(prompts)))
    past: Cache | None = None
    for _ in range(limit):
        hidden, past = model.hidden(ids, positions, mask, past)
        logits = model.logits(hidden[:, -1])
        if temperature > 0:
            token = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)
        else:
            token = logits.argmax(-1, keepdim=True)
        for row, value in zip(live, token[:, 0].tolist(), strict=True):
            out[row].append(value)
        keep = [i for i, row in enumerate(live) if out[row][-1] not in stop]
        if not keep:
            break
        live = [live[i] for i in keep]
        past = [(k[keep], v[keep]) for k, v in past]
        real = torch.cat((real, torch.ones(len(real), 1, dtype=torch.bool)), 1)[keep]
        ids, positions, mask = token[keep], positions[keep, -1:] + 1, real[:, None, None, :]
    return out
