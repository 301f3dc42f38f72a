"""A dataset, what is done with its rows, and the actors that do it."""

from __future__ import annotations

from typing import Any, Final

from ray.data import Dataset

from qwen3cpu.arguments import whole_number
from qwen3cpu.errors import ArgumentError
from qwen3cpu.integrations.ray_data.actors import RowActor, actor_places, examine
from qwen3cpu.integrations.ray_data.work import Work

BLOCK_ROWS: Final = 256
"""Rows of a block. An actor that is lost loses the blocks that it works on."""


class Job:
    """One job. The model is loaded on one node at once, so that mistakes are told before anything begins.

    Args:
        dataset: the rows.
        work: what is done with each.
        actors: how many at most, or (at least, at most), or None.
        block_rows: rows of a block.

    Raises:
        ArgumentError: an argument that is not allowed, or a model for which no node has room. Else as `qwen3cpu.load`.
    """

    def __init__(self, dataset: Dataset, work: Work, actors: object, block_rows: object) -> None:
        self.dataset = dataset
        self.work = work
        self._block_rows = whole_number("block_rows", block_rows, 1)
        self._check_columns()
        examined = examine(work)
        self.about = examined.about
        """What the rows depend on."""
        self._places = actor_places(work.threads, examined.memory, actors)

    def mapped(self, actor: type[RowActor], *arguments: Any) -> Dataset:
        """What actors make of the blocks. arguments: of the actor, besides what all have."""
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
        """Refuse wrong names, where the columns are known without reading the rows."""
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
