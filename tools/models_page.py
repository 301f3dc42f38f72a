"""Writes the table of released models into docs/models.md.

python tools/models_page.py
"""

from __future__ import annotations

from pathlib import Path

from qwen3cpu.checkpoint.known_models import KNOWN, KnownModel
from qwen3cpu.cli.list import known_facts
from qwen3cpu.cli.sizes import size_text

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
TITLES = "| model | for |"


def page(text: str) -> str:
    """The page with an up-to-date table."""
    before, _, rest = text.partition(TITLES)
    lines = f"{TITLES}{rest}".splitlines(keepends=True)
    rows = next(number for number, line in enumerate(lines) if not line.startswith("|"))
    return "".join([before, *lines[:2], *(_row(model) for model in KNOWN), *lines[rows:]])


def _row(model: KnownModel) -> str:
    facts = known_facts(model)
    cells = (
        f"`{model.short}`",
        model.task,
        f"{model.parameters / 1e9:.3g} billion",
        size_text(model.file_bytes),
        size_text(facts["weight_bytes"]),
        f"{model.positions:,}",
        ", ".join(model.forms),
    )
    return f"| {' | '.join(cells)} |\n".replace("|  |", "| |")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
