"""The pictures in docs/ match the project and its results."""

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


sys.path.append(str(ROOT / "tools"))  # both programs draw with tools/vector_pictures.py


@pytest.fixture(scope="module")
def drawing():
    return script_module("tools/draw_house.py")


@pytest.mark.parametrize("program", ["tools/draw_house.py", "tools/draw_charts.py"])
def test_the_pictures_are_drawn_from_the_project_and_its_results(program):
    module = script_module(program)
    for name, picture in module.pictures().items():
        committed = (module.PICTURES / name).read_text(encoding="utf-8")
        assert committed == picture, f"docs/pictures/{name}: run `python {program}`"


def test_the_results_of_the_chart_of_speed_are_those_of_the_benchmarks_page():
    """Medians and ratios, case by case."""
    page = (ROOT / "docs" / "benchmarks.md").read_text("utf-8").split("### Results")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (q4|q8|bf16)(.*?) \| ([\d.]+).*? \| ([\d.]+).*? \| \**([\d.]+)", page, re.M)
    shown = {quant + rest: tuple(map(float, figures)) for quant, rest, *figures in rows}
    results = script_module("tools/draw_charts.py").measured("compare.json")["cases"]
    assert shown == {each["case"]: (each["qwen3cpu"], each["llama.cpp"], each["ratio"]) for each in results}


def test_the_results_of_the_chart_of_memory_are_what_is_planned():
    from qwen3cpu.checkpoint.known_models import find_known
    from qwen3cpu.loading.memory_plan import needs
    from qwen3cpu.packed.matrix import plan_matrices

    plans = script_module("tools/draw_charts.py").measured("memory.json")["plans"]
    assert len(plans) >= 14
    for each in plans:
        config = find_known(each["model"]).model.config()
        found = needs(config, plan_matrices(config, "q4"), "f16", each["context"], 2)
        assert (found.weight_bytes, found.total_bytes) == (each["weight_bytes"], each["total_bytes"])


def test_each_stop_of_a_tokens_way_imports_the_next_one(drawing):
    """The stops lead down from the user to the compiled modules, without a detour."""
    stops = [place for place, *_ in drawing.TOKEN_WAY if place.endswith(".py")]
    assert len(stops) >= 4
    for upper, lower in itertools.pairwise(stops):
        name = "qwen3cpu." + lower.removesuffix(".py").replace("/", ".")
        tree = ast.parse((ROOT / "qwen3cpu" / upper).read_text(encoding="utf-8"))
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert name in imported, f"{upper} does not import {lower}"


def test_pictures_are_named_in_the_docs_and_made_by_tests_or_tools():
    there = {path.name for path in (ROOT / "docs" / "pictures").iterdir()}
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
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
