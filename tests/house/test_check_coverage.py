"""tools/check_coverage.py: shares are rounded down, and may fall by at most the tolerance."""

import json
from pathlib import Path

import pytest
from support.scripts import script_module

from qwen3cpu._native import chosen_isa

ROOT = Path(__file__).parents[2]
if not (ROOT / "tools" / "check_coverage.py").is_file() or not (ROOT / ".ci").is_dir():
    pytest.skip("needs tools/ and .ci/ beside the tests", allow_module_level=True)

PYTHON = {"totals": {"covered_lines": 9159, "num_statements": 10000, "covered_branches": 2, "num_branches": 3}}
CPP = {"line_covered": 1, "line_total": 2, "branch_covered": 999, "branch_total": 1000}


@pytest.fixture(scope="module")
def tool():
    return script_module("tools/check_coverage.py")


def test_shares_are_rounded_down_to_a_tenth(tool):
    assert tool.of_python(PYTHON) == {"Python lines": 91.5, "Python branches": 66.6}
    assert tool.of_cpp(CPP) == {"C++ lines": 50.0, "C++ branches": 99.9}


def test_a_share_may_vary_by_the_tolerance_and_not_be_missing(tool):
    lowest = round(90 - tool.TOLERANCE, 1)
    assert tool.fallen({"a": lowest}, {"a": 90.0}) == []
    assert tool.fallen({"a": round(lowest - 0.1, 1)}, {"a": 90.0}) == ["a"]
    assert tool.fallen({}, {"a": 90.0}) == ["a"]


def test_the_committed_shares_are_those_that_are_found(tool):
    for shares in tool.read(tool.COMMITTED).values():
        assert set(shares) == set(tool.of_python(PYTHON) | tool.of_cpp(CPP))


def test_an_instruction_set_without_committed_shares_passes(tool, tmp_path, monkeypatch, capsys):
    for name, content in (("committed", {}), ("python", PYTHON), ("cpp", CPP)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    monkeypatch.setattr(tool, "COMMITTED", tmp_path / "committed.json")
    monkeypatch.setattr("sys.argv", ["check_coverage", str(tmp_path / "python.json"), str(tmp_path / "cpp.json")])
    assert tool.main() == 0
    assert "expected nothing yet" in capsys.readouterr().out


@pytest.mark.parametrize(("committed", "code"), [(50.0, 0), (60.0, 1)])
def test_the_exit_code_says_whether_a_share_has_fallen(tool, tmp_path, monkeypatch, capsys, committed, code):
    shares = tool.of_python(PYTHON) | tool.of_cpp(CPP) | {"C++ lines": committed}
    for name, content in (("committed", {chosen_isa(): shares}), ("python", PYTHON), ("cpp", CPP)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    monkeypatch.setattr(tool, "COMMITTED", tmp_path / "committed.json")
    arguments = ["check_coverage", str(tmp_path / "python.json"), str(tmp_path / "cpp.json")]
    monkeypatch.setattr("sys.argv", arguments)
    assert tool.main() == code
    assert ("fallen: C++ lines" in capsys.readouterr().out) == bool(code)
    monkeypatch.setattr("sys.argv", [*arguments, "--raise"])
    assert tool.main() == 0
    assert tool.read(tmp_path / "committed.json")[chosen_isa()]["C++ lines"] == committed
