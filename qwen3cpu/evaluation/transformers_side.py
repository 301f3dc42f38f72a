"""Runs a model in transformers, in float32: the reference for `qwen3cpu verify --reference`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.model_texts import ModelTexts
from qwen3cpu.checkpoint.weight_source import WeightSource, original_matrix
from qwen3cpu.errors import ArgumentError

try:
    import torch
    import transformers
except ImportError as reason:
    raise ArgumentError(
        f"--reference needs torch and transformers ({reason}): pip install 'qwen3cpu[reference]'"
    ) from None


class TransformersModel:
    """Tokenizer and model of transformers.

    Args:
        folder: a model folder whose weights are not quantised, which transformers reads itself. None: other models.
        texts: of the model.
        weights: of the model. They are used if `folder` is None.
    """

    def __init__(self, folder: Path | None, texts: ModelTexts, weights: WeightSource) -> None:
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        with tempfile.TemporaryDirectory(prefix="qwen3cpu-") as written:
            place = Path(written) if folder is None else folder
            if folder is None:
                _write_texts(place, texts)
            self._model: Any
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(place, local_files_only=True)
            options = {"dtype": torch.float32, "attn_implementation": "eager"}
            if folder is None:
                self._model = _filled(place, weights, options)
            else:
                self._model = transformers.AutoModelForCausalLM.from_pretrained(place, local_files_only=True, **options)
        self._model.eval()
        # Replaces the checkpoint's settings: no end token, no penalty, and always the likeliest token.
        self._model.generation_config = transformers.GenerationConfig(do_sample=False, pad_token_id=0)

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Any, thinking: bool) -> tuple[str, list[int]]:
        """Return the prompt that the chat template makes, and its token ids."""
        text: str = self._tokenizer.apply_chat_template(
            list(messages), tools=tools, tokenize=False, add_generation_prompt=True, enable_thinking=thinking
        )
        return text, self.encode(text)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without added special tokens."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the logits after every one of `ids`: float32 [len(ids), vocab_size]."""
        with torch.no_grad():
            found: NDArray[np.float32] = self._model(torch.tensor([list(ids)]), use_cache=False).logits[0].numpy()
        return found

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        """Return `count` tokens by greedy decoding."""
        with torch.no_grad():
            given = torch.tensor([list(ids)])
            found = self._model.generate(given, attention_mask=torch.ones_like(given), max_new_tokens=count)
        return [int(token) for token in found[0, len(ids) :]]


def _write_texts(folder: Path, texts: ModelTexts) -> None:
    """Write the files of a model folder except the weights. The configuration gets no quantisation settings."""
    config = json.loads(texts.config_json)
    for name in ("quantization_config", "quantization"):
        config.pop(name, None)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_bytes(texts.tokenizer_json)
    (folder / "tokenizer_config.json").write_bytes(texts.tokenizer_config_json)
    if texts.chat_template is not None:
        (folder / "chat_template.jinja").write_text(texts.chat_template, "utf-8")


def _filled(folder: Path, weights: WeightSource, options: Mapping[str, Any]) -> Any:
    """Make a model with the folder's configuration and the given weights."""
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    factory: Any = transformers.AutoModelForCausalLM
    model = factory.from_config(config, **options)
    state = {name: torch.from_numpy(original_matrix(weights, name)) for name in weights.matrices}
    state |= {name: torch.from_numpy(weights.vector(name)) for name in weights.vectors}
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, strict=True, assign=True)
    model.tie_weights()
    return model
