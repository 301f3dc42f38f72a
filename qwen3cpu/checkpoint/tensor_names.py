"""Finds a model's own tensor names in the files of training tools, which add prefixes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from qwen3cpu.checkpoint.stacked_experts import expert_name
from qwen3cpu.errors import CheckpointError

# Added by torch.compile, DataParallel, FSDP and activation checkpointing, anywhere in a name.
_WRAPPERS: Final = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# In front of the names of Qwen3Model: "model." of Qwen3ForCausalLM, "base_model." of PEFT, others of multimodal models.
# Qwen3-Embedding's own files have nothing in front.
_OUTER: Final = r"((?:(?:base_model|model|language_model|text_model|transformer)\.)*)"
_BODY: Final = re.compile(_OUTER + r"((?:embed_tokens|layers|norm)\..+)", re.DOTALL)
_HEAD: Final = re.compile(_OUTER + r"((?:lm_head|score)\..+)", re.DOTALL)
_ADAPTER: Final = re.compile(r"\.lora_[AB]\.|\.base_layer\.|\.lora_embedding_[AB]|\.lora_magnitude_vector")


def own_names(stored: Iterable[str], folder: Path) -> dict[str, str]:
    """Map the names that Qwen3ForCausalLM gives to tensors to the names in the files. Other tensors keep their names.

    Args:
        stored: the names in the files.
        folder: for messages.

    Raises:
        CheckpointError: two tensors would get the same name, or the model's tensors have different prefixes, or some
            belong to a LoRA adapter that is not merged.
    """
    found: dict[str, str] = {}
    first: tuple[str, str] | None = None
    for name in stored:
        if _ADAPTER.search(name):
            raise CheckpointError(
                f"{folder}: tensor {name!r} belongs to a LoRA adapter that is not merged into the weights; expected "
                "merged weights (PEFT: merge_and_unload(), then save_pretrained())"
            )
        own, prefix = _own_name(name)
        if own in found:
            raise CheckpointError(
                f"{folder}: expected one tensor {own}, found two, under different prefixes: {found[own]!r} and {name!r}"
            )
        found[own] = name
        if prefix is not None:
            if first is not None and prefix != first[0]:
                raise CheckpointError(
                    f"{folder}: expected one prefix in front of all tensors of the model, found "
                    f"{first[0]!r} ({first[1]!r}) and {prefix!r} ({name!r})"
                )
            first = first or (prefix, name)
    return found


def own_name(name: str) -> str:
    """Return the name that Qwen3ForCausalLM gives a tensor, without the prefixes of training tools."""
    return _own_name(name)[0]


def _own_name(name: str) -> tuple[str, str | None]:
    """Return the name without prefixes, and the prefix of a tensor of the model's body (else None)."""
    plain = expert_name(_WRAPPERS.sub("", name))
    if match := _BODY.fullmatch(plain):
        return f"model.{match[2]}", match[1]
    if match := _HEAD.fullmatch(plain):
        return match[2], None
    return name, None
