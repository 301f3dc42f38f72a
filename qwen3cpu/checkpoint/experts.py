"""Reads what config.json says about experts: their number, how many the router chooses, and the layers with experts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from qwen3cpu.checkpoint.json_fields import Fields

MODEL_TYPE: Final = "qwen3_moe"
ARCHITECTURE: Final = "Qwen3MoeForCausalLM"
MOST_EXPERTS: Final = 4096


@dataclass(frozen=True)
class Experts:
    """Settings of the layers with experts. Source: transformers' Qwen3MoeConfig.

    Attributes:
        count: experts in a layer.
        chosen: experts that the router chooses for each token.
        width: rows of an expert's gate and up projections.
        normalised: whether the weights of the chosen experts are scaled to add up to 1.
        dense_layers: numbers of the layers without experts, ascending.
    """

    count: int
    chosen: int
    width: int
    normalised: bool
    dense_layers: tuple[int, ...] = ()

    def native(self, fetched: bool) -> dict[str, Any]:
        """Return the settings for `_native.Model`. fetched: read chosen experts ahead, as memory cannot hold all."""
        return {
            "count": self.count,
            "chosen": self.chosen,
            "width": self.width,
            "normalised": self.normalised,
            "dense_layers": list(self.dense_layers),
            "fetched": fetched,
        }


def read_experts(fields: Fields, layers: int) -> Experts | None:
    """Read the experts of a config.json with `layers` layers; None: no layer has experts.

    Raises the error of `fields` for a missing or invalid value.
    """
    if fields.values.get("model_type") != MODEL_TYPE:
        return None
    # Some tools write num_local_experts, the key of other architectures.
    key = "num_experts" if "num_experts" in fields.values else "num_local_experts"
    count = fields.integer(key, 0, MOST_EXPERTS)
    if count == 0:
        return None
    step = fields.optional_integer("decoder_sparse_step", 1, 1 << 20) or 1
    named = _layer_numbers(fields)
    dense = tuple(layer for layer in range(layers) if layer in named or (layer + 1) % step)
    if len(dense) == layers:
        return None
    return Experts(
        count=count,
        chosen=fields.integer("num_experts_per_tok", 1, count),
        width=fields.integer("moe_intermediate_size", 1, 1 << 20),
        normalised=fields.boolean("norm_topk_prob", False),
        dense_layers=dense,
    )


def _layer_numbers(fields: Fields) -> frozenset[int]:
    """Read `mlp_only_layers`: layers that are dense regardless of the step. Numbers beyond the last are ignored."""
    numbers = fields.values.get("mlp_only_layers") or []
    if not isinstance(numbers, list) or not all(type(each) is int and each >= 0 for each in numbers):
        raise fields.fail("mlp_only_layers", "a list of layer numbers")
    return frozenset(numbers)
