"""The report in a calibrated file: the recipe, and what each matrix of the layers costs in q4."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from qwen3cpu.checkpoint.json_fields import Fields, parse_object
from qwen3cpu.errors import CheckpointError
from qwen3cpu.packed.packed_file import PackedFile
from qwen3cpu.quantization.recipe import Recipe

_KEY = "calibration"


@dataclass(frozen=True)
class Report:
    """The report of a calibration.

    Attributes:
        recipe: the fields of Recipe as plain values. `text` is the SHA-256 of the text.
        costs: matrix -> mean divergence in nats when only this matrix is in q4. For an embedding model it is 1 - the
            mean cosine.
    """

    recipe: dict[str, object]
    costs: dict[str, float]


def describe(recipe: Recipe, costs: Mapping[str, float]) -> str:
    """Encode the report for a packed file."""
    values = asdict(recipe)
    if recipe.text is not None:
        values["text"] = hashlib.sha256(recipe.text.encode()).hexdigest()
    return json.dumps({"recipe": values, "costs": dict(costs)}, separators=(",", ":"))


def read_report(file: PackedFile) -> Report | None:
    """Read what `describe` wrote; None: the file was not calibrated. Raises CheckpointError for anything else."""
    text = file.metadata.get(_KEY)
    if text is None:
        return None
    source = f"{file.path}: {_KEY}"
    values = parse_object(text.encode("utf-8", "replace"), source)
    recipe, costs = values.get("recipe"), values.get("costs")
    fields = Fields(values, source, CheckpointError)
    if not isinstance(recipe, dict):
        raise fields.fail("recipe", "an object")
    if not isinstance(costs, dict) or not all(
        name in file.plan and type(cost) in (int, float) for name, cost in costs.items()
    ):
        raise fields.fail("costs", "an object of numbers by matrix")
    return Report(recipe, costs)


def as_table(report: Report, file: PackedFile) -> str:
    """Format a line for each matrix with a measured cost, the costliest first."""
    rows = [("matrix", "format", "KiB", "cost in q4")]
    for name, cost in sorted(report.costs.items(), key=lambda item: -item[1]):
        matrix = file.plan[name]
        rows.append((name.removesuffix(".weight"), matrix.format, f"{matrix.bytes / 1024:.0f}", f"{cost:.6f}"))
    first, *others = (max(len(row[i]) for row in rows) for i in range(4))
    lines = [
        row[0].ljust(first) + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], others, strict=True))
        for row in rows
    ]
    weights = sum(matrix.rows * matrix.cols for matrix in file.plan.values())
    bits = 8 * sum(matrix.bytes for matrix in file.plan.values()) / weights
    lines.append(
        f"sum of all {sum(report.costs.values()):.4f}, of those in q4 "
        f"{sum(cost for name, cost in report.costs.items() if file.plan[name].format == 'q4'):.4f}; "
        f"{bits:.2f} bits per weight"
    )
    return "\n".join(lines)
