"""What a checkpoint was made for: to write text, to embed texts, or to score documents for a query.

An embedding model or reranker has the architecture of other Qwen3 models, so files beside the weights tell its purpose.
In a folder these are the files of sentence-transformers (modules.json and the files it names). A GGUF file has the key
`qwen3.pooling_type`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.arguments import check_choice
from qwen3cpu.checkpoint.json_fields import Fields, brief, parse_object, parse_value
from qwen3cpu.errors import ArgumentError, ConfigError

Task: TypeAlias = Literal["generation", "embedding", "reranking"]
TASKS: Final[tuple[Task, ...]] = get_args(Task)

MODULES: Final = "modules.json"
PROMPTS: Final = "config_sentence_transformers.json"
LENGTHS: Final = "sentence_bert_config.json"
SEQUENCE_CLASSIFIER: Final = "Qwen3ForSequenceClassification"
_NAME: Final = re.compile(r"rerank|embedding", re.IGNORECASE)

ReadFile: TypeAlias = Callable[[str], bytes | None]
"""read(name) returns the bytes of a file of a model folder; None: the file does not exist."""


@dataclass(frozen=True)
class Purpose:
    """What a model was made for, and what its files say about that."""

    task: Task = "generation"
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Kind of text ("query", "document") -> prefix of such texts."""
    max_length: int | None = None
    """Most tokens of a text; None: the files do not say."""
    yes_no: tuple[int, int] | None = None
    """Rows of the head whose logits a reranker compares; None: those of the tokens "yes" and "no"."""
    own_head: bool = False
    """Whether a reranker has a head of its own instead of the language model's."""
    score: NDArray[np.float32] | None = None
    """That head, once the weights are open: float32 [1, hidden_size] (one logit) or [2, hidden_size] (yes and no)."""

    @property
    def needs_head(self) -> bool:
        """Whether the language model's head is used."""
        return self.task != "embedding" and not self.own_head

    def expect(self, task: Task, source: str) -> Purpose:
        """Return the purpose itself. Raises ArgumentError when it is another task."""
        if self.task != task:
            raise ArgumentError(
                f"{source}: expected a model made for {task}, found one made for {self.task}; load(..., task={task!r}) "
                "uses a model for a task that its files do not name"
            )
        return self

    def chosen(self, task: Task | None, source: str) -> Purpose:
        """Return the purpose for the task that the user asks for. Raises ArgumentError when the files name another."""
        if task is None or task == self.task:
            return self
        if self.task != "generation":
            raise ArgumentError(f"{source}: task: expected {self.task!r}, which its files say, found {task!r}")
        return Purpose(task)

    def by_name(self, name: str) -> Purpose:
        """Return the purpose that a model's name tells, because the files of some rerankers do not tell it."""
        if self.task != "generation":
            return self
        found = _NAME.search(name)
        return self if found is None else Purpose("reranking" if found[0].lower() == "rerank" else "embedding")

    def to_json(self) -> bytes:
        """Encode the purpose for a packed file. `from_json` reads it."""
        score = None if self.score is None else base64.b64encode(self.score.astype("<f4").tobytes()).decode("ascii")
        values = {
            "task": self.task,
            "prompts": dict(self.prompts),
            "max_length": self.max_length,
            "yes_no": self.yes_no,
            "score": score,
            "score_rows": None if self.score is None else len(self.score),
        }
        return json.dumps({name: value for name, value in values.items() if value is not None}).encode()

    @classmethod
    def from_json(cls, data: bytes, source: str) -> Purpose:
        """Read what `to_json` wrote. Raises ConfigError naming `source` for anything else."""
        values = parse_object(data, source, ConfigError)
        fields = Fields(values, source, ConfigError)
        task = values.get("task")
        if task not in TASKS:
            raise fields.fail("task", f"one of {', '.join(TASKS)}")
        ids = fields.token_ids("yes_no")
        if ids is not None and len(ids) != 2:
            raise fields.fail("yes_no", "two token ids")
        score = None
        if (text := fields.text("score", None)) is not None:
            try:
                raw = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
                score = raw.reshape(fields.integer("score_rows", 1, 2), -1)
            except ValueError:
                raise fields.fail("score", "float32 values in base64") from None
        return cls(
            task=task,
            prompts=_prompts(fields),
            max_length=fields.lenient_integer("max_length", 1, 1 << 30),
            yes_no=None if ids is None else (ids[0], ids[1]),
            own_head=score is not None,
            score=score,
        )


