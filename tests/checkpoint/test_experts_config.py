"""The keys of config.json about experts: what they mean, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from checkpoints import experts_config, has_experts

from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.experts import Experts
from qwen3cpu.errors import ConfigError


def read(**changes: Any) -> ModelConfig:
    return ModelConfig.from_dict(experts_config(num_hidden_layers=6, **changes), "config.json")


def test_the_keys_of_the_released_models() -> None:
    assert read().experts == Experts(count=8, chosen=2, width=40, normalised=True)
    assert read(norm_topk_prob=...).experts == Experts(count=8, chosen=2, width=40, normalised=False)
    assert read(num_experts=..., num_local_experts=5).experts == Experts(count=5, chosen=2, width=40, normalised=True)
    assert read(decoder_sparse_step=..., mlp_only_layers=None).experts == read().experts


@pytest.mark.parametrize("step", [1, 2, 3, 5])
@pytest.mark.parametrize("named", [[], [0], [1, 5], [3, 99]])
def test_which_layers_are_dense(step: int, named: list[int]) -> None:
    config = read(decoder_sparse_step=step, mlp_only_layers=named)
    values = experts_config(num_hidden_layers=6, decoder_sparse_step=step, mlp_only_layers=named)
    assert [config.has_experts(layer) for layer in range(6)] == [has_experts(values, layer) for layer in range(6)]
    for layer in range(6):
        assert config.alone(layer, 8).has_experts(0) == config.has_experts(layer)


def test_a_model_whose_layers_are_all_dense() -> None:
    assert read(num_experts=0).experts is None
    assert read(mlp_only_layers=list(range(6))).experts is None
    assert read(decoder_sparse_step=7).experts is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_experts": ...}, "num_local_experts: expected an integer from 0 to 4096, found no such key"),
        ({"num_experts": 5000}, "num_experts: expected an integer from 0 to 4096, found 5000"),
        ({"num_experts_per_tok": 9}, "num_experts_per_tok: expected an integer from 1 to 8, found 9"),
        ({"num_experts_per_tok": ...}, "num_experts_per_tok: expected an integer from 1 to 8, found no such key"),
        ({"moe_intermediate_size": 0}, "moe_intermediate_size: expected an integer from 1 to 1048576, found 0"),
        ({"norm_topk_prob": 1}, "norm_topk_prob: expected true or false, found 1"),
        ({"decoder_sparse_step": 0}, "decoder_sparse_step: expected an integer from 1 to 1048576, found 0"),
        ({"mlp_only_layers": [True]}, "mlp_only_layers: expected a list of layer numbers, found [True]"),
        ({"mlp_only_layers": 3}, "mlp_only_layers: expected a list of layer numbers, found 3"),
        ({"architectures": ["Qwen3ForCausalLM"]}, "architectures: expected a list with one of Qwen3MoeForCausalLM"),
        ({"model_type": "qwen2_moe"}, "model_type: expected 'qwen3' (the dense Qwen3 models) or 'qwen3_moe'"),
    ],
)
def test_what_is_no_such_configuration(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**changes)
    assert message in str(caught.value)
