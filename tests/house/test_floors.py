"""Rules for imports. The floors themselves are contracts of import-linter in pyproject.toml (`lint-imports`)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import qwen3cpu

PACKAGE = Path(qwen3cpu.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
COMPILED = {"_native", "_sampling"}
USERS = ("batch", "bench", "cli", "evaluation", "integrations", "lm_eval.py", "search", "server", "__main__.py")
"""Rooms that use the public object and lower rooms, but not the compiled modules."""


def root_imports(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, name) for every import of a name from the package's root; "" for the root itself."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "qwen3cpu" and node.level == 0:
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("qwen3cpu._"):
            yield node.lineno, str(node.module).split(".")[1]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "qwen3cpu":
                    yield node.lineno, ""
                elif alias.name.startswith("qwen3cpu._"):
                    yield node.lineno, alias.name.split(".")[1]


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def found(wrong: Iterator[str]) -> str:
    return "\n".join(wrong)


def test_no_module_imports_the_root_which_imports_them_all():
    rooms = {path.stem for path in PACKAGE.iterdir()} - COMPILED
    wrong = (
        f"{path.relative_to(PACKAGE)}:{line}: expected an import from the module itself, found qwen3cpu.{name}"
        for path in FILES
        if path.name != "__init__.py" or path.parent != PACKAGE
        for line, name in root_imports(path.read_text(encoding="utf-8"))
        if name not in COMPILED | {"_version"} and name not in rooms
    )
    assert found(wrong) == ""


def test_users_of_the_model_never_import_the_compiled_modules():
    wrong = (
        f"{path.relative_to(PACKAGE)}:{line}: imports qwen3cpu.{name}"
        for path in FILES
        if room(path) in USERS
        for line, name in root_imports(path.read_text(encoding="utf-8"))
        if name in COMPILED
    )
    assert found(wrong) == ""


def test_the_package_has_few_modules_beside_its_rooms():
    loose = {path.stem for path in PACKAGE.glob("*.py")}
    assert loose - {"_commit"} == {"__init__", "__main__", "_version", "arguments", "errors", "lm_eval", "model"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from qwen3cpu import _native", [(1, "_native")]),
        ("def f():\n    import qwen3cpu", [(2, "")]),
        ("import qwen3cpu._native as n", [(1, "_native")]),
        ("from qwen3cpu._sampling import LogitsSampler", [(1, "_sampling")]),
        ("from qwen3cpu.engine import formats\nimport numpy", []),
    ],
)
def test_the_search_sees_what_it_looks_for(source, expected):
    assert list(root_imports(source)) == expected
