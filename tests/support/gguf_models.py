"""GGUF files of small models, written with the `gguf` package, and the weights in their blocks.

The readers of blocks are written from the format's own description, not from another reader. If they agree with the
tested package, it reads the file correctly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from checkpoint_texts import CHAT_TEMPLATE, CONTROL_TOKENS, tokenizer_dict
from checkpoints import qwen3_config, random_tensors, tensor_shapes
from gguf_blocks import NUMBERS, random_type_blocks, values_of
from numpy.typing import NDArray

Array = NDArray[Any]
KINDS = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q5_K", "Q6_K")
WIDE = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64, "num_attention_heads": 4}
"""A shape whose matrices are whole blocks of 256 columns."""

NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "lm_head.weight": "output.weight",
    "model.norm.weight": "output_norm.weight",
}
PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate": "ffn_gate_inp",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    """The name of a tensor of a checkpoint in a GGUF file."""
    if name in NAMES:
        return NAMES[name]
    _, _, layer, part = name.split(".", 3)
    part, kind = part.rsplit(".", 1)
    if part.startswith("mlp.experts."):
        return f"blk.{layer}.{PARTS['mlp.' + part.split('.')[3]]}_exps.{kind}"
    return f"blk.{layer}.{PARTS[part]}.{kind}"


# Blocks


def halves(blocks: Array, at: int) -> NDArray[np.float32]:
    """The f16 at byte `at` of every block, as float32 [blocks, 1]."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view(np.float16).astype(np.float32)


def read_q8_0(blocks: Array, j: int) -> Array:
    return blocks[:, 2 + j].view(np.int8) * halves(blocks, 0)[:, 0]


def read_q4_0(blocks: Array, j: int) -> Array:
    both = blocks[:, 2 + j % 16]
    q = (both & 15 if j < 16 else both >> 4).astype(np.float32) - np.float32(8)
    return q * halves(blocks, 0)[:, 0]


def scale_and_min(blocks: Array, group: int) -> tuple[Array, Array]:
    """The six-bit scale and minimum of one of 8 groups of a Q4_K or Q5_K block, float32."""
    s = blocks[:, 4:16]
    if group < 4:
        scale, low = s[:, group] & 63, s[:, group + 4] & 63
    else:
        scale = s[:, group + 4] & 15 | s[:, group - 4] >> 6 << 4
        low = s[:, group + 4] >> 4 | s[:, group] >> 6 << 4
    return halves(blocks, 0)[:, 0] * scale.astype(np.float32), halves(blocks, 2)[:, 0] * low.astype(np.float32)


