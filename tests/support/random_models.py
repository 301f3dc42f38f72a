"""Named random models for the tests of the engine: their shapes, and weights that every machine makes alike.

The weights come from the raw output of a PCG64 generator, whose stream NumPy guarantees (that of its distributions it
does not), and from exactly rounded float32 operations, so that golden values computed elsewhere hold for them.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from checkpoints import qwen3_config, tensor_shapes
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

# Between them: tied and not, every number of query heads per KV head from 1 to 8, head_dim 32, 34, 64, 80, 96 and 128,
# YaRN in both spellings, biases, and sizes that are no multiple of 32 nor even of 8.
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

GAINS = {"embed_tokens": 3.0, "lm_head": 3.0, "o_proj": 8.0, "down_proj": 8.0}
"""Standard deviation of W x for x of unit scale, where it is not 1: the layers shall outweigh the embedding."""


def config(shape: str, **overrides: Any) -> dict[str, Any]:
    """The config.json of SHAPES[shape]."""
    return qwen3_config(**{"torch_dtype": "float32", "vocab_size": VOCAB_SIZE, **SHAPES[shape], **overrides})


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
    """CRC-32 of all weights, to tell wrong weights from a wrong engine."""
    total = 0
    for name, values in weights.items():
        total = zlib.crc32(np.ascontiguousarray(values).tobytes(), zlib.crc32(name.encode(), total))
    return total
