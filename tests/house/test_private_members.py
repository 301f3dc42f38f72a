"""Code outside a class or module does not use its members with an underscore."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import qwen3cpu

PACKAGE = Path(qwen3cpu.__file__).parent
MODULES = {"_native", "_sampling", "_version"}
"""Modules of the package whose names begin with an underscore."""
NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}
"""Public members of named tuples."""


def is_private(name: str) -> bool:
    """Whether a name begins with an underscore and is not one of the exceptions."""
    return name.startswith("_") and not name.endswith("__") and name not in MODULES | NAMED_TUPLES


def reach_ins(source: str) -> list[str]:
    """Return the places of a module's source that use private members of others, as "line: member"."""
    return [f"{line}: {what}" for line, what in sorted(set(_found(ast.parse(source), frozenset())))]


def _found(node: ast.AST, own: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Yield the uses of foreign private members below a node. own: private members of the surrounding classes."""
    if isinstance(node, ast.ImportFrom):
        for name in node.names:
            if is_private(name.name):
                yield node.lineno, f"from {node.module} import {name.name}"
    elif isinstance(node, ast.Import):
        for name in node.names:
            if any(is_private(part) for part in name.name.split(".")):
                yield node.lineno, f"import {name.name}"
    elif isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
        # This includes self, because a subclass must not use the private members of its base.
        yield node.lineno, f"{ast.unparse(node.value)}.{node.attr}"
    if isinstance(node, ast.ClassDef):
        own |= _members(node)
    for child in ast.iter_child_nodes(node):
        yield from _found(child, own)


def _members(body: ast.ClassDef) -> frozenset[str]:
    """Return the members that a class defines: methods, annotated fields, and attributes that methods set on self."""
    found = {each.name for each in body.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))}
    for each in ast.walk(body):
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            found.add(each.target.id)
        if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store) and ast.unparse(each.value) == "self":
            found.add(each.attr)
    return frozenset(found)


def test_private_members_stay_private():
    paths = sorted(PACKAGE.rglob("*.py"))
    assert len(paths) > 100, "the search finds the package"
    sources = {path.relative_to(PACKAGE): path.read_text(encoding="utf-8") for path in paths}
    assert [f"{path}:{place}" for path, source in sources.items() for place in reach_ins(source)] == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("model._answering", ["1: model._answering"]),
        ("self.model._answering.stream()", ["1: self.model._answering"]),
        ("x = f()._held[0]", ["1: f()._held"]),
        ("other._ids = []", ["1: other._ids"]),
        ("from qwen3cpu.model import _find, load", ["1: from qwen3cpu.model import _find"]),
        ("import qwen3cpu._private", ["1: import qwen3cpu._private"]),
        ("def f():\n    from os import _exit", ["2: from os import _exit"]),
        ("class A:\n    def f(self, b):\n        return b._mine", ["3: b._mine"]),
        ("class A:\n    pass\nclass B(A):\n    def f(self, a: A):\n        return a._x", ["5: a._x"]),
        ("from qwen3cpu import _native\n_native.FORMATS", []),
        ("kind: argparse._SubParsersAction", ["1: argparse._SubParsersAction"]),
        ("class A(B):\n    def f(self):\n        return self._x", ["3: self._x"]),
        ("class A:\n    def f(self):\n        self._x = 1\n        return self._x, self.__class__", []),
        ("class A:\n    _x: int\n    def f(self):\n        return self._x, self._replace()", []),
        ("class A:\n    def _g(self): ...\n    def f(self, b):\n        return b._g()", []),
        ("class A:\n    def f(self, b):\n        self._x, b._x = b._x, self._x", []),
        ("class A:\n    @classmethod\n    def f(cls):\n        cls()._check()\n    def _check(self): ...", []),
    ],
)
def test_reach_ins_are_found(source, expected):
    assert reach_ins(source) == expected
