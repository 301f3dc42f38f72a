"""Which tensors a model has, by the names of its Hugging Face checkpoint, and the weight format of each when packed."""

from __future__ import annotations

from typing import Final

from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.errors import ArgumentError

QUANTS: Final[tuple[str, ...]] = ("f32", "bf16", "q8", "q4")
DEFAULT_QUANT: Final = "q4"

EMBEDDING: Final = "model.embed_tokens.weight"
HEAD: Final = "lm_head.weight"
LAYERS: Final = "model.layers."
VALUES: Final = ".self_attn.v_proj.weight"


def check_quant(quant: str) -> None:
    """Raise ArgumentError unless `quant` is one of QUANTS."""
    if quant not in QUANTS:
        raise ArgumentError(f"quant: expected one of {', '.join(QUANTS)}, found {quant!r}")


def matrix_shapes(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """Name -> (rows, cols) of every weight matrix, in the order of the forward pass; no head when it is tied."""
    hidden, inner = config.hidden_size, config.intermediate_size
    queries, keys = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    shapes = {EMBEDDING: (config.vocab_size, hidden)}
    for layer in range(config.num_hidden_layers):
        at = f"{LAYERS}{layer}."
        shapes[at + "self_attn.q_proj.weight"] = (queries, hidden)
        shapes[at + "self_attn.k_proj.weight"] = (keys, hidden)
        shapes[at + "self_attn.v_proj.weight"] = (keys, hidden)
        shapes[at + "self_attn.o_proj.weight"] = (hidden, queries)
        shapes[at + "mlp.gate_proj.weight"] = (inner, hidden)
        shapes[at + "mlp.up_proj.weight"] = (inner, hidden)
        shapes[at + "mlp.down_proj.weight"] = (hidden, inner)
    if not config.tie_word_embeddings:
        shapes[HEAD] = (config.vocab_size, hidden)
    return shapes


def vector_lengths(config: ModelConfig) -> dict[str, int]:
    """Name -> length of every norm weight and of the biases that the configuration has."""
    queries, keys = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    lengths = {}
    for layer in range(config.num_hidden_layers):
        at = f"{LAYERS}{layer}."
        lengths[at + "input_layernorm.weight"] = config.hidden_size
        lengths[at + "self_attn.q_norm.weight"] = config.head_dim
        lengths[at + "self_attn.k_norm.weight"] = config.head_dim
        if config.attention_bias:
            lengths[at + "self_attn.q_proj.bias"] = queries
            lengths[at + "self_attn.k_proj.bias"] = keys
            lengths[at + "self_attn.v_proj.bias"] = keys
            lengths[at + "self_attn.o_proj.bias"] = config.hidden_size
        lengths[at + "post_attention_layernorm.weight"] = config.hidden_size
    lengths["model.norm.weight"] = config.hidden_size
    return lengths


def format_of(name: str, quant: str, config: ModelConfig) -> str:
    """The weight format of one matrix.

    "q4" keeps in 8 bits embedding and head, and v_proj: grouped queries share few value heads, whose rounding every one
    of them adds up, so that 2 to 3 % of the bytes take a third of the divergence away (docs/quality.md). Not the last
    layer's: no other layer reads what it gives.
    """
    last_values = f"{LAYERS}{config.num_hidden_layers - 1}{VALUES}"
    in_8_bits = name in (EMBEDDING, HEAD) or (name.endswith(VALUES) and name != last_values)
    return "q8" if quant == "q4" and in_8_bits else quant