def check_task(task: object) -> None:
    """Raise ArgumentError unless `task` is None or one of TASKS."""
    if task is not None:
        check_choice("task", task, TASKS)


GENERATION: Final = Purpose()
"""A model that writes text."""


def folder_purpose(config: Mapping[str, Any], read: ReadFile, source: str) -> Purpose:
    """Find out what the model in a folder was made for.

    Args:
        config: its config.json.
        read: reads its other files.
        source: what messages call the folder.

    Raises:
        ConfigError: its files ask for a step that is not supported, such as another pooling than the last token's.
    """
    modules = read(MODULES)
    architectures = config.get("architectures")
    if modules is not None:
        purpose = _of_modules(_module_list(modules, f"{source}: {MODULES}"), read, source)
        if purpose is not None:
            return purpose
    if isinstance(architectures, list) and SEQUENCE_CLASSIFIER in architectures:
        return Purpose("reranking", own_head=True)
    if architectures == ["Qwen3Model"]:
        return Purpose("embedding")
    return GENERATION


def _module_list(data: bytes, source: str) -> list[tuple[str, str]]:
    """Read modules.json: a (kind, folder) for each module. The kind is the last part of the Python class's name."""
    values = parse_value(data, source, ConfigError)
    if not isinstance(values, list) or not all(isinstance(each, dict) for each in values):
        raise ConfigError(f"{source}: expected a list of modules, found {brief(values)}")
    modules = []
    for each in values:
        kind, path = each.get("type"), each.get("path", "")
        if not isinstance(kind, str) or not isinstance(path, str) or "/" in path.strip("/") or ".." in path:
            raise ConfigError(f"{source}: expected modules with `type` and `path`, found {brief(each)}")
        modules.append((kind.rpartition(".")[2], path.strip("/")))
    return modules


def _of_modules(modules: list[tuple[str, str]], read: ReadFile, source: str) -> Purpose | None:
    """Return the purpose that a list of modules tells; None: the transformer alone."""
    task: Task | None = None
    yes_no = None
    for kind, folder in modules:
        config = f"{folder}/config.json" if folder else "config.json"
        where = f"{source}: {config}"
        if kind == "Transformer" or kind == "Normalize":
            continue
        if kind == "Pooling":
            _check_pooling(Fields(_object(read(config), where), where, ConfigError))
            task = "embedding"
        elif kind == "LogitScore":
            fields = Fields(_object(read(config), where), where, ConfigError)
            yes_no = (fields.integer("true_token_id", 0, 2**31 - 1), fields.integer("false_token_id", 0, 2**31 - 1))
            task = "reranking"
        else:
            raise ConfigError(
                f"{source}: {MODULES}: expected the modules Transformer, Pooling, Normalize and LogitScore, "
                f"found {kind}"
            )
    if task is None:
        return None
    where = f"{source}: {PROMPTS}"
    prompts = _prompts(Fields(_object(read(PROMPTS), where), where, ConfigError))
    where = f"{source}: {LENGTHS}"
    lengths = Fields(_object(read(LENGTHS), where), where, ConfigError)
    return Purpose(task, prompts, lengths.lenient_integer("max_seq_length", 1, 1 << 30), yes_no)


def _check_pooling(fields: Fields) -> None:
    """Raise ConfigError unless the last token is pooled, in the spelling of any version of sentence-transformers."""
    mode = fields.values.get("pooling_mode")
    if mode is None:
        chosen = [
            name.removeprefix("pooling_mode_")
            for name, value in fields.values.items()
            if name.startswith("pooling_mode_") and value is True
        ]
        mode = {"lasttoken": "lasttoken", "last_token": "lasttoken"}.get(chosen[0]) if len(chosen) == 1 else chosen
    if mode != "lasttoken" and mode != ["lasttoken"]:
        raise ConfigError(
            f"{fields.source}: pooling_mode: expected 'lasttoken', the pooling of Qwen3-Embedding, found {brief(mode)}"
        )


def _prompts(fields: Fields) -> dict[str, str]:
    found = fields.values.get("prompts")
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise fields.fail("prompts", "an object of strings")
    return dict(found)


def _object(data: bytes | None, source: str) -> dict[str, Any]:
    return {} if data is None else parse_object(data, source, ConfigError)
