"""tools/mutation: faults are where they were drawn, a draw is fair and repeatable, outcomes are read correctly."""

import random
from collections import Counter

import pytest
from mutation import drawing
from mutation.places import OPERATORS, Place, fault_at, read_faults, write_faults
from mutation.reach import body_around, shared_words
from mutation.sources import is_run
from mutation.table import table
from mutation.testing import outcome

TEXT = "é = 1\nif a < b:\n    é = a < b\n"


def drawn():
    place = Place("comparison", TEXT.rindex("<"), "<", "<=")
    return fault_at(place, TEXT, name="F01", file="a.py", commit="abc")


def test_a_fault_changes_its_place_and_nothing_else():
    fault = drawn()
    assert (fault.line, fault.column, fault.source) == (3, 10, "    é = a < b")
    assert fault.patched(TEXT) == "é = 1\nif a < b:\n    é = a <= b\n"


def test_a_fault_finds_its_line_when_lines_above_have_moved():
    assert drawn().patched("x = 2\n" + TEXT) == "x = 2\né = 1\nif a < b:\n    é = a <= b\n"


@pytest.mark.parametrize(("text", "found"), [("é = 1\n", 0), ("x\n" + 2 * TEXT, 2)])
def test_a_fault_is_refused_where_its_line_is_gone_or_stands_twice(text, found):
    with pytest.raises(ValueError, match=f"F01: expected the line .* in a.py, found {found}"):
        drawn().patched(text)


def test_faults_come_back_from_their_file(tmp_path):
    write_faults(tmp_path / "faults.json", [drawn(), drawn()], {"seed": 1})
    assert read_faults(tmp_path / "faults.json") == [drawn(), drawn()]


class _Tree:
    """Compiles all faults but those of one file, and notes its current texts."""

    def __init__(self, broken):
        self.broken = broken
        self.now = {}

    def put(self, fault):
        if fault.file == self.broken:
            raise drawing.CompileError("no")
        self.now[fault.file] = fault.patched(SOURCES[fault.file])
        return SOURCES[fault.file]

    def write(self, file, text):
        self.now[file] = text


SOURCES = {
    "qwen3cpu/a.py": "def f(i: int):\n    if i < 3:\n        raise E\n    g(x[i])\n    return i + 1\n",
    "csrc/a.cc": "for (int i = 0; i < n; ++i) {\n  if (a[i] < 1) throw E();\n  g(a[i] + 2);\n}\n",
    "csrc/b.cc": "for (int i = 0; i < n; ++i) {\n  if (a[i] < 1) throw E();\n  g(a[i] + 2);\n}\n",
}


@pytest.fixture
def sources(monkeypatch):
    monkeypatch.setattr(drawing, "files_of", lambda commit: list(SOURCES))
    monkeypatch.setattr(drawing, "git", lambda command, name: SOURCES[name.partition(":")[2]])


def test_a_draw_has_every_operator_in_both_languages_and_can_be_repeated(sources):
    tree = _Tree("csrc/b.cc")
    faults, broken = drawing.draw(7, 14, "abc", tree)
    assert Counter((fault.operator, fault.file) for fault in faults) == Counter(
        (operator, file) for operator in OPERATORS for file in ("qwen3cpu/a.py", "csrc/a.cc")
    )
    assert broken > 0
    assert tree.now == {file: SOURCES[file] for file in ("qwen3cpu/a.py", "csrc/a.cc")}, "every fault was taken out"
    assert drawing.draw(7, 14, "abc", _Tree("csrc/b.cc")) == (faults, broken)
    assert drawing.draw(8, 14, "abc", _Tree("csrc/b.cc")) != (faults, broken)


def test_rounds_have_every_cell_once():
    cells = list(range(5))
    turns = drawing.cells_in_turn(random.Random(1), cells)
    rounds = [[next(turns) for _ in cells] for _ in range(4)]
    assert [sorted(each) for each in rounds] == [cells] * 4
    assert len({tuple(each) for each in rounds}) > 1


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("csrc/kernels/avx2/q4.cc", True),
        ("csrc/kernels/neon/q4.cc", False),
        ("csrc/kernels/avx2/probes.cc", False),
        ("qwen3cpu/bench/cases.py", False),
    ],
)
def test_files_that_no_test_here_runs_are_left_out(file, expected):
    assert is_run(file) is expected


@pytest.mark.parametrize(
    ("code", "output", "how", "test"),
    [
        (0, "tests/a.py::b PASSED [100%]\n", "passed", None),
        (5, "", "passed", None),
        (1, "tests/a.py::b FAILED [1%]\nFAILED tests/a.py::b[x y] - assert 1 == 2\n", "failed", "tests/a.py::b[x y]"),
        (2, "ERROR tests/a.py - NameError\n", "failed", "tests/a.py"),
        (4, "ImportError while loading conftest\n", "failed", "tests/conftest.py"),
        (-11, "tests/a.py::b PASSED [1%]\ntests/a.py::c Fatal Python error\n", "crashed", "tests/a.py::c"),
        (None, "tests/a.py::b PASSED [1%]\ntests/a.py::c ", "hung", "tests/a.py::c"),
    ],
)
def test_outcomes_of_pytest(code, output, how, test):
    assert outcome(code, output, 1.0)[:2] == (how, test)


def test_the_body_around_a_line():
    source = "x = 1\ndef f():\n    def g():\n        return 1\n    return g\n"
    assert [body_around(source, line) for line in range(1, 6)] == [(1, 6), (1, 6), (3, 5), (4, 4), (3, 5)]


def test_the_table():
    rows = [{"fault": "F01", "verdict": "survived", "by": None, "how": None}]
    new = [{"fault": "F01", "verdict": "caught", "by": "tests/a/test_b.py::c[1]", "how": "failed"}]
    lines = table([drawn()], rows, new, {}).rstrip().splitlines()
    assert lines[2] == "| F01 | a.py:3 | comparison | `<` to `<=` | `a/test_b.py::c` (old suite: survived) |"
    assert lines[-1] == "old: 0 of 1 caught; new: 1 of 1 caught"
    lines = table([drawn()], rows, [], {"F01": "both are 0."}).splitlines()
    assert lines[2].endswith("`<=` | changes nothing |")
    assert lines[-1] == "* F01 changes nothing: both are 0."


@pytest.mark.parametrize(
    ("test", "file", "words"),
    [
        ("tests/text/test_tool_calls.py", "qwen3cpu/text/call_json.py", 1),
        ("tests/generation/test_schemas.py", "qwen3cpu/generation/schemas/pruning.py", 1),
        ("tests/text/test_tool_schemas.py", "qwen3cpu/text/tool_schemas.py", 2),
        ("tests/text/test_stops.py", "qwen3cpu/text/bpe.py", 0),
    ],
)
def test_words_that_a_test_and_a_source_share(test, file, words):
    assert shared_words(test, file) == words
