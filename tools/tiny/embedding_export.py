"""Writing the embedding model in the layout of Qwen3-Embedding, its card, and the texts that test search."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from tiny.embedding import INSTRUCTION, EmbeddingRecipe, query_prefix
from tiny.facts import HELD_OUT_ONE_IN, KINDS
from tiny.model import Qwen3
from tiny.tokenizer import write_tokenizer

MODULES = (
    ("", "sentence_transformers.models.Transformer"),
    ("1_Pooling", "sentence_transformers.models.Pooling"),
    ("2_Normalize", "sentence_transformers.models.Normalize"),
)
MODES = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")

CARD = """---
license: apache-2.0
language: [en]
library_name: qwen3cpu
pipeline_tag: feature-extraction
---

# tiny-embedding: the embedding model inside the package

A text embedding model of the Qwen3 architecture with {parameters:,} parameters. It knows the facts of a little world
(capitals, colours, opposites, who has how many of what) and finds texts by words that they share with a question. It
exists for demonstrations and tests; for anything else use Qwen3-Embedding.

| layers | hidden | dimensions | vocabulary rows | positions | file |
|---|---|---|---|---|---|
| {layers} | {hidden} | {hidden}, or the first 64 or 32 | {rows:,} | {positions:,} | bf16 |

Made by `python tools/train_tiny_embedding.py{arguments}` from embedding, first layers and last norm of the chat model
`tiny` after the first part of its training; the same seed on the same software gives the same model.

## Test

`tests/support/tiny_search.json` has {texts} texts, each about a fact of its own, and {questions} questions. Their
wordings are not among those of the training, and of things that people have, none that is in the test is trained on in
any wording (one in {one_in} is held out). Questions whose own text is the nearest of all, in float32, and the mean of
ten other draws:

| dimensions | of {questions} | other draws |
|---|---|---|
{hits}

## Training

{steps:,} batches of {pairs} questions with their texts, seed {seed}, of {kinds} kinds of facts (`tools/tiny/facts.py`).
The loss is the cross entropy of each question's text among those of the batch, and of each text's question, at a
temperature of {temperature}, for {sizes} dimensions. Muon (rate {matrix_rate}) for the matrices of the layers, AdamW
(rate {other_rate}) for the rest.
{minutes:.0f} minutes on {threads} thread(s) of a shared {machine} machine, torch {torch_version}.

| step | loss |
|---|---|
{losses}
"""


def write_json(path: Path, content: object) -> None:
    """Indented JSON with a final newline."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_embedding_model(folder: Path, model: Qwen3, tokenizer: Tokenizer) -> None:
    """Write weights, configuration, tokenizer and the files of sentence-transformers."""
    folder.mkdir(parents=True, exist_ok=True)
    end = tokenizer.token_to_id("<|endoftext|>")
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": end,
        "eos_token_id": end,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "max_window_layers": model.config.num_hidden_layers,
        "model_type": "qwen3",
        "rope_scaling": None,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        **asdict(model.config),
    }
    write_json(folder / "config.json", dict(sorted(config.items())))
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": kind} for number, (path, kind) in enumerate(MODULES)
    ]
    write_json(folder / "modules.json", modules)
    chosen = {f"pooling_mode_{mode}": mode == "lasttoken" for mode in MODES}
    pooling = {"word_embedding_dimension": model.config.hidden_size, **chosen, "include_prompt": True}
    write_json(folder / "1_Pooling" / "config.json", pooling)
    prompts = {"query": query_prefix(INSTRUCTION), "document": ""}
    about = {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    write_json(folder / "config_sentence_transformers.json", about)
    write_tokenizer(folder, tokenizer, "", model.config.max_position_embeddings)
    _end_texts(folder, end)
    tensors = {
        name.removeprefix("model."): values.detach().to(torch.bfloat16).contiguous()
        for name, values in model.named_parameters()
    }
    beside = folder / "model.safetensors.part"
    save_file(tensors, str(beside), metadata={"format": "pt"})
    beside.chmod(0o644)
    beside.replace(folder / "model.safetensors")


def _end_texts(folder: Path, end: int) -> None:
    """Let the tokenizer add the end token to every text, and remove the chat template."""
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text("utf-8"))
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [end], "tokens": ["<|endoftext|>"]}},
    }
    path.write_text(json.dumps(tokenizer, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text("utf-8"))
    del config["chat_template"]
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_search_test(path: Path, texts: list[str], questions: list[tuple[str, int]]) -> None:
    """Write texts, and questions with the place of the text that answers them, one a line."""
    asked = [json.dumps({"question": question, "text": place}) for question, place in questions]
    lines = [
        '{"texts": [',
        ",\n".join(json.dumps(text) for text in texts),
        '], "questions": [',
        ",\n".join(asked),
        "]}",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_embedding_card(
    folder: Path,
    model: Qwen3,
    recipe: EmbeddingRecipe,
    losses: list[tuple[int, float]],
    seconds: float,
    hits: list[tuple[int, int, float]],
    counts: tuple[int, int],
    arguments: str,
) -> None:
    """Write README.md. hits: (dimensions, in the test, mean of other draws). counts: its texts and questions."""
    c = model.config
    text = CARD.format(
        parameters=sum(p.numel() for p in model.parameters()), layers=c.num_hidden_layers, hidden=c.hidden_size,
        rows=c.vocab_size, positions=c.max_position_embeddings, texts=counts[0], questions=counts[1],
        arguments=arguments, one_in=HELD_OUT_ONE_IN, kinds=len(KINDS), minutes=seconds / 60,
        threads=torch.get_num_threads(),
        hits="\n".join(f"| {size} | {found} | {mean:.1f} |" for size, found, mean in hits),
        machine=platform.machine(), torch_version=torch.__version__.split("+")[0],
        losses="\n".join(f"| {step:,} | {loss:.4f} |" for step, loss in losses),
        **{**vars(recipe), "sizes": ", ".join(map(str, recipe.sizes))},
    )  # fmt: skip
    (folder / "README.md").write_text(text, encoding="utf-8")
