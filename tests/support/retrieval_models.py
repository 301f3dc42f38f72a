"""Random embedding models and rerankers in the layouts of published models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from checkpoint_texts import control_ids
from checkpoints import Written, qwen3_config, random_tensors, write_checkpoint, write_json

QUERY_PROMPT = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
POOLING = {
    "sentence-transformers 6": {"embedding_dimension": 64, "pooling_mode": "lasttoken", "include_prompt": True},
    "sentence-transformers 2": {
        "word_embedding_dimension": 64,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": False,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
        "pooling_mode_weightedmean_tokens": False,
        "pooling_mode_lasttoken": True,
        "include_prompt": True,
    },
}
MODULE_TYPES = {
    "sentence-transformers 6": (
        "sentence_transformers.base.modules.transformer.Transformer",
        "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
        "sentence_transformers.base.modules.normalize.Normalize",
    ),
    "sentence-transformers 2": (
        "sentence_transformers.models.Transformer",
        "sentence_transformers.models.Pooling",
        "sentence_transformers.models.Normalize",
    ),
}


def write_embedding_model(
    folder: Path,
    *,
    spelling: str = "sentence-transformers 6",
    prompts: bool = True,
    dtype: str = "float32",
    **overrides: Any,
) -> Written:
    """Write a model in the layout of Qwen3-Embedding: flat tensor names, no head, end tokens added by the tokenizer.

    Args:
        folder: is made.
        spelling: a key of POOLING, which chooses the files that describe the pooling.
        prompts: whether there are prompts for queries and documents.
        dtype: of the weights.
        overrides: keys of config.json.
    """
    config = {"architectures": ["Qwen3Model"], "tie_word_embeddings": False, **overrides}
    tensors = {
        name.removeprefix("model."): values
        for name, values in random_tensors(qwen3_config(**config))
        if name != "lm_head.weight"
    }
    written = write_checkpoint(folder, dtype=dtype, chat_template=None, tensors=tensors, **config)
    types = MODULE_TYPES[spelling]
    paths = ("", "1_Pooling", "2_Normalize")
    write_json(
        folder / "modules.json",
        [
            {"idx": number, "name": str(number), "path": path, "type": kind}
            for number, (path, kind) in enumerate(zip(paths, types, strict=True))
        ],
    )
    (folder / "1_Pooling").mkdir()
    write_json(folder / "1_Pooling" / "config.json", POOLING[spelling])
    if prompts:
        values = {"prompts": {"query": QUERY_PROMPT, "document": ""}, "default_prompt_name": None}
        write_json(folder / "config_sentence_transformers.json", {**values, "similarity_fn_name": "cosine"})
    _end_texts(folder)
    return written


def _end_texts(folder: Path) -> None:
    """Let tokenizer.json add the end token to every text."""
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text("utf-8"))
    end = control_ids()["<|endoftext|>"]
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [end], "tokens": ["<|endoftext|>"]}},
    }
    write_json(path, tokenizer)


def write_scoring_model(folder: Path, yes_no: tuple[int, int], **overrides: Any) -> Written:
    """Write a reranker in the layout of sentence-transformers: a language model, and the tokens for yes and no."""
    written = write_checkpoint(folder, dtype="float32", **overrides)
    write_json(
        folder / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
            {
                "idx": 1,
                "name": "1",
                "path": "1_LogitScore",
                "type": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore",
            },
        ],
    )
    (folder / "1_LogitScore").mkdir()
    write_json(folder / "1_LogitScore" / "config.json", {"true_token_id": yes_no[0], "false_token_id": yes_no[1]})
    return written


def write_classifier(folder: Path, **overrides: Any) -> tuple[Written, np.ndarray]:
    """A converted reranker, Qwen3ForSequenceClassification, and its head [1, hidden_size]."""
    config = {"architectures": ["Qwen3ForSequenceClassification"], "tie_word_embeddings": False, **overrides}
    tensors = {name: values for name, values in random_tensors(qwen3_config(**config)) if name != "lm_head.weight"}
    hidden = qwen3_config(**config)["hidden_size"]
    head = np.random.default_rng(9).standard_normal((1, hidden)).astype(np.float32) / np.float32(hidden**0.5)
    return write_checkpoint(folder, dtype="float32", tensors={**tensors, "score.weight": head}, **config), head
