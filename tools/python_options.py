"""Writes the table of the options of an answer into docs/api.md, from the docstrings and defaults of the code.

python tools/python_options.py
"""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields
from pathlib import Path

from qwen3cpu.engine.sampling import NON_THINKING, THINKING, SamplingParams
from qwen3cpu.generation.options import ALIASES, Options, Request

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
SAMPLING = "[Sampling](sampling.md) has the meaning."
BEGIN, END = "<!-- options of answers -->\n", "<!-- end of options of answers -->"


def entries(kind: type) -> dict[str, str]:
    """Option -> its text in the docstring. Two options may be on one line, or share a text."""
    text = re.sub(r"\n +", " ", inspect.getdoc(kind) or "")
    found = {}
    parts = re.split(r"(?:^|(?<=\. ))((?:\w+, )*[a-z_]+): ", text, flags=re.M)
    for names, meaning in zip(parts[1::2], parts[2::2], strict=True):
        for name in names.split(", "):
            found[name] = meaning.split("\n\n")[0].strip()
    return found


def shown_type(name: str) -> str:
    """The annotation, without None, as code. In backticks, the site would show the backslash before a bar."""
    annotation = Options.__annotations__[name]
    text = getattr(annotation, "__forward_arg__", str(annotation))
    text = text.removesuffix(" | None")
    return f"<code>{text.replace('|', '&#124;')}</code>" if "|" in text else f"`{text}`"


def shown_default(name: str) -> str:
    """The default value; two values are the defaults with thinking and without it."""
    if name == "thinking":
        return '`"auto"`'
    sampling = {each.name: each.default for each in fields(SamplingParams)}
    if name in sampling:
        modes = [getattr(mode, name, sampling[name]) for mode in (THINKING, NON_THINKING)]
        values = modes[:1] if modes[0] == modes[1] else modes
    else:
        values = [each.default for each in fields(Request) if each.name == name]
    return ", ".join(
        f"`{each!r}`" for each in values if each is not None and each is not MISSING and each not in ((), frozenset())
    )


def table() -> str:
    """One row for each option."""
    meanings = entries(SamplingParams) | {
        name: text for name, text in entries(Options).items() if not text.startswith("see SamplingParams")
    }
    rows = []
    for name in Options.__annotations__:
        if name not in ALIASES:
            meaning = meanings.get(name, SAMPLING).replace("|", "\\|").replace("<", "&lt;")
            rows.append(f"| `{name}` | {shown_type(name)} | {shown_default(name)} | {meaning} |")
    return "\n".join(["| option | type | default | meaning |", "|---|---|---|---|", *rows])


def filled(page: str) -> str:
    """The page with its table, made from the code."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
