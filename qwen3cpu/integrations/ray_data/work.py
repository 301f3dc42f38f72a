"""The work on each row, in a form that can be sent to nodes, and the model that does it there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from qwen3cpu._version import VERSION
from qwen3cpu.arguments import whole_number
from qwen3cpu.batch.about import about_model
from qwen3cpu.batch.requests import line_options
from qwen3cpu.checkpoint.purpose import Task
from qwen3cpu.errors import ArgumentError
from qwen3cpu.integrations.models import as_model
from qwen3cpu.loading import reload
from qwen3cpu.loading.memory_plan import needs
from qwen3cpu.loading.open import read_config
from qwen3cpu.model import Model
from qwen3cpu.packed.matrix import plan_matrices
from qwen3cpu.server.scheduling.memory import least_kv_blocks
from qwen3cpu.text.schemas.reading import read_schema

_RAY_BYTES: Final = 100_000_000  # Ray, Arrow and the engine of batch jobs without the model: 87 to 92 MB with Ray 2.60
FORM: Final = 1
"""The version of folders of parts, keys and ids. A change of what a row depends on needs a new number."""


@dataclass(frozen=True)
class Work:
    """The work on each row.

    Attributes:
        model: the source for `qwen3cpu.load`.
        load: its options.
        task: the task that the model must be made for.
        column: the column of prompts.
        key: the column of keys; None: they are made from the prompts.
        seed: the seed of the job.
        output: field of a row -> its column.
        options: the options of each call.
        threads: the threads of an actor.
        kv_bytes: bytes of an actor's KV cache; None: what a full context needs.
    """

    model: str
    load: Mapping[str, Any]
    task: Task
    column: str
    key: str | None
    seed: int
    output: Mapping[str, str]
    options: Mapping[str, Any]
    threads: int
    kv_bytes: int | None

    def loaded(self) -> Model:
        """Load the model on this node. ArgumentError when it was made for another task. Others: see `qwen3cpu.load`."""
        return as_model(self.model, self.task, {**self.load, "threads": self.threads})

    def about(self, model: Model) -> dict[str, Any]:
        """All that the rows depend on, ready for JSON.

        Raises:
            ArgumentError: an option is not allowed.
        """
        if self.task == "generation":
            options = line_options(model, self.options)
        else:
            model.embed([], **self.options)
            options = dict(self.options)
        return {
            "version": f"{VERSION} form {FORM}",
            **about_model(model),
            "task": self.task,
            "column": self.column,
            "key": self.key,
            "seed": self.seed,
            "output": dict(self.output),
            "options": options,
        }

    def kv_limit(self, model: Model) -> int:
        """Bytes of an actor's KV cache."""
        least = least_kv_blocks(model.context) * model.engine.kv_block_bytes
        return least if self.kv_bytes is None else self.kv_bytes

    def memory(self, model: Model) -> int:
        """Bytes that an actor takes: those that `qwen3cpu plan` counts, and those of Ray."""
        total = _RAY_BYTES + self._planned(self.model, model, model.quant)
        if (draft := self.load.get("draft")) is not None:
            total += self._planned(draft, model, None)
        return total

    def _planned(self, source: str, model: Model, quant: str | None) -> int:
        config, file = read_config(source)
        matrices = plan_matrices(config, quant or "q4") if file is None else file.plan
        found = needs(config, matrices, model.kv, model.context, self.threads, model.activations)
        if quant is None:
            return found.total_bytes
        return found.total_bytes - found.kv_bytes + self.kv_limit(model)


def portable(model: object, options: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """The name of a model and the options of `load`, with paths that hold in another process and folder.

    Raises:
        ArgumentError: the model is not a name or path; an option is one that actors set themselves.
    """
    if not isinstance(model, (str, os.PathLike)):
        raise ArgumentError(f"model: expected a path, a hub id or a model's name, found {type(model).__name__}")
    given = reload.portable(options or {})
    for name in ("threads", "progress", "task"):
        if name in given:
            raise ArgumentError(f"load: expected no {name}, which actors set themselves; found {given[name]!r}")
    return os.fsdecode(reload.portable({"source": model})["source"]), given


def checked_seed(seed: object) -> int:
    """A job's seed. ArgumentError for another value."""
    return whole_number("seed", seed, 0, 2**53 - 1)


def checked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a call in JSON types. A pydantic model is replaced by its schema.

    Raises:
        ArgumentError: an option has no JSON form.
    """
    given = dict(options)
    if given.get("schema") is not None:
        given["schema"] = read_schema(given["schema"])
    try:
        plain: dict[str, Any] = json.loads(json.dumps(given, allow_nan=False))
    except (ValueError, TypeError) as reason:
        raise ArgumentError(f"options: expected what JSON can carry: {reason}") from None
    return plain
