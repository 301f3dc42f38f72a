"""A job: a dataset, the work on its rows, and the actors that do it."""

from __future__ import annotations

from typing import Any, Final

from ray.data import Dataset

from qwen3cpu.arguments import whole_number
from qwen3cpu.errors import ArgumentError
from qwen3cpu.integrations.ray_data.actors import RowActor, actor_places, examine
from qwen3cpu.integrations.ray_data.work import Work

BLOCK_ROWS: Final = 256
"""Rows of a block. If an actor is lost, its unfinished blocks are lost."""


class Job:
    """One job. The model is loaded on one node at once, so that mistakes raise errors before the work starts.

    Args:
        dataset: the rows.
        work: the work on each row.
        actors: the largest number of actors, or (least, most), or None.
        block_rows: rows of a block.

    Raises:
        ArgumentError: an argument is not allowed, or no node has room for the model. Other errors: see `qwen3cpu.load`.
    """

    def __init__(self, dataset: Dataset, work: Work, actors: object, block_rows: object) -> None:
        self.dataset = dataset
        self.work = work
        self._block_rows = whole_number("block_rows", block_rows, 1)
        self._check_columns()
        examined = examine(work)
        self.about = examined.about
        """All that the rows depend on."""
        self._places = actor_places(work.threads, examined.memory, actors)

    def mapped(self, actor: type[RowActor], *arguments: Any) -> Dataset:
        """The dataset after the actors' work. arguments: further arguments of the actor."""
        blocks = self.dataset.repartition(target_num_rows_per_block=self._block_rows)
        return blocks.map_batches(
            actor,
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            compute=self._places.pool,
            num_cpus=self.work.threads,
            memory=self._places.memory,
            fn_constructor_args=(self.work, self.about, *arguments),
        )

    def _check_columns(self) -> None:
        """Refuse wrong names if the columns are known without reading the rows."""
        schema = self.dataset.schema(fetch_if_missing=False)
        if schema is None:
            return
        for name in (self.work.column, self.work.key):
            if name is not None and name not in schema.names:
                raise ArgumentError(f"column: expected one of {', '.join(schema.names)}; found {name!r}")
        for name, column in self.work.output.items():
            if column in schema.names:
                raise ArgumentError(
                    f"output: expected names of new columns, found {column!r}, which the rows have; "
                    f"output={{{name!r}: 'answer'}} gives it another name"
                )