def read_q4_k(blocks: Array, j: int) -> Array:
    both = blocks[:, 16 + j // 64 * 32 + j % 32]
    q = both & 15 if j % 64 < 32 else both >> 4
    scale, low = scale_and_min(blocks, j // 32)
    return scale * q.astype(np.float32) - low


def read_q5_k(blocks: Array, j: int) -> Array:
    both = blocks[:, 48 + j // 64 * 32 + j % 32]
    fifth = blocks[:, 16 + j % 32] >> (j // 32) & 1
    q = (both & 15 if j % 64 < 32 else both >> 4) | fifth << 4
    scale, low = scale_and_min(blocks, j // 32)
    return scale * q.astype(np.float32) - low


def read_q6_k(blocks: Array, j: int) -> Array:
    half, quarter, i = j // 128, j % 128 // 32, j % 32
    both = blocks[:, half * 64 + i + 32 * (quarter % 2)]
    high = blocks[:, 128 + half * 32 + i] >> (2 * quarter) & 3
    q = ((both & 15 if quarter < 2 else both >> 4) | high << 4).astype(np.float32) - np.float32(32)
    scale = blocks[:, 192 + half * 8 + quarter * 2 + i // 16].view(np.int8).astype(np.float32)
    return halves(blocks, 208)[:, 0] * scale * q


BLOCKS: dict[str, tuple[int, int, Callable[[Array, int], Array]]] = {
    "Q8_0": (32, 34, read_q8_0),
    "Q4_0": (32, 18, read_q4_0),
    "Q4_K": (256, 144, read_q4_k),
    "Q5_K": (256, 176, read_q5_k),
    "Q6_K": (256, 210, read_q6_k),
}
"""Type -> (weights in a block, bytes of it, reader of the j-th weight of every block)."""


def random_blocks(kind: str, values: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """uint8 [rows, bytes of a row]: `values` in Q8_0 or Q4_0; random bytes in K-quants, which `gguf` cannot write.

    The random weights have about the spread of `values`.
    """
    rows, cols = values.shape
    if kind in ("Q8_0", "Q4_0"):
        return gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])
    if kind not in BLOCKS:
        return random_type_blocks(kind, rows, cols, rng)
    weights, size, _ = BLOCKS[kind]
    blocks = rng.integers(256, size=(rows * cols // weights, size), dtype=np.uint8)
    spread = np.float16(values.std())
    if kind == "Q6_K":
        blocks[:, 192:208] = rng.integers(-8, 9, size=(len(blocks), 16)).astype(np.int8).view(np.uint8)
        scales = {208: spread / np.float16(90)}
    else:
        levels = 8 if kind == "Q4_K" else 16
        scales = {0: spread / np.float16(30 * levels), 2: spread / np.float16(30)}
    for at, scale in scales.items():
        blocks[:, at : at + 2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
    return blocks.reshape(rows, -1)


def block_values(kind: str, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The weights in blocks, float32 [rows, cols]."""
    if kind not in BLOCKS:
        return values_of(kind, rows)
    weights, size, read = BLOCKS[kind]
    blocks = rows.reshape(-1, size)
    values = np.stack([read(blocks, j).astype(np.float32) for j in range(weights)], axis=1)
    return values.reshape(len(rows), -1)


# Files


def write_gguf(
    path: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, NDArray[np.float32]],
    kind: str | Mapping[str, str] = "F32",
    *,
    seed: int = 0,
    change: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
    leave_out: tuple[str, ...] = (),
    part_tensors: int = 0,
) -> dict[str, NDArray[np.float32]]:
    """Write a model in the form of llama.cpp's converter. Returns the weights of the file by checkpoint name.

    Args:
        path: the file.
        config: config.json.
        tensors: by checkpoint name.
        kind: type of the matrices, for all or by name; vectors are F32, as in the converter.
        seed: of random blocks.
        change: adds metadata.
        leave_out: metadata keys and GGUF tensor names that are not written.
        part_tensors: number of tensors in a part of the model; 0: it is not split.
    """
    writer = gguf.GGUFWriter(path, "qwen3moe" if "num_experts" in config else "qwen3", split_max_tensors=part_tensors)
    add_metadata(writer, config)
    add_tokenizer(writer, config["vocab_size"])
    change(writer)
    for key in leave_out:
        writer.kv_data[0].pop(key, None)
    rng = np.random.default_rng(seed)
    held = {}
    copies: dict[str, list[Array]] = {}  # of the experts of a layer, which are one tensor
    for name, _ in tensor_shapes(config):
        values = np.ascontiguousarray(tensors[name], np.float32)
        own = kind if isinstance(kind, str) else kind.get(name, "F32")
        if values.ndim == 1 or own == "F32":
            stored, held[name], own = values, values, "F32"
        elif own == "F16":
            stored = values.astype(np.float16)
            held[name] = stored.astype(np.float32)
        elif own == "BF16":
            bits = (values.view(np.uint32) >> 16).astype(np.uint16)
            stored, held[name] = bits.view(np.uint8), (bits.astype(np.uint32) << 16).view(np.float32)
        else:
            stored = random_blocks(own, values, rng)
            held[name] = block_values(own, stored)
        if ".experts." in name:
            copies.setdefault(gguf_name(name), []).append(stored)
            stored = np.stack(copies[gguf_name(name)])
            if len(stored) < config["num_experts"]:
                continue
        if gguf_name(name) not in leave_out:
            writer.add_tensor(gguf_name(name), stored, raw_dtype=NUMBERS.get(own) or gguf.GGMLQuantizationType[own])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return held


def write_small(folder: Path) -> Path:
    """Write a file of few bytes, for tests that damage it."""
    path = folder / "small.gguf"
    config = qwen3_config(num_hidden_layers=1)
    write_gguf(path, config, dict(random_tensors(config)), "Q8_0")
    return path


def add_metadata(writer: gguf.GGUFWriter, config: Mapping[str, Any]) -> None:
    """Add the shape of the model."""
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    if "num_experts" in config:
        writer.add_expert_count(config["num_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])


def add_tokenizer(writer: gguf.GGUFWriter, vocab_size: int, tokenizer: Mapping[str, Any] | None = None) -> None:
    """Add tokenizer.json, by default that of checkpoint_texts.py, and the template."""
    tokenizer = tokenizer or tokenizer_dict()
    texts = {id_: text for text, id_ in tokenizer["model"]["vocab"].items()}
    types = dict.fromkeys(texts, gguf.TokenType.NORMAL)
    special = dict(CONTROL_TOKENS)
    for token in tokenizer["added_tokens"]:
        texts[token["id"]] = token["content"]
        # The converter treats every <|...|> as a control token.
        control = special.get(token["content"], token["special"])
        types[token["id"]] = gguf.TokenType.CONTROL if control else gguf.TokenType.USER_DEFINED
    ids = range(vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([texts.get(id_, f"[PAD{id_}]") for id_ in ids])
    writer.add_token_types([types.get(id_, gguf.TokenType.UNUSED) for id_ in ids])
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    by_text = {text: id_ for id_, text in texts.items()}
    writer.add_eos_token_id(by_text["<|im_end|>"])
    writer.add_pad_token_id(by_text["<|endoftext|>"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
