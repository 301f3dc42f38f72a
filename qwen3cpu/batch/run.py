"""Runs a job from its input file to its output file, and continues it after interruptions."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from qwen3cpu._version import VERSION
from qwen3cpu.arguments import check_flag, whole_number
from qwen3cpu.batch.about import about_model
from qwen3cpu.batch.answering import Answering
from qwen3cpu.batch.embedding import embed_lines
from qwen3cpu.batch.ids import Ids
from qwen3cpu.batch.input_file import InputFile, Line, unanswered
from qwen3cpu.batch.journal import Journal, journal_path
from qwen3cpu.batch.output_lines import START, answer_line, beginning, error_line, is_error
from qwen3cpu.batch.requests import line_options
from qwen3cpu.errors import ArgumentError
from qwen3cpu.model import Model
from qwen3cpu.server.api.errors import as_api_error
from qwen3cpu.server.scheduling.service import Service
from qwen3cpu.server.settings import Settings
from qwen3cpu.system.outputs import check_output
from qwen3cpu.system.paths import checked_path
from qwen3cpu.system.progress_bar import Progress, check_progress
from qwen3cpu.text.tokenizer import check_text

_NO_TIME_LIMIT: Final = 1e12
FORM: Final = 1
"""The version of journals and ids. A change of either, or of what a result depends on, needs a new number."""


@dataclass(frozen=True)
class Summary:
    """The outcome of a job.

    Attributes:
        lines: the number of lines of the input that are not blank, which is also that of the output.
        errors: the number of lines with an error instead of an answer.
        first_error: the number of the first such line in the input; None without one.
        kept: the number of lines that were answered before this run.
    """

    lines: int
    errors: int
    first_error: int | None
    kept: int


def run_file(
    model: Model,
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    seed: int = 0,
    restart: bool = False,
    model_name: str | None = None,
    kv_bytes: int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Summary:
    """Answer every line of a JSONL file; docs/batch.md has the forms of lines and results.

    After an interruption, even a kill, a call with the same arguments continues the job, and the output has the bytes
    of an undisturbed run. Answered lines are kept beside the output, in OUTPUT.part. The output gets its name
    when it is complete, with the results in the order of the lines.

    Args:
        model: a language model or an embedding model. It must not be used for anything else until the end.
        input: a regular file; it must not change until the job is done.
        output: the file to make.
        seed: the seed of the whole job. The seed of a line is `line_seed` of this and of its custom_id, or its number.
        restart: drop earlier answers, and replace an output of another job.
        model_name: the name that bodies may have in `model`; default: the last part of the model's source.
        kv_bytes: bytes that the KV cache may take; default: half of the free memory.
        progress: advanced for every line.
        options: defaults for lines in this package's own form. Those of `qwen3cpu.Options` without n, deadline and
            progress.

    Raises:
        ArgumentError: the input cannot be read, or has a custom_id twice. The output or its journal belongs to another
            job or cannot be written. An option is not allowed.
    """
    if not isinstance(model, Model):
        raise ArgumentError(f"model: expected a loaded model, found {type(model).__name__}")
    if model_name is not None:
        check_text(model_name, "model_name")
    if kv_bytes is not None:
        kv_bytes = whole_number("kv_bytes", kv_bytes, 1, what="a number of bytes")
    check_flag("restart", restart)
    check_progress(progress)
    out = checked_path("output", output)
    seed = whole_number("seed", seed, 0, 2**53 - 1)
    _check_files(input, out, restart)
    if model.task == "reranking":
        raise ArgumentError(f"{model.source}: expected a language model or an embedding model, found a reranker")
    given = line_options(model, options)
    name = model_name or Path(model.source).name
    source = InputFile(checked_path("input", input))
    try:
        about = {
            "version": f"{VERSION} form {FORM}",
            "input file": source.digest,
            **about_model(model),
            "model name": name,
            "seed": seed,
            "options": given,
        }
        return _Job(model, source, out, about, Settings(name, timeout=_NO_TIME_LIMIT, kv_bytes=kv_bytes)).run(
            seed, given, restart, progress
        )
    finally:
        source.close()


def _check_files(input: str | os.PathLike[str], output: Path, restart: bool) -> None:
    """Raise ArgumentError when the output or the journal would replace something else than earlier answers."""
    check_output("output", journal_path(output), "a journal", (b"",), [input])
    # Without `restart`, an output that is there is compared line by line later.
    starts = (START,) if restart else (b"",)
    check_output("output", output, "answers of a batch", starts, [input])


class _Job:
    """One run of a job."""

    def __init__(
        self, model: Model, source: InputFile, output: Path, about: Mapping[str, Any], settings: Settings
    ) -> None:
        self._model = model
        self._source = source
        self._output = output
        self._about = about
        self._job = hashlib.sha256(json.dumps(about).encode()).hexdigest()
        self._settings = settings

    def run(self, seed: int, options: Mapping[str, Any], restart: bool, progress: Progress | None) -> Summary:
        """See `run_file`."""
        service = Service(self._model, self._settings)
        if not restart and (summary := self._finished()) is not None:
            return summary
        self._journal = Journal(self._output, self._about, self._source.numbers, restart=restart)
        self._progress = progress
        try:
            kept = int(self._journal.done.sum())
            if progress is not None:
                progress.start("answering", len(self._source) - kept, "lines")
            if self._model.task == "embedding":
                embed_lines(service, self._lines(), self._note)
            else:
                Answering(service, self._lines(), self._ids, self._note, seed=seed, options=options).run()
            self._journal.finish()
            return self._summary([int(number) for number in self._journal.errors], kept)
        finally:
            self._journal.close()

    def _finished(self) -> Summary | None:
        """The summary of a complete output; None without one, or if there is a journal to continue.

        Raises:
            ArgumentError: the output belongs to another job.
        """
        if os.path.exists(journal_path(self._output)) or not os.path.exists(self._output):
            return None
        errors = []
        try:
            with open(self._output, "rb") as file:
                for line, number in zip_longest(file, self._source.numbers):
                    if line is None or number is None or not line.startswith(beginning(self._ids(int(number)))):
                        break
                    if is_error(line):
                        errors.append(int(number))
                else:
                    return self._summary(errors, len(self._source))
        except OSError as reason:
            raise ArgumentError(f"{self._output}: cannot be read: {reason.strerror or reason}") from None
        raise ArgumentError(
            f"{self._output}: expected no such file, or the output of this job; found something else, perhaps of "
            "another input or model. Name another output, or replace it with --restart (in Python restart=True)"
        )

    def _summary(self, errors: list[int], kept: int) -> Summary:
        return Summary(len(self._source), len(errors), errors[0] if errors else None, kept)

    def _lines(self) -> Iterator[tuple[int, Line]]:
        for place in unanswered(self._source.order, self._journal.done):
            yield place, self._source.line(place)

    def _ids(self, number: int) -> Ids:
        return Ids(self._job, number)

    def _note(self, place: int, line: Line, reply: Any | Exception) -> None:
        ids = self._ids(line.number)
        if isinstance(reply, Exception):
            self._journal.add(place, error_line(line, ids, as_api_error(reply)), failed=True)
        else:
            self._journal.add(place, answer_line(line, ids, reply), failed=False)
        if self._progress is not None:
            self._progress.advance(1)
