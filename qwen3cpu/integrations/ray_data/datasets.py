"""`generate` and `embed` on datasets, lazily or into a folder that keeps finished rows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, get_args

from ray.data import Dataset

from qwen3cpu.arguments import check_choice
from qwen3cpu.errors import ArgumentError
from qwen3cpu.integrations.ray_data.actors import RowActor, actor_cpus
from qwen3cpu.integrations.ray_data.answers import FIELDS
from qwen3cpu.integrations.ray_data.folder import FileFormat, Summary
from qwen3cpu.integrations.ray_data.job import BLOCK_ROWS, Job
from qwen3cpu.integrations.ray_data.work import Work, checked_options, checked_seed, portable
from qwen3cpu.integrations.ray_data.writing import write
from qwen3cpu.system.progress_bar import Progress

Output: TypeAlias = "Sequence[str] | Mapping[str, str]"


def generate(
    dataset: Dataset,
    *,
    model: str | os.PathLike[str],
    column: str = "prompt",
    key: str | None = None,
    seed: int = 0,
    output: Output = ("text", "finish_reason"),
    load: Mapping[str, Any] | None = None,
    cpus: int | None = None,
    actors: int | tuple[int, int] | None = None,
    kv_bytes: int | None = None,
    block_rows: int = BLOCK_ROWS,
    **options: Any,
) -> Dataset:
    """Answer the rows of a dataset. The rows are those of a single process, for any number of nodes and lost nodes.

    The model is loaded on one node at once, so that mistakes raise errors here. The rows are answered when the returned
    dataset is used.

    Args:
        dataset: the rows. They keep their columns.
        model: a path that all nodes have, a hub id, or a model's name.
        column: the column of the prompts: texts, messages or token ids.
        key: the column that names a row, with a text or a whole number. A row's seed is `line_seed(seed, key)`.
            Default: `content_key` of the prompt, so that equal prompts have equal answers.
        seed: the seed of the whole job.
        output: the fields of an answer, by the names in docs/cluster.md, or a mapping of these to names of columns. A
            column `error` is always added; it is null in answered rows.
        load: options of `qwen3cpu.load`.
        cpus: CPUs and threads of an actor. Default: those of the smallest node minus one.
        actors: the largest number of actors, or (least, most). Default: as many as there is room for.
        kv_bytes: bytes of an actor's KV cache. Default: what a full context needs.
        block_rows: rows of a block. Rows of one block share the common beginnings of their prompts.
        options: options of `Model.generate` that JSON can hold, without n, deadline and progress.

    Raises:
        ArgumentError: an argument is not allowed, or no node has room for the model. Other errors: see `qwen3cpu.load`.
    """
    work = _answering(model, column, key, seed, output, load, cpus, kv_bytes, **options)
    return Job(dataset, work, actors, block_rows).mapped(RowActor)


def generate_to(
    dataset: Dataset,
    folder: str | os.PathLike[str],
    *,
    file_format: FileFormat = "parquet",
    restart: bool = False,
    progress: Progress | None = None,
    actors: int | tuple[int, int] | None = None,
    block_rows: int = BLOCK_ROWS,
    **arguments: Any,
) -> Summary:
    """Answer the rows of a dataset into a folder of Parquet or JSONL files.

    After an interruption, a call with the same arguments continues the job. No row is lost, duplicated or changed.
    Finished rows are in FOLDER.part until the last one is finished.

    Args:
        dataset: the rows. They are read twice, first for their keys.
        folder: the folder to make. The driver and all nodes must see it under this path.
        file_format: "parquet" or "jsonl".
        restart: drop finished rows, and replace the folder of another job.
        progress: advanced for every row.
        actors: see `generate`.
        block_rows: see `generate`; also the number of rows of a file.
        arguments: arguments of `generate`.

    Raises:
        ArgumentError: two rows have the same key; the folder belongs to another job, or another process uses it. Other
            errors: see `generate`.
    """
    job = Job(dataset, _answering(**arguments), actors, block_rows)
    return write(job, Path(folder).absolute(), _checked(file_format), restart, progress)


def embed(
    dataset: Dataset,
    *,
    model: str | os.PathLike[str],
    column: str = "text",
    output: Output = ("vector",),
    load: Mapping[str, Any] | None = None,
    cpus: int | None = None,
    actors: int | tuple[int, int] | None = None,
    block_rows: int = BLOCK_ROWS,
    **options: Any,
) -> Dataset:
    """Embed the rows of a dataset with an embedding model. See `generate` for the arguments.

    Args:
        dataset: the rows.
        model: an embedding model.
        column: the column of the texts.
        output: the column `vector`, or another name for it; a column `error` is always added.
        load: options of `qwen3cpu.load`.
        cpus: CPUs and threads of an actor.
        actors: the number of actors.
        block_rows: rows of a block.
        options: options of `Model.embed`, without progress.

    Raises:
        ArgumentError: see `generate`.
    """
    return Job(dataset, _embedding(model, column, None, output, load, cpus, **options), actors, block_rows).mapped(
        RowActor
    )


def embed_to(
    dataset: Dataset,
    folder: str | os.PathLike[str],
    *,
    file_format: FileFormat = "parquet",
    restart: bool = False,
    progress: Progress | None = None,
    actors: int | tuple[int, int] | None = None,
    block_rows: int = BLOCK_ROWS,
    **arguments: Any,
) -> Summary:
    """Embed the rows of a dataset into a folder; see `generate_to`.

    Args:
        dataset: the rows.
        folder: the folder to make.
        file_format: "parquet" or "jsonl".
        restart: drop finished rows, and replace the folder of another job.
        progress: advanced for every row.
        actors: the number of actors.
        block_rows: rows of a block and of a file.
        arguments: arguments of `embed`, and `key`: the column that names a row. Default: its text.

    Raises:
        ArgumentError: see `generate_to`.
    """
    job = Job(dataset, _embedding(**arguments), actors, block_rows)
    return write(job, Path(folder).absolute(), _checked(file_format), restart, progress)


def _answering(
    model: str | os.PathLike[str],
    column: str = "prompt",
    key: str | None = None,
    seed: int = 0,
    output: Output = ("text", "finish_reason"),
    load: Mapping[str, Any] | None = None,
    cpus: int | None = None,
    kv_bytes: int | None = None,
    **options: Any,
) -> Work:
    source, loading = portable(model, load)
    return Work(
        model=source,
        load=loading,
        task="generation",
        column=column,
        key=key,
        seed=checked_seed(seed),
        output=_columns(output, FIELDS),
        options=checked_options(options),
        threads=actor_cpus(cpus),
        kv_bytes=kv_bytes,
    )


def _embedding(
    model: str | os.PathLike[str],
    column: str = "text",
    key: str | None = None,
    output: Output = ("vector",),
    load: Mapping[str, Any] | None = None,
    cpus: int | None = None,
    **options: Any,
) -> Work:
    source, loading = portable(model, load)
    return Work(
        model=source,
        load=loading,
        task="embedding",
        column=column,
        key=key,
        seed=0,
        output=_columns(output, ("vector",)),
        options=checked_options(options),
        threads=actor_cpus(cpus),
        kv_bytes=None,
    )


def _columns(output: Output, known: Sequence[str] | Mapping[str, Any]) -> dict[str, str]:
    """Field of a row -> its column. ArgumentError for an unknown field, or a column that is named twice."""
    if isinstance(output, str) or not isinstance(output, (Sequence, Mapping)):
        raise ArgumentError(f"output: expected a list of names, or a mapping of them to columns, found {output!r}")
    given = dict(output) if isinstance(output, Mapping) else {name: name for name in output}
    columns = {**given, "error": given.get("error", "error")}
    for name in columns:
        if name not in known and name != "error":
            raise ArgumentError(f"output: expected names among {', '.join([*known, 'error'])}; found {name!r}")
    if len(set(columns.values())) < len(columns):
        raise ArgumentError(f"output: expected another column for each name, found {', '.join(columns.values())}")
    return columns


def _checked(file_format: str) -> FileFormat:
    check_choice("file_format", file_format, get_args(FileFormat))
    return file_format  # type: ignore[return-value]
