"""Draws the rooms of the package and the way of a token: docs/pictures/rooms.svg and docs/pictures/token_way.svg.

    python tools/draw_house.py        (Python 3.11 or newer)

The floors come from the contract of import-linter in pyproject.toml, and the words in a room from the docstring of its
package. Draw the pictures again after a change; tests/house/test_pictures.py compares them.
"""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import tomllib
from vector_pictures import FLOORS, box, svg, text

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"

WIDTH, MARGIN, GAP = 960, 16, 12
LINE = 17  # pixels from one line of text to the next

Stop = tuple[str, str, str, str]
TOKEN_WAY: tuple[Stop, ...] = (
    ("cli | server", "what a user types or a client sends", "a prompt", "text, piece by piece"),
    ("model.py", "the public object", "prompt and options", "chunks"),
    ("generation/answerer.py", "checks options; prompts become token ids", "token ids", "chunks"),
    ("generation/batch.py", "shares a pass out among answers; chooses the next token", "pending ids", "logits"),
    ("engine/engine.py", "sequences, prefix cache, passes that threads share", "a ragged batch", "logits"),
    ("csrc/bindings", "NumPy arrays to C++, without the GIL", "a ragged batch", "logits"),
    ("csrc/engine", "the layers: norm, attention, MLP; the KV cache", "pieces of a product", "sums"),
    ("csrc/kernels", "one file for each format and instruction set", "", ""),
)
"""(place, its work, its output downwards, the result that comes back) for each stop, from the user to the kernels."""


def floors() -> list[list[str]]:
    """The rooms of each floor, from the top."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (rows,) = (contract["layers"] for contract in contracts if contract["id"] == "floors")
    return [[room.strip() for room in row.split("|")] for row in rows if row != "__main__"]


def words(room: str) -> tuple[str, str]:
    """The shown name of a room or module, and the first sentences of its docstring."""
    folder = ROOT / "qwen3cpu" / room
    path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return (f"{room}/" if folder.is_dir() else f"{room}.py"), text.split("\n\n")[0].replace("\n", " ").replace("`", "")


def draw_rooms() -> str:
    """The floors of the package, one above the other."""
    parts: list[str] = []
    y = float(MARGIN)
    for number, rooms in enumerate(floors()):
        width = (WIDTH - 2 * MARGIN - GAP * (len(rooms) - 1)) / len(rooms)
        found = [words(room) for room in rooms]
        wrapped = [textwrap.wrap(about, int((width - 20) / 6.4)) for _, about in found]
        height = 30 + LINE * max(map(len, wrapped))
        for column, ((name, _), lines) in enumerate(zip(found, wrapped, strict=True)):
            x = MARGIN + column * (width + GAP)
            parts.append(box(x, y, width, height, f"floor{number % FLOORS}"))
            parts.append(text(x + 10, y + 20, name, bold=True))
            parts += [text(x + 10, y + 20 + LINE * (row + 1), line) for row, line in enumerate(lines)]
        y += height + GAP
    caption = "A room imports only from floors below its own. Rooms side by side do not know each other."
    parts.append(text(MARGIN, y + 8, caption))
    return svg(WIDTH, round(y + LINE + 8), "The rooms of qwen3cpu, floor by floor", parts)


def draw_token_way() -> str:
    """From the user down to the kernels and back."""
    parts: list[str] = []
    left, width, height, step = 210, 540, 46, 86
    for number, (place, about, down, up) in enumerate(TOKEN_WAY):
        y = MARGIN + number * step
        parts.append(box(left, y, width, height, f"floor{number % FLOORS}"))
        parts.append(text(left + 12, y + 19, place, bold=True))
        parts.append(text(left + 12, y + 19 + LINE, about))
        if number + 1 == len(TOKEN_WAY):
            continue
        top, bottom = y + height + 2, y + step - 2
        for x, label, anchor, tail, head in (
            (left + 60, down, "end", top, bottom),
            (left + width - 60, up, "start", bottom, top),
        ):
            tip = 6 if head > tail else -6
            parts.append(f'<path d="M{x} {tail}V{head}" class="arrow" stroke-width="2" fill="none"/>')
            parts.append(f'<path d="M{x - 5} {head - tip}L{x} {head}L{x + 5} {head - tip}" fill="none" class="arrow"/>')
            parts.append(text(x + (-10 if anchor == "end" else 10), (top + bottom) / 2 + 4, label, anchor=anchor))
    return svg(WIDTH, MARGIN * 2 + step * (len(TOKEN_WAY) - 1) + height, "The way of a token", parts)


def pictures() -> dict[str, str]:
    """File name -> picture."""
    return {"rooms.svg": draw_rooms(), "token_way.svg": draw_token_way()}


def main() -> None:
    """Write the pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures().items():
        (PICTURES / name).write_text(picture, encoding="utf-8")
        print(PICTURES / name)


if __name__ == "__main__":
    main()
