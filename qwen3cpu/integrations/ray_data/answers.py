"""Answers rows with the engine of batch jobs: many at the same time, and rows with equal beginnings in sequence."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from qwen3cpu.batch.answering import Answering
from qwen3cpu.batch.ids import Ids
from qwen3cpu.batch.input_file import Line, LineError, beginning_marks, side_by_side
from qwen3cpu.errors import ArgumentError
from qwen3cpu.integrations.ray_data.keys import column_values, key_mark, row_keys
from qwen3cpu.integrations.ray_data.work import Work
from qwen3cpu.model import Model
from qwen3cpu.server.api.errors import as_api_error
from qwen3cpu.server.scheduling.service import Service
from qwen3cpu.server.settings import Settings

_NO_TIME_LIMIT: Final = 1e12


class _Field(NamedTuple):
    """A field of a result. kind: the type of its column. value: reads it from a result as a plain dictionary."""

    kind: pa.DataType
    value: Callable[[Mapping[str, Any]], Any]


def _field(kind: pa.DataType, *path: str) -> _Field:
    def value(result: Mapping[str, Any]) -> Any:
        found: Any = result
        for name in path:
            found = found[name]
        return found

    return _Field(kind, value)


FIELDS: Final[dict[str, _Field]] = {
    "text": _field(pa.string(), "text"),
    "reasoning": _field(pa.string(), "reasoning"),
    "tool_calls": _Field(pa.string(), lambda result: json.dumps(result["tool_calls"], ensure_ascii=False)),
    "token_ids": _field(pa.list_(pa.int32()), "token_ids"),
    "finish_reason": _field(pa.string(), "finish_reason"),
    "stopped_by": _field(pa.string(), "stopped_by"),
    "schema_errors": _field(pa.list_(pa.string()), "schema_errors"),
    "seed": _field(pa.int64(), "seed"),
    "prompt_tokens": _field(pa.int64(), "usage", "prompt_tokens"),
    "completion_tokens": _field(pa.int64(), "usage", "completion_tokens"),
    "reasoning_tokens": _field(pa.int64(), "usage", "reasoning_tokens"),
    "result": _Field(pa.string(), lambda result: json.dumps(result, ensure_ascii=False)),
}
"""The fields that `output` may name."""


class AnswerRows:
    """Answers the rows of tables.

    Args:
        work: the work on each row.
        model: the loaded model.
        about: all that the rows depend on; ids are made from it.
    """

    def __init__(self, work: Work, model: Model, about: Mapping[str, Any]) -> None:
        self._work = work
        self._model = model
        self._job = hashlib.sha256(json.dumps(about).encode()).hexdigest()
        self._options = about["options"]
        self._settings = Settings("model", timeout=_NO_TIME_LIMIT, kv_bytes=work.kv_limit(model))

    def columns(self, table: pa.Table) -> dict[str, pa.Array]:
        """The columns of the answers to the rows of a table, and of errors."""
        lines = self._lines(table)
        marks = np.array([beginning_marks(line.given) for line in lines], np.uint64).T
        replies: list[Any] = [None] * len(lines)

        def note(place: int, line: Line, reply: Any | Exception) -> None:
            replies[place] = reply

        def ordered() -> Iterator[tuple[int, Line]]:
            for place in side_by_side(list(marks)):
                yield int(place), lines[place]

        service = Service(self._model, self._settings)
        Answering(service, ordered(), self._ids, note, seed=self._work.seed, options=self._options).run()
        found = {}
        for name, column in self._work.output.items():
            if name == "error":
                errors = [str(as_api_error(each)) if isinstance(each, Exception) else None for each in replies]
                found[column] = pa.array(errors, pa.string())
            else:
                kind, value = FIELDS[name]
                values = [None if isinstance(each, Exception) else value(each) for each in replies]
                found[column] = pa.array(values, kind)
        return found

    def _lines(self, table: pa.Table) -> list[Line]:
        prompts = column_values(table, self._work.column)
        keys = row_keys(table, self._work.key, prompts)
        return [self._line(prompt, key) for prompt, key in zip(prompts, keys, strict=True)]

    def _line(self, prompt: Any, key: str | int | ArgumentError) -> Line:
        if isinstance(key, ArgumentError):
            return Line(0, None, LineError(400, str(key)))
        given = {"prompt": prompt}
        if isinstance(key, int):
            return Line(key, given)
        # The number is only used for ids, because the key of such a line is its custom_id.
        return Line(int.from_bytes(key_mark(key)[:8], "big"), {**given, "custom_id": key})

    def _ids(self, number: int) -> Ids:
        return Ids(self._job, number)
