"""The floors of csrc/: a folder includes only files of lower floors, and there are no circular includes."""

import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"

FLOORS = (
    {"system"},
    {"layout"},
    {"kernels", "packing", "tokenizer"},
    {"rounding", "engine"},
    {"bindings"},
)
"""The floors, the lowest first. Folders of one floor do not include each other."""

LESSER = {
    "scalar": None,
    "avx2": "scalar",
    "avxvnni": "avx2",
    "avx512vnni": "avx2",
    "amx": "avx512vnni",
    "neon": "scalar",
    "dotprod": "neon",
    "i8mm": "dotprod",
}
"""Instruction set -> the next lower one, whose kernels it uses where it has none of its own."""

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def sources() -> list[str]:
    """Return every file of csrc/, relative to it."""
    return sorted(str(path.relative_to(CSRC)) for path in CSRC.rglob("*") if path.is_file())


def includes(name: str) -> list[str]:
    return INCLUDE.findall((CSRC / name).read_text())


def floor(name: str) -> int:
    (found,) = [number for number, folders in enumerate(FLOORS) if name.split("/")[0] in folders]
    return found


def lesser_than(isa: str) -> set[str]:
    found = LESSER[isa]
    return set() if found is None else {found, *lesser_than(found)}


def test_every_folder_has_a_floor() -> None:
    assert {name.split("/")[0] for name in sources()} == set().union(*FLOORS)


def test_a_file_includes_what_stands_below() -> None:
    pairs = [(name, included) for name in sources() for included in includes(name)]
    assert len(pairs) > 100, "the search sees the includes"
    missing = [f"{name}: {included}" for name, included in pairs if not (CSRC / included).is_file()]
    assert missing == [], "an include is relative to csrc/"
    wrong = [
        f"{name} includes {included}"
        for name, included in pairs
        if name.split("/")[0] != included.split("/")[0] and floor(included) >= floor(name)
    ]
    assert wrong == []


def test_no_circle_of_includes() -> None:
    graph = {name: includes(name) for name in sources()}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_an_instruction_set_includes_lesser_ones_only() -> None:
    folders = {path.name for path in (CSRC / "kernels").iterdir() if path.is_dir()}
    assert folders == set(LESSER)
    wrong = []
    for name in sources():
        isa = name.split("/")[1]
        if name.startswith("kernels/") and isa in folders:
            others = {included.split("/")[1] for included in includes(name)} & folders - {isa}
            wrong += [f"{name} includes kernels of {other}" for other in others - lesser_than(isa)]
    assert wrong == []


def test_what_is_not_of_one_instruction_set_includes_no_kernels_of_one() -> None:
    shared = [name for name in sources() if name.count("/") == 1]
    found = [f"{name} includes {each}" for name in shared for each in includes(name) if each.count("/") > 1]
    assert found == []
