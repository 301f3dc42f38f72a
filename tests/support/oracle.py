"""A slow Qwen3 in NumPy, written from the published description of the architecture: the oracle of the engine's tests.

It computes in float64 by default, one sequence at a time, without a cache. Every product with a weight matrix goes
through `linear`, and every key and value through `store`. So a test can replace these two by those of a quantised
format (tests/support/quantized_oracle.py) without changing the rest.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from checkpoints import has_experts
from numpy.typing import NDArray

Array = NDArray[Any]
Weights = Mapping[str, Array]


def rope_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rope settings of a config.json in either spelling, rope_theta included."""
    old = {"rope_theta": config.get("rope_theta", 10000.0), **(config.get("rope_scaling") or {})}
    rope = {**old, **(config.get("rope_parameters") or {})}
    rope.setdefault("rope_type", rope.get("type", "default"))
    return rope


def inverse_frequencies(config: Mapping[str, Any]) -> tuple[Array, float]:
    """(float64 [head_dim / 2] radians per position, factor on cos and sin), YaRN as in arXiv 2309.00071."""
    rope, dim = rope_parameters(config), config["head_dim"]
    theta = float(rope["rope_theta"])
    plain = theta ** -(np.arange(0, dim, 2, dtype=np.float64) / dim)
    if rope["rope_type"] == "default":
        return plain, 1.0
    assert rope["rope_type"] == "yarn", rope
    factor, trained = float(rope["factor"]), rope["original_max_position_embeddings"]

    def pair_that_turns(times: float) -> float:
        return dim * math.log(trained / (times * 2 * math.pi)) / (2 * math.log(theta))

    first = max(math.floor(pair_that_turns(rope.get("beta_fast") or 32.0)), 0)
    last = min(math.ceil(pair_that_turns(rope.get("beta_slow") or 1.0)), dim - 1)
    slow = np.clip((np.arange(dim // 2) - first) / (last - first or 0.001), 0.0, 1.0)
    attention_factor = rope.get("attention_factor")
    if attention_factor is None:
        attention_factor = 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0
    return plain * (1 - slow) + plain / factor * slow, float(attention_factor)


def rms_norm(x: Array, weight: Array, eps: float) -> Array:
    """Scale x [..., n] to a root mean square of 1, and multiply by weight [n]."""
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + x.dtype.type(eps)) * weight


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Rotate the pairs (i, i + head_dim / 2) of x [tokens, heads, head_dim]; cos, sin [tokens, head_dim / 2]."""
    first, second = np.split(x, 2, axis=-1)
    cos, sin = cos[:, None], sin[:, None]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def softmax(scores: Array) -> Array:
    """Softmax over the last axis; -inf gets 0."""
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def silu(x: Array) -> Array:
    """Return x * sigmoid(x) without overflow."""
    e = np.exp(-np.abs(x))
    return x * np.where(x >= 0, 1, e) / (1 + e)


@dataclass
class Oracle:
    """config: a config.json. weights: tensors by their checkpoint names, any float dtype, [out, in] matrices.

    `linear(name, x [tokens, in]) -> [tokens, out]` is the product with weight matrix `name`, without bias.
    `embed(ids) -> [tokens, hidden]`. `store(x)` returns keys or values x as the KV cache gives them back.
    """

    config: Mapping[str, Any]
    weights: Weights
    dtype: type = np.float64
    linear: Callable[[str, Array], Array] | None = None
    embed: Callable[[Array], Array] | None = None
    store: Callable[[Array], Array] = lambda x: x
    least_lead: float = math.inf
    """The least difference between a chosen expert's router logit and that of an expert that was not chosen."""

    def logits(self, ids: Array) -> Array:
        """The logits [tokens, vocab_size] for one sequence of token ids."""
        x = self.hidden_states(ids)[-1]
        head = "model.embed_tokens" if self.config.get("tie_word_embeddings") else "lm_head"
        return self._linear(head, self._norm("model.norm", x))

    def hidden_states(self, ids: Array) -> list[Array]:
        """The residual stream [tokens, hidden_size] after the embedding and after each layer: n_layers + 1 arrays."""
        if self.embed is not None:
            x = self.embed(ids).astype(self.dtype)
        else:
            x = self._weight("model.embed_tokens.weight")[ids]
        states = [x]
        for layer in range(self.config["num_hidden_layers"]):
            p = f"model.layers.{layer}."
            x = x + self._attend(p + "self_attn.", self._norm(p + "input_layernorm", x))
            mlp = self._experts if has_experts(self.config, layer) else self._mlp
            x = x + mlp(p + "mlp.", self._norm(p + "post_attention_layernorm", x))
            states.append(x)
        return states

    def greedy(self, prompt: Array, count: int) -> list[int]:
        """The `count` tokens after `prompt`, each with the largest logit."""
        ids = list(prompt)
        for _ in range(count):
            ids.append(int(self.logits(np.array(ids))[-1].argmax()))
        return ids[len(prompt) :]

    def _attend(self, p: str, h: Array) -> Array:
        n, heads, kv_heads = len(h), self.config["num_attention_heads"], self.config["num_key_value_heads"]
        dim = self.config["head_dim"]
        q = self._norm(p + "q_norm", self._biased(p + "q_proj", h).reshape(n, heads, dim))
        k = self._norm(p + "k_norm", self._biased(p + "k_proj", h).reshape(n, kv_heads, dim))
        v = self._biased(p + "v_proj", h).reshape(n, kv_heads, dim)

        inv_freq, scale = inverse_frequencies(self.config)
        angle = np.arange(n)[:, None] * inv_freq
        cos, sin = ((f(angle) * scale).astype(self.dtype) for f in (np.cos, np.sin))
        q, k, v = rotate(q, cos, sin), self.store(rotate(k, cos, sin)), self.store(v)

        out = np.empty_like(q)
        future = np.triu(np.ones((n, n), dtype=bool), 1)
        for head in range(heads):
            kv_head = head // (heads // kv_heads)
            scores = q[:, head] @ k[:, kv_head].T / self.dtype(math.sqrt(dim))
            out[:, head] = softmax(np.where(future, -np.inf, scores)) @ v[:, kv_head]
        return self._biased(p + "o_proj", out.reshape(n, heads * dim))

    def _mlp(self, p: str, h: Array) -> Array:
        return self._linear(p + "down_proj", silu(self._linear(p + "gate_proj", h)) * self._linear(p + "up_proj", h))

    def _experts(self, p: str, h: Array) -> Array:
        """Each token through the experts with its largest router logits; of equal logits the lower number wins."""
        router = h @ self._weight(p + "gate.weight").T  # never quantised
        k = self.config["num_experts_per_tok"]
        order = np.argsort(-router, axis=1, kind="stable")
        ranked = np.take_along_axis(router, order, 1)
        if k < router.shape[1]:
            self.least_lead = min(self.least_lead, float((ranked[:, k - 1] - ranked[:, k]).min()))
        shares = softmax(router)
        out = np.zeros_like(h)
        for expert in range(router.shape[1]):
            tokens = np.flatnonzero((order[:, :k] == expert).any(1))
            if len(tokens) == 0:
                continue
            weight = shares[tokens, expert]
            if self.config.get("norm_topk_prob", False):
                weight = weight / np.take_along_axis(shares, order[:, :k], 1)[tokens].sum(1)
            out[tokens] += weight[:, None] * self._mlp(f"{p}experts.{expert}.", h[tokens])
        return out

    def _norm(self, name: str, x: Array) -> Array:
        return rms_norm(x, self._weight(name + ".weight"), self.config["rms_norm_eps"])

    def _biased(self, name: str, x: Array) -> Array:
        y = self._linear(name, x)
        return y + self._weight(name + ".bias") if self.config.get("attention_bias") else y

    def _linear(self, name: str, x: Array) -> Array:
        if self.linear is not None:
            return self.linear(name + ".weight", x).astype(self.dtype)
        return x @ self._weight(name + ".weight").T

    def _weight(self, name: str) -> Array:
        return np.asarray(self.weights[name]).astype(self.dtype)
