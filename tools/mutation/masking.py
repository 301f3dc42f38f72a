"""Blanks everything in C++ and Cython sources that is not code for this machine. Positions do not change."""

from __future__ import annotations

import re

# Values of macros for the compiler of x86-64 Linux. A condition without these names keeps all its branches.
KNOWN = {
    "__x86_64__",
    "__linux__",
    "MADV_HUGEPAGE",
    "QWEN3CPU_HAVE_AVX2",
    "QWEN3CPU_HAVE_AVXVNNI",
    "QWEN3CPU_HAVE_AVX512VNNI",
}
UNKNOWN = {"__aarch64__", "__APPLE__", "QWEN3CPU_HAVE_NEON", "QWEN3CPU_HAVE_AMX"}

_CPP_LITERAL = re.compile(
    r"//[^\n]*|/\*.*?\*/|R\"(?P<raw>[^(]*)\(.*?\)(?P=raw)\"|\"(?:\\.|[^\"\\\n])*\"|(?<![\w'])'(?:\\.|[^'\\\n])+'",
    re.DOTALL,
)
_CYTHON_LITERAL = re.compile(r"#[^\n]*|\"\"\".*?\"\"\"|'''.*?'''|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)
_DIRECTIVE = re.compile(r"[ \t]*#[ \t]*(\w+)(.*)")
_DEFINED = re.compile(r"\s*(?:defined\((\w+)\)|(\w+))\s*")
_ASSERTION = re.compile(r"\b(?:static_)?assert\s*(?=\()")


def blank(text: str) -> str:
    """Spaces of the same length, with the same line ends."""
    return re.sub(r"[^\n]", " ", text)


def masked_cython(text: str) -> str:
    """A source without comments and strings."""
    return _CYTHON_LITERAL.sub(lambda match: blank(match[0]), text)


def masked_cpp(text: str) -> str:
    """A source without comments, strings, preprocessor lines, branches for other machines, and assertions."""
    masked = _without_directives(_CPP_LITERAL.sub(lambda match: blank(match[0]), text))
    for match in reversed(list(_ASSERTION.finditer(masked))):
        end = closing(masked, match.end())
        masked = masked[: match.start()] + blank(masked[match.start() : end + 1]) + masked[end + 1 :]
    return masked


def _without_directives(text: str) -> str:
    """Blank the preprocessor's lines, and the code that they leave out on this machine."""
    lines = text.split("\n")
    kept: list[bool] = []  # for each open #if: whether its current branch is compiled
    taken: list[bool] = []  # for each open #if: whether an earlier branch is compiled
    directive = False
    for number, line in enumerate(lines):
        match = None if directive else _DIRECTIVE.match(line)
        if match is not None:
            name, rest = match[1], match[2]
            if name in {"if", "ifdef", "ifndef"}:
                value = _value(rest, negated=name == "ifndef")
                kept.append(value is not False)
                taken.append(value is True)
            elif name == "elif":
                value = False if taken[-1] else _value(rest, negated=False)
                kept[-1] = value is not False
                taken[-1] = taken[-1] or value is True
            elif name == "else":
                kept[-1] = not taken[-1]
            elif name == "endif":
                kept.pop()
                taken.pop()
        directive = (match is not None or directive) and line.endswith("\\")
        if match is not None or directive or not all(kept) or (number and lines[number - 1].endswith("\\")):
            lines[number] = blank(line) if not line.endswith("\\") else blank(line[:-1]) + "\\"
    return "\n".join(lines).replace("\\", " ")


def _value(condition: str, *, negated: bool) -> bool | None:
    """Whether a condition holds on this machine; None if that is unknown."""
    match = _DEFINED.fullmatch(condition)
    name = match and (match[1] or match[2])
    if name in KNOWN:
        return not negated
    if name in UNKNOWN:
        return negated
    return None


def closing(masked: str, at: int) -> int:
    """The place where the bracket at `at` is closed, or the end of the text."""
    depth = 0
    for index in range(at, len(masked)):
        if masked[index] in "([{":
            depth += 1
        elif masked[index] in ")]}":
            depth -= 1
            if depth == 0:
                return index
    return len(masked)


def parts(masked: str, start: int, end: int, separator: str) -> list[tuple[int, int]]:
    """The parts of [start, end) between separators outside of brackets."""
    found = []
    depth, begin = 0, start
    for index in range(start, end):
        if masked[index] in "([{":
            depth += 1
        elif masked[index] in ")]}":
            depth -= 1
        elif masked[index] == separator and depth == 0:
            found.append((begin, index))
            begin = index + 1
    return [*found, (begin, end)]


def trimmed(masked: str, start: int, end: int) -> tuple[int, int]:
    """The range [start, end) without the space around it."""
    while start < end and masked[start].isspace():
        start += 1
    while end > start and masked[end - 1].isspace():
        end -= 1
    return start, end
