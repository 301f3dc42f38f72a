"""Places for faults in C++ and Cython, found in the text. Binary operators must have spaces around them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mutation.masking import closing, masked_cpp, masked_cython, parts, trimmed
from mutation.places import Place

COMPARISONS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
SIGNS = {"+": "-", "-": "+", "+=": "-=", "-=": "+="}

_COMPARISON = re.compile(r"(?<=[ \n])(<=|>=|==|!=|<|>)(?=[ \n])")
_SIGN = re.compile(r"(?<= )(\+=|-=|\+|-)(?=[ \n])")
_MINUS = re.compile(r"(?:(?<=[(\[{])|(?<=[=,?:<>+*/-] )|(?<=return ))-(?=[\w(])")
_ONE = re.compile(r" [+-] 1(?![\w.'])")
_NUMBER = re.compile(
    r"(?<![\w.'])(0[xX][\da-fA-F.']+(?:p[+-]?\d+)?|(?:\d[\d']*\.?\d*|\.\d+)(?:e[+-]?\d+)?)([uUlLfF]*)(?![\w.'])"
)
_TRUTH = re.compile(r"\b(?:true|false|True|False)\b")
_SIZE = re.compile(r"\.size\(\)")
_FOR = re.compile(r"\bfor \(")
_INDEX = re.compile(r"(?<=[\w\])])\[")
_NAME = re.compile(r"[\w.]*\w(?:\[[^\[\]]*\])*$")
_CPP_CALL = re.compile(
    r"(?:(?<=[;{}])|(?<=\))|(?<=\belse))\s*(?=((?:\*|&)?[A-Za-z_][\w:.]*(?:->[\w:.]+|<[\w:, ]*>|\[\w+\])*)\()"
)
_CPP_CHECK = re.compile(r"\bif (\()")
_CYTHON_CALL = re.compile(r"^[ \t]*(?=[A-Za-z_][\w.]*\()", re.MULTILINE)
_CYTHON_CHECK = re.compile(r"^[ \t]*if (.*):\n?[ \t]*raise\b", re.MULTILINE)
_NO_CALL = {
    "if",
    "for",
    "while",
    "switch",
    "return",
    "sizeof",
    "decltype",
    "alignas",
    "catch",
    "template",
    "operator",
    "print",
}


def cpp_places(text: str) -> list[Place]:
    """Every place in a C++ source, in the order of the text."""
    masked = masked_cpp(text)
    found = [*_of_both(text, masked), *_cpp_loops(text, masked), *_cpp_calls(text, masked), *_cpp_checks(text, masked)]
    found += [Place("off by one", match.end(), "", " - 1") for match in _SIZE.finditer(masked)]
    found += _indices(text, masked, _is_cpp_declaration)
    return sorted(set(found), key=lambda place: (place.start, place.operator, place.after))


def cython_places(text: str) -> list[Place]:
    """Every place in a Cython source, in the order of the text."""
    masked = masked_cython(text)
    found = [*_of_both(text, masked), *_cython_loops(text, masked), *_cython_calls(text, masked)]
    for match in _CYTHON_CHECK.finditer(masked):
        found.append(Place("dropped check", match.start(1), text[match.start(1) : match.end(1)], "False"))
    found += _indices(text, masked, _is_cython_declaration)
    return sorted(set(found), key=lambda place: (place.start, place.operator, place.after))


def _of_both(text: str, masked: str) -> Iterator[Place]:
    for match in _COMPARISON.finditer(masked):
        yield Place("comparison", match.start(), match[0], COMPARISONS[match[0]])
    for match in _SIGN.finditer(masked):
        yield Place("swapped sign", match.start(), match[0], SIGNS[match[0]])
    for match in _MINUS.finditer(masked):
        yield Place("swapped sign", match.start(), "-", "+")
    for match in _ONE.finditer(masked):
        yield Place("off by one", match.start(), match[0], "")
    for match in _NUMBER.finditer(masked):
        after = _other_number(match[1], match[2])
        if after is not None:
            yield Place("wrong constant", match.start(), match[0], after)
    for match in _TRUTH.finditer(masked):
        after = {"true": "false", "false": "true", "True": "False", "False": "True"}[match[0]]
        yield Place("wrong constant", match.start(), match[0], after)


def _other_number(digits: str, suffix: str) -> str | None:
    """One more for an integer, twice as much for a float (1 for 0)."""
    plain = digits.replace("'", "")
    if plain[:2].lower() == "0x":
        mantissa, power, exponent = plain.partition("p")
        if power:
            return f"{mantissa}p{int(exponent) + 1}{suffix}"
        if suffix[:1] in {"f", "F"}:  # the f is a digit
            plain, suffix = plain + suffix, ""
        return f"{int(plain, 16) + 1:#x}{suffix}"
    if any(mark in plain for mark in ".e"):
        return f"{float(plain) * 2 or 1.0!r}{suffix}"
    return f"{int(plain) + 1}{suffix}" if plain.isdecimal() else None


def _indices(text: str, masked: str, is_declaration) -> Iterator[Place]:  # type: ignore[no-untyped-def]
    for match in _INDEX.finditer(masked):
        start, end = match.end(), closing(masked, match.start())
        inside = masked[start:end]
        if not inside.strip() or re.search(r"[:,\n&=]", inside) or is_declaration(masked, match.start()):
            continue
        if re.search(r"\bdelete$", masked[: match.start()]):
            continue
        yield Place("neighbouring index", start, text[start:end], f"{text[start:end]} + 1")


def _is_cpp_declaration(masked: str, bracket: int) -> bool:
    """Whether a bracket belongs to `type name[...]`: a type, or a sign such as `&`, comes before the name."""
    name = _NAME.search(masked, 0, bracket)
    if name is None:
        return re.search(r"\([&*]\s*\w+\)(\[[^\]]*\])*$", masked[:bracket]) is not None
    before = masked[max(0, name.start() - 80) : name.start()]
    if re.search(r"\w[&*]+ $|\w>[&*]* $", before):
        return True
    word = re.search(r"(\w+)\s+$", before)
    return word is not None and word[1] not in {"return", "else", "case", "throw", "in"}


def _is_cython_declaration(masked: str, bracket: int) -> bool:
    line = masked[masked.rfind("\n", 0, bracket) + 1 : bracket]
    return line.lstrip().startswith(("cdef", "cpdef", "ctypedef")) and "=" not in line


def _cpp_loops(text: str, masked: str) -> Iterator[Place]:
    for match in _FOR.finditer(masked):
        opening = match.end() - 1
        head = parts(masked, opening + 1, closing(masked, opening), ";")
        if len(head) != 3:
            continue
        start, end = trimmed(masked, *head[0])
        if masked[start:end].endswith("= 0"):
            yield Place("off by one", end - 1, "0", "1")
        start, end = trimmed(masked, *head[1])
        bound = re.fullmatch(r"[^&|]*? (?:<=|<|>=|>|!=) ([^&|]+)", masked[start:end])
        if bound:
            before = text[start + bound.start(1) : end]
            yield Place("off by one", start + bound.start(1), before, f"{before} - 1")


def _cython_loops(text: str, masked: str) -> Iterator[Place]:
    for match in re.finditer(r"\brange\(", masked):
        stretches = parts(masked, match.end(), closing(masked, match.end() - 1), ",")
        start, end = trimmed(masked, *stretches[min(1, len(stretches) - 1)])
        yield Place("off by one", start, text[start:end], f"{text[start:end]} - 1")


def _cpp_calls(text: str, masked: str) -> Iterator[Place]:
    for match in _CPP_CALL.finditer(masked):
        if re.split(r"\W", match[1].lstrip("*&"))[0] in _NO_CALL:
            continue
        start, end = match.end(), match.end()
        while True:  # a chain of calls, a.b(c).d(e), is one statement
            opening = masked.find("(", end)
            end = closing(masked, opening) + 1
            chain = re.match(r"(?:\.|->)\w+(?=\()", masked[end:])
            if chain is None:
                break
            end += chain.end()
        if masked[end : end + 1] == ";":
            yield Place("dropped call", start, text[start:end], "")


def _cython_calls(text: str, masked: str) -> Iterator[Place]:
    for match in _CYTHON_CALL.finditer(masked):
        end = closing(masked, masked.find("(", match.end())) + 1
        word = re.match(r"\w+", masked[match.end() :])
        if re.match(r"[ \t]*(\n|$)", masked[end:]) and word is not None and word[0] not in _NO_CALL:
            yield Place("dropped call", match.end(), text[match.end() : end], "pass")


def _cpp_checks(text: str, masked: str) -> Iterator[Place]:
    for match in _CPP_CHECK.finditer(masked):
        opening = match.start(1)
        end = closing(masked, opening)
        if re.match(r"\s*\{?\s*throw\b", masked[end + 1 :]):
            yield Place("dropped check", opening + 1, text[opening + 1 : end], "false")
