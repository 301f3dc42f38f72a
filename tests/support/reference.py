"""transformers' Qwen3 models in float32 with eager attention: the reference implementation of the parity tests.

Import it after `pytest.importorskip("torch")` and `pytest.importorskip("transformers")`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import transformers
from checkpoints import has_experts
from numpy.typing import NDArray

torch.set_num_threads(1)


def _as_kept(
    config: Mapping[str, Any], weights: Mapping[str, NDArray[np.float32]]
) -> Mapping[str, NDArray[np.float32]]:
    """Weights in the model's memory layout: the experts of a layer in one array, gate before up."""
    kept = {name: values for name, values in weights.items() if ".experts." not in name}
    for layer in range(config["num_hidden_layers"]):
        if not has_experts(config, layer):
            continue
        at = f"model.layers.{layer}.mlp.experts."
        stacked = {
            part: np.stack([weights[f"{at}{n}.{part}.weight"] for n in range(config["num_experts"])])
            for part in ("gate_proj", "up_proj", "down_proj")
        }
        kept[at + "gate_up_proj"] = np.concatenate([stacked["gate_proj"], stacked["up_proj"]], axis=1)
        kept[at + "down_proj"] = stacked["down_proj"]
    return kept


class Reference:
    """A model with given weights. config: a config.json; weights: every tensor by its checkpoint name."""

    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, NDArray[np.float32]]) -> None:
        name = "Qwen3Moe" if "num_experts" in config else "Qwen3"
        parsed = getattr(transformers, f"{name}Config").from_dict(dict(config))
        parsed._attn_implementation = parsed._experts_implementation = "eager"
        self.model = getattr(transformers, f"{name}ForCausalLM")(parsed).float().eval()
        state = {name: torch.from_numpy(np.array(values)) for name, values in _as_kept(config, weights).items()}
        if config["tie_word_embeddings"]:
            state["lm_head.weight"] = state["model.embed_tokens.weight"]
        self.model.load_state_dict(state, strict=True)

    @torch.no_grad()
    def run(self, ids: NDArray[np.int32]) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """(logits [tokens, vocab_size], the residual stream after the embedding and after each layer).

        transformers reports the last hidden state after the final norm; here it is taken before the norm.
        """
        states: list[NDArray[np.float32]] = []
        hooks = [
            layer.register_forward_hook(lambda _module, _args, out: states.append(out[0].numpy().copy()))
            for layer in (self.model.model.embed_tokens, *self.model.model.layers)
        ]
        try:
            logits = self.model(torch.from_numpy(ids.astype(np.int64))[None], use_cache=False).logits[0]
        finally:
            for hook in hooks:
                hook.remove()
        return logits.numpy(), states

    @torch.no_grad()
    def last_hidden_state(self, ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """The input of the head, after the final norm: [tokens, hidden_size]."""
        hidden: NDArray[np.float32] = (
            self.model.model(torch.from_numpy(ids.astype(np.int64))[None], use_cache=False).last_hidden_state[0].numpy()
        )
        return hidden

    @torch.no_grad()
    def greedy(self, prompt: NDArray[np.int32], count: int) -> tuple[list[int], float]:
        """(`count` tokens of largest logit, smallest lead of a first over a second logit, in units of the largest)."""
        tokens = torch.from_numpy(prompt.astype(np.int64))[None]
        lead = float("inf")
        for _ in range(count):
            # Without a cache, because its argument has another name from transformers 5.24 on.
            logits = self.model(tokens, use_cache=False).logits[0, -1]
            first, second = logits.topk(2).values.tolist()
            lead = min(lead, (first - second) / float(logits.abs().max()))
            tokens = torch.cat([tokens, logits.argmax()[None, None]], dim=1)
        return tokens[0, len(prompt) :].tolist(), lead
