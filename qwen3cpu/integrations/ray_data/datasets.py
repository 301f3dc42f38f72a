"""`generate` and `embed` on datasets, lazily or into a folder that keeps what is finished."""

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
    """Answer the rows of a dataset. Every row is what one process gives, on any number of nodes, lost ones included.

    The model is loaded on one node at once, so that mistakes are told here. The rows are answered when the dataset that
    is returned is used.

    Args:
        dataset: its rows. They keep their columns.
        model: a path that all nodes have, a hub id, or a model's name.
        column: what holds the prompts: texts, messages or token ids.
        key: the column that names a row, by a text or a whole number. A row's seed is `line_seed(seed, key)`. Default:
            `content_key` of the prompt, so that the same prompts have the same answers.
        seed: of the whole job.
        output: what is told of an answer, by the names in docs/cluster.md, or a mapping of these to names of columns. A
            column `error` is always there; it is null where a row is answered.
        load: options of `qwen3cpu.load`.
        cpus: of an actor, and its threads. Default: those of the smallest node but one.
        actors: how many at most, or (at least, at most). Default: as many as there is room for.
        kv_bytes: of an actor's KV cache. Default: what a full context needs.
        block_rows: rows of a block. Rows of one block share what their prompts begin with.
        options: of `Model.generate`, without n, deadline, progress and what JSON cannot carry.

    Raises:
        ArgumentError: an argument that is not allowed, or a model for which no node has room. Else as `qwen3cpu.load`.
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

    Called again with the same arguments after any end, it goes on where it was. No row is lost, doubled or another one.
    Until the last row is finished, what there is lies in FOLDER.part.

    Args:
        dataset: its rows. They are read twice: first for their keys.
        folder: to make. The driver and all nodes must see it under this path.
        file_format: "parquet" or "jsonl".
        restart: begin anew: forget what is finished, and replace the folder of another job.
        progress: told of every row.
        actors: see `generate`.
        block_rows: see `generate`; also the rows of a file.
        arguments: of `generate`.

    Raises:
        ArgumentError: two rows with the same key; a folder of another job, or that somebody else works on. Else as
            `generate`.
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
    """Embed the rows of a dataset, with an embedding model; arguments as for `generate`.

    Args:
        dataset: its rows.
        model: an embedding model.
        column: what holds the texts.
        output: the column `vector`, or another name for it; a column `error` is always there.
        load: options of `qwen3cpu.load`.
        cpus: of an actor.
        actors: how many.
        block_rows: rows of a block.
        options: of `Model.embed`, without progress.

    Raises:
        ArgumentError: as for `generate`.
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
        dataset: its rows.
        folder: to make.
        file_format: "parquet" or "jsonl".
        restart: begin anew.
        progress: told of every row.
        actors: how many.
        block_rows: rows of a block and of a file.
        arguments: of `embed`, and `key`: the column that names a row. Default: its text.

    Raises:
        ArgumentError: as for `generate_to`.
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
    """What is told of a row -> its column. ArgumentError for what cannot be told, or a column that is named twice."""
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
