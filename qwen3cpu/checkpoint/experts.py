"""What config.json says about experts: how many a layer has, how many a token goes through, which layers have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from qwen3cpu.checkpoint.json_fields import Fields

MODEL_TYPE: Final = "qwen3_moe"
ARCHITECTURE: Final = "Qwen3MoeForCausalLM"
MOST_EXPERTS: Final = 4096


@dataclass(frozen=True)
class Experts:
    """The layers with experts of a Qwen3 model. Source: transformers' Qwen3MoeConfig.

    Attributes:
        count: experts of a layer.
        chosen: how many of them a token goes through.
        width: rows of an expert's gate and up projections.
        normalised: whether the weights of the chosen ones are scaled to add up to 1.
        dense_layers: numbers of the layers without experts, ascending.
    """

    count: int
    chosen: int
    width: int
    normalised: bool
    dense_layers: tuple[int, ...] = ()

    def native(self, fetched: bool) -> dict[str, Any]:
        """As `_native.Model` takes them. fetched: memory does not hold them all, so the chosen ones are read ahead."""
        return {
            "count": self.count,
            "chosen": self.chosen,
            "width": self.width,
            "normalised": self.normalised,
            "dense_layers": list(self.dense_layers),
            "fetched": fetched,
        }


def read_experts(fields: Fields, layers: int) -> Experts | None:
    """The experts of a config.json of a model of so many layers; None where no layer has any.

    Raises the error of `fields` for what is no such configuration.
    """
    if fields.values.get("model_type") != MODEL_TYPE:
        return None
    # Some tools write the name that other architectures have.
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
    """`mlp_only_layers`: layers that are dense whatever the step says. Numbers beyond the last layer mean nothing."""
    numbers = fields.values.get("mlp_only_layers") or []
    if not isinstance(numbers, list) or not all(type(each) is int and each >= 0 for each in numbers):
        raise fields.fail("mlp_only_layers", "a list of layer numbers")
    return frozenset(numbers)
