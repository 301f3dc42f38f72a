"""The pictures in docs/ show the house as it is."""

import ast
import itertools
import re
import sys
from pathlib import Path

import pytest
from support.scripts import script_module

ROOT = Path(__file__).parents[2]
if sys.version_info < (3, 11):
    pytest.skip("drawing reads pyproject.toml with tomllib of Python 3.11", allow_module_level=True)
if not (ROOT / "qwen3cpu").is_dir():
    pytest.skip("the source of the package is not beside the tests", allow_module_level=True)


@pytest.fixture(scope="module")
def drawing():
    return script_module("tools/draw_house.py")


def test_the_pictures_are_drawn_from_the_project_as_it_is(drawing):
    for name, picture in drawing.pictures().items():
        committed = (drawing.PICTURES / name).read_text(encoding="utf-8")
        assert committed == picture, f"docs/pictures/{name}: run `python tools/draw_house.py`"


def test_each_stop_of_a_tokens_way_imports_the_next_one(drawing):
    """Down from the user to the compiled modules, without a detour."""
    stops = [place for place, *_ in drawing.TOKEN_WAY if place.endswith(".py")]
    assert len(stops) >= 4
    for upper, lower in itertools.pairwise(stops):
        name = "qwen3cpu." + lower.removesuffix(".py").replace("/", ".")
        tree = ast.parse((ROOT / "qwen3cpu" / upper).read_text(encoding="utf-8"))
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert name in imported, f"{upper} does not import {lower}"


def test_pictures_are_named_in_the_docs_and_made_by_tests_or_tools():
    there = {path.name for path in (ROOT / "docs" / "pictures").iterdir()}
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named = {
        name for page in pages for name in re.findall(r"\]\((?:docs/)?pictures/([^)]+)\)", page.read_text("utf-8"))
    }
    assert named == there
    makers = [
        *(ROOT / "tests").rglob("test_*picture*.py"),
        *(ROOT / "tools").rglob("*.py"),
        *(ROOT / "bench").glob("*.py"),
    ]
    sources = "\n".join(path.read_text("utf-8") for path in makers if path != Path(__file__))
    assert {name for name in there if name not in sources} == set()
