"""Extracts the prose of a source file: the paragraphs of its docstrings, comments, messages and help texts."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

SETTINGS = ("noqa", "type:", "ruff:", "pragma", "fmt:", "mypy:", "!", "cython:", "distutils:", "clang-format", "NOLINT")
"""Beginnings of comments that are settings of tools."""
ENTRY = re.compile(r" *[a-z_*][\w.*<>/\[\], -]{0,60}:(?: |$)")
"""A name and its meaning, as in the arguments of a docstring."""
TABLE = re.compile(r"\S {2,}\S|^[|>]")
"""A line of a table, or of an example."""
HELP = ("help", "description", "epilog")
"""Arguments of argparse with texts for users."""


def paragraphs_of_code(text: str, suffix: str) -> Iterator[str]:
    """The paragraphs of a source file.

    Args:
        text: the file.
        suffix: of its name, such as .py. In all files but Python's, comments follow two slashes.
    """
    if suffix in (".py", ".pyx", ".pxi"):
        for docstring in docstrings(text) if suffix == ".py" else cython_docstrings(text):
            yield from paragraphs(docstring)
    if suffix == ".py":
        for message in messages(text):
            yield from paragraphs(message)
    for comment in python_comments(text) if suffix == ".py" else slash_comments(text):
        yield from paragraphs(comment)


def paragraphs(text: str) -> Iterator[str]:
    """Split a docstring or comment at blank lines, entries and tables.

    The names of entries, tables, and code that is indented below a blank line are left out.
    """
    block: list[str] = []
    depth = -1  # of the entry that the block belongs to
    after_blank = code = False
    for line in [*text.splitlines(), ""]:
        bare = line.strip()
        indent = len(line) - len(line.lstrip())
        entry = ENTRY.match(line) if bare and (indent <= depth or depth < 0) else None
        if block and (entry or not bare or TABLE.search(bare)):
            yield " ".join(block)
            block = []
        code = not block and not entry and indent >= 4 and (after_blank or code)
        if entry:
            depth = indent
            block.append(line[entry.end() :])
        elif bare and not TABLE.search(bare) and not code:
            block.append(bare)
        if not bare:
            depth = -1
        after_blank = not bare


def docstrings(text: str) -> Iterator[str]:
    """The strings that are statements: docstrings of modules, classes, functions, and of the names above them."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield re.sub(rf"^ {{0,{node.col_offset}}}", "", node.value.value, flags=re.M)


def cython_docstrings(text: str) -> Iterator[str]:
    """The strings in three quotes that begin a line of a Cython file."""
    for found in re.finditer(r'^( *)"""(.+?)"""', text, re.M | re.S):
        yield re.sub(rf"^ {{0,{len(found[1])}}}", "", found[2], flags=re.M)


def messages(text: str) -> Iterator[str]:
    """The texts of raised errors, and the help of options."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            spoken = [*node.exc.args, *(each.value for each in node.exc.keywords)]
        elif isinstance(node, ast.Call):
            spoken = [each.value for each in node.keywords if each.arg in HELP]
        else:
            continue
        for each in spoken:
            if isinstance(each, ast.Constant) and isinstance(each.value, str):
                yield each.value
            elif isinstance(each, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "code" for part in each.values)
                yield "".join(str(part) for part in parts)


def python_comments(text: str) -> Iterator[str]:
    """The comments of a Python file; neighbouring lines are one comment."""
    block: list[str] = []
    last = -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        said = token.string.lstrip("#").removeprefix(" ")
        if said.startswith(SETTINGS):
            continue
        alone = not token.line[: token.start[1]].strip()
        if block and (token.start[0] != last + 1 or not alone):
            yield "\n".join(block)
            block = []
        block.append(said)
        last = token.start[0]
    if block:
        yield "\n".join(block)


def slash_comments(text: str) -> Iterator[str]:
    """The same for C++ and JavaScript with two slashes, and for Cython with its own sign."""
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        found = re.match(r"(.*?)(?:(?<!:)//+<?|(?<!\S)#) ?(.*)$", line)
        said = (
            found[2]
            if found and not re.match(r"\s*#\s*(include|if|el|endif|define|pragma|error|undef)", line)
            else None
        )
        alone = bool(found) and not found[1].strip()
        if block and (said is None or not alone):
            yield "\n".join(block)
            block = []
        if said is not None and not said.startswith(SETTINGS):
            block.append(said)
