"""Checkpoints with scripted answers: each token is followed by the token in a script.

Attention and MLP add nothing, and the embedding is one-hot. Row j of the head matches the tokens that j follows. So the
logit of the scripted token is about 20, and all others are 0. The whole engine runs, as for any other model.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import checkpoint_texts
import checkpoints
import numpy as np

Script = Mapping[int, int]


def token(spelling: str) -> int:
    """The id of a control token, or of a single byte written as an ASCII character."""
    control = checkpoint_texts.control_ids()
    if spelling in control:
        return control[spelling]
    vocab = checkpoint_texts.tokenizer_dict()["model"]["vocab"]
    return int(vocab[checkpoint_texts.byte_symbols()[ord(spelling)]])


def script(*chains: Sequence[str]) -> dict[int, int]:
    """A script in which the tokens of every chain follow each other. A token may have only one successor."""
    follows: dict[int, int] = {}
    for chain in chains:
        ids = [token(spelling) for spelling in chain]
        for before, after in itertools.pairwise(ids):
            assert follows.setdefault(before, after) == after, chain
    return follows


def write_scripted(folder: Path, follows: Script, **options: Any) -> Path:
    """Write a checkpoint that follows the script. Tokens outside of it are followed by <|im_end|>."""
    size = checkpoints.VOCAB_SIZE
    shape = {
        "hidden_size": size,
        "intermediate_size": 8,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "num_hidden_layers": 1,
        "tie_word_embeddings": False,
    }
    tensors = {
        name: np.zeros(shape, dtype=np.float32)
        for name, shape in checkpoints.tensor_shapes(checkpoints.qwen3_config(**shape))
    }
    for name, values in tensors.items():
        if name.endswith("norm.weight"):
            values += 1
    tensors["model.embed_tokens.weight"] += np.eye(size, dtype=np.float32)
    end = token("<|im_end|>")
    for before in range(size):
        tensors["lm_head.weight"][follows.get(before, end), before] = 1
    checkpoints.write_checkpoint(folder, tensors=tensors, dtype="float32", **shape, **options)
    return folder
