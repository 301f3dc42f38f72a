"""Functions that all integrations share: they take a model, or load the one that is named."""

from __future__ import annotations

import os
from typing import Any, TypeAlias

from qwen3cpu.checkpoint.purpose import Task
from qwen3cpu.errors import ArgumentError
from qwen3cpu.model import Model, load

Source: TypeAlias = "Model | str | os.PathLike[str]"
"""A loaded model, or a source for `qwen3cpu.load`."""


def as_model(source: Source, task: Task, options: dict[str, Any]) -> Model:
    """Take or load a model that was made for a task.

    Args:
        source: a loaded model, or a source to load.
        task: "embedding" or "reranking".
        options: for `qwen3cpu.load`; none with a loaded model.

    Raises:
        ArgumentError: options with a loaded model, or a model that was made for another task. Other errors: see
            `qwen3cpu.load`.
    """
    if not isinstance(source, Model):
        model = load(source, **options)
    elif options:
        raise ArgumentError(f"model: a loaded model takes no options of load; found {', '.join(sorted(options))}")
    else:
        model = source
    if model.task != task:
        raise ArgumentError(f"model: expected one made for {task}, found {model.source}, made for {model.task}")
    return model


def missing(library: str, extra: str, reason: ImportError) -> ImportError:
    """The error for a library that cannot be imported."""
    return ImportError(f"{library} cannot be imported ({reason}): pip install 'qwen3cpu[{extra}]'")
