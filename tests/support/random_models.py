"""Named random models for the tests of the engine: their shapes, and weights that are the same on every machine.

The weights are made from the raw output of a PCG64 generator by exactly rounded float32 operations. NumPy guarantees
the stream of this generator, but not that of its distributions. So golden values of other machines hold for these
weights.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from checkpoints import experts_config, qwen3_config, tensor_shapes
from numpy.typing import NDArray

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
YARN_ALL_KEYS = {
    "type": "yarn",
    "factor": 2.5,
    "original_max_position_embeddings": 100,
    "beta_fast": 16.0,
    "beta_slow": 2.0,
    "attention_factor": 1.25,
}

VOCAB_SIZE = 416

# Together they have tied and untied heads, every number of query heads per KV head from 1 to 8, and head_dim 32, 34,
# 64, 80, 96 and 128. They also have YaRN in both spellings, biases, and sizes that are not multiples of 32 or 8.
SHAPES: dict[str, dict[str, Any]] = {
    "one_query_per_kv": {
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "hidden_size": 64,
        "tie_word_embeddings": False,
    },
    "two_queries_128": {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "hidden_size": 128,
        "intermediate_size": 384,
    },
    "three_queries_bias": {
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "attention_bias": True,
        "rms_norm_eps": 1e-5,
        "rope_theta": 100000,
    },
    "four_queries_deep": {
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "num_hidden_layers": 5,
        "rope_theta": 10000,
    },
    "five_queries_odd": {
        "num_attention_heads": 5,
        "num_key_value_heads": 1,
        "head_dim": 80,
        "hidden_size": 77,
        "intermediate_size": 131,
        "vocab_size": 389,
        "tie_word_embeddings": False,
    },
    "six_queries_yarn_128": {
        "num_attention_heads": 6,
        "num_key_value_heads": 1,
        "head_dim": 128,
        "hidden_size": 96,
        "rope_scaling": YARN,
    },
    "seven_queries_96": {
        "num_attention_heads": 7,
        "num_key_value_heads": 1,
        "head_dim": 96,
        "hidden_size": 100,
        "intermediate_size": 150,
        "vocab_size": 402,
    },
    "eight_queries_64": {
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "hidden_size": 160,
        "tie_word_embeddings": False,
    },
    "yarn_bias_untied_odd": {
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 34,
        "hidden_size": 90,
        "intermediate_size": 113,
        "attention_bias": True,
        "tie_word_embeddings": False,
        "rope_scaling": YARN_ALL_KEYS,
        "max_position_embeddings": 250,
        "rope_theta": 50000,
    },
    "wide": {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 80,
        "hidden_size": 328,
        "intermediate_size": 584,
    },
}

# Together they have odd numbers of experts, dense layers between them by both keys, and one or all experts chosen.
# They also have scaled and unscaled weights, widths that are not multiples of 8, other heads and biases.
EXPERT_SHAPES: dict[str, dict[str, Any]] = {
    "experts_8_of_128": {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 24},
    "experts_2_of_8": {"num_hidden_layers": 3},
    "experts_3_of_7": {"num_experts": 7, "num_experts_per_tok": 3, "moe_intermediate_size": 33, "hidden_size": 77},
    "experts_1_of_5": {"num_experts": 5, "num_experts_per_tok": 1, "norm_topk_prob": False},
    "experts_all_3": {"num_experts": 3, "num_experts_per_tok": 3, "moe_intermediate_size": 51},
    "experts_not_normalised": {"num_experts": 17, "num_experts_per_tok": 4, "norm_topk_prob": False},
    "experts_every_other": {"num_hidden_layers": 5, "decoder_sparse_step": 2, "num_experts": 6},
    "experts_named_layers": {
        "num_hidden_layers": 4,
        "mlp_only_layers": [0, 2],
        "num_experts": 9,
        "num_experts_per_tok": 2,
        "intermediate_size": 131,
    },
    "experts_bias_tied": {"attention_bias": True, "tie_word_embeddings": True, "num_experts": 11, "hidden_size": 100},
    "experts_yarn_128": {
        "head_dim": 128,
        "num_attention_heads": 6,
        "num_key_value_heads": 1,
        "rope_scaling": YARN,
        "num_experts": 32,
        "num_experts_per_tok": 5,
        "moe_intermediate_size": 96,
    },
}

GAINS = {"embed_tokens": 3.0, "lm_head": 3.0, "o_proj": 8.0, "down_proj": 8.0, "gate": 2.0}
"""Standard deviation of W x for x of unit scale, if not 1, so that the layers outweigh the embedding."""


def config(shape: str, **overrides: Any) -> dict[str, Any]:
    """The config.json of SHAPES[shape] or EXPERT_SHAPES[shape]."""
    make = experts_config if shape in EXPERT_SHAPES else qwen3_config
    own = EXPERT_SHAPES.get(shape) or SHAPES[shape]
    return make(**{"torch_dtype": "float32", "vocab_size": VOCAB_SIZE, **own, **overrides})


def uniform(generator: np.random.PCG64, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Multiples of 2**-24 in [-0.5, 0.5): exact in float32."""
    bits = generator.random_raw(int(np.prod(shape))) >> np.uint64(40)
    return (bits.astype(np.float32) * np.float32(2**-24) - np.float32(0.5)).reshape(shape)


def random_weights(config: Mapping[str, Any], seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Every tensor of a checkpoint, by name."""
    generator = np.random.PCG64(seed)
    weights = {}
    for name, shape in tensor_shapes(config):
        values = uniform(generator, shape)
        if name.endswith("norm.weight"):
            weights[name] = np.float32(1) + np.float32(0.5) * values
        elif name.endswith(".bias"):
            weights[name] = values
        else:
            gain = GAINS.get(name.split(".")[-2], 1.0)
            weights[name] = values * np.float32(gain * (12 / shape[-1]) ** 0.5)
    return weights


def random_ids(config: Mapping[str, Any], count: int, seed: int = 0) -> NDArray[np.int32]:
    """`count` token ids."""
    raw = np.random.PCG64(1000 + seed).random_raw(count)
    return (raw % np.uint64(config["vocab_size"])).astype(np.int32)


def checksum(weights: Mapping[str, NDArray[np.float32]]) -> int:
    """CRC-32 of all weights, to distinguish wrong weights from a wrong engine."""
    total = 0
    for name, values in weights.items():
        total = zlib.crc32(np.ascontiguousarray(values).tobytes(), zlib.crc32(name.encode(), total))
    return total
