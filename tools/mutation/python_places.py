"""Places for faults in Python, found in the syntax tree. They edit the text, so the rest of it does not change."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from mutation.places import Place

COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
SIGNS: dict[type[ast.operator], tuple[str, str]] = {ast.Add: ("+", "-"), ast.Sub: ("-", "+")}
NOT_RUN_HERE = re.compile(r"TYPE_CHECKING|sys\.platform == .(darwin|win32).|__name__ == .__main__.")


class _Text:
    """The source with the positions of the syntax tree: lines, and bytes of UTF-8."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._lines = text.split("\n")
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)

    def _index(self, line: int, column: int) -> int:
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())

    def start(self, node: ast.expr | ast.stmt) -> int:
        return self._index(node.lineno, node.col_offset)

    def end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._index(node.end_lineno, node.end_col_offset)

    def of(self, node: ast.expr | ast.stmt) -> str:
        return self.text[self.start(node) : self.end(node)]

    def between(self, left: ast.expr, right: ast.expr, operator: str) -> int | None:
        """The place of the operator between two operands; None if a comment hides it."""
        start, end = self.end(left), self.start(right)
        gap = self.text[start:end]
        found = gap.find(operator)
        return None if "#" in gap or found < 0 else start + found


def python_places(text: str) -> list[Place]:
    """Every place in a Python source, in the order of the text."""
    source = _Text(text)
    found: list[Place] = []
    for node, integers in _walk(ast.parse(text), frozenset()):
        found += _of_node(node, integers, source)
    return sorted(set(found), key=lambda place: (place.start, place.operator, place.after))


def _walk(node: ast.AST, integers: frozenset[str]) -> Iterator[tuple[ast.AST, frozenset[str]]]:
    """The nodes that run on this machine, each with the names that are integers in its function."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        integers = _integers(node)
    yield node, integers
    for field, value in ast.iter_fields(node):
        if field in {"annotation", "returns"} or isinstance(value, ast.JoinedStr):
            continue  # nodes inside an f-string have no positions of their own
        if field == "body" and isinstance(node, ast.If) and NOT_RUN_HERE.search(ast.unparse(node.test)):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                yield from _walk(child, integers)


def _integers(function: ast.FunctionDef | ast.AsyncFunctionDef) -> frozenset[str]:
    """Names that seem to be integers: annotated as int, counted by a loop, or a length."""
    names = {arg.arg for arg in ast.walk(function) if isinstance(arg, ast.arg) and _is_int_annotation(arg.annotation)}
    for node in ast.walk(function):
        if isinstance(node, (ast.For, ast.comprehension)):
            call = ast.unparse(node.iter)
            target = node.target.elts[0] if isinstance(node.target, ast.Tuple) else node.target
            if call.startswith(("range(", "enumerate(")) and isinstance(target, ast.Name):
                names.add(target.id)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = ast.unparse(node.value)
            if re.match(r"(len|int)\(|\d+$|.*\.(find|index|bisect\w*)\(", value):
                names.add(node.targets[0].id)
    return frozenset(names)


def _is_int_annotation(annotation: ast.expr | None) -> bool:
    return isinstance(annotation, ast.Name) and annotation.id == "int"


def _of_node(node: ast.AST, integers: frozenset[str], source: _Text) -> Iterator[Place]:
    if isinstance(node, ast.Compare):
        operands = [node.left, *node.comparators]
        for left, operator, right in zip(operands, node.ops, operands[1:], strict=False):
            before, after = COMPARISONS[type(operator)]
            at = source.between(left, right, before)
            if at is not None:
                yield Place("comparison", at, before, after)
    if isinstance(node, ast.BinOp) and type(node.op) in SIGNS and not _is_text(node):
        yield from _of_sum(node, source)
    if isinstance(node, ast.AugAssign) and type(node.op) in SIGNS and not _is_text(node.value):
        before, after = (sign + "=" for sign in SIGNS[type(node.op)])
        at = source.between(node.target, node.value, before)
        if at is not None:
            yield Place("swapped sign", at, before, after)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield Place("swapped sign", source.start(node), "-", "+")
    if isinstance(node, ast.Expr):
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(call, ast.Call):
            yield Place("dropped call", source.start(node), source.of(node), "pass")
    if isinstance(node, ast.If) and len(node.body) == 1 and isinstance(node.body[0], ast.Raise):
        yield Place("dropped check", source.start(node.test), source.of(node.test), "False")
    if isinstance(node, ast.Constant):
        yield from _of_constant(node, source)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        yield from _of_call(node, source)
    if isinstance(node, ast.Subscript):
        yield from _of_subscript(node, integers, source)


def _is_text(node: ast.expr) -> bool:
    """Whether an operand looks like a text or a list, where a minus would be a type error instead of a fault."""
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (str, bytes))
    return isinstance(node, (ast.JoinedStr, ast.List, ast.ListComp, ast.Tuple))


def _is_one(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value == 1


def _of_sum(node: ast.BinOp, source: _Text) -> Iterator[Place]:
    before, after = SIGNS[type(node.op)]
    at = source.between(node.left, node.right, before)
    if at is not None:
        yield Place("swapped sign", at, before, after)
    if _is_one(node.right):
        rest = source.text[source.end(node.left) : source.end(node)]
        if ")" not in rest and "#" not in rest:
            yield Place("off by one", source.end(node.left), rest, "")


def _of_constant(node: ast.Constant, source: _Text) -> Iterator[Place]:
    value = node.value
    if isinstance(value, bool):
        after = str(not value)
    elif isinstance(value, int):
        after = str(value + 1)
    elif isinstance(value, float):
        after = repr(value * 2 or 1.0)
    else:
        return
    yield Place("wrong constant", source.start(node), source.of(node), after)


def _one_less(node: ast.expr, source: _Text) -> Place:
    before = source.of(node)
    return Place("off by one", source.start(node), before, f"({before} - 1)" if _is_call(node) else f"{before} - 1")


def _is_call(node: ast.expr) -> bool:
    return isinstance(node, ast.Call)


def _of_call(node: ast.Call, source: _Text) -> Iterator[Place]:
    assert isinstance(node.func, ast.Name)
    if node.keywords or any(isinstance(arg, ast.Starred) for arg in node.args):
        return
    if node.func.id == "len" and len(node.args) == 1:
        yield _one_less(node, source)
    if node.func.id == "range" and node.args:
        stop = node.args[0] if len(node.args) == 1 else node.args[1]
        yield _one_less(stop, source)


def _of_subscript(node: ast.Subscript, integers: frozenset[str], source: _Text) -> Iterator[Place]:
    indices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    for index in indices:
        if isinstance(index, ast.Slice):
            for bound in (index.lower, index.upper):
                if bound is not None and source.of(bound).count("\n") == 0:
                    before = source.of(bound)
                    yield Place("off by one", source.start(bound), before, f"{before} + 1")
        elif _is_integer(index, integers):
            before = source.of(index)
            after = f"{before} - 1" if before.startswith("-") else f"{before} + 1"
            yield Place("neighbouring index", source.start(index), before, after)


def _is_integer(node: ast.expr, integers: frozenset[str]) -> bool:
    if isinstance(node, ast.UnaryOp):
        return _is_integer(node.operand, integers)
    if isinstance(node, ast.BinOp):
        return type(node.op) in SIGNS and not _is_text(node)
    if isinstance(node, ast.Constant):
        return type(node.value) is int
    return isinstance(node, ast.Name) and node.id in integers
