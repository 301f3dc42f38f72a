"""Test files have unique names, because pytest imports each by its name alone, and equal names are an error."""

from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_no_two_test_files_have_one_name() -> None:
    names = Counter(path.name for path in TESTS.rglob("test_*.py"))
    assert names["test_test_names.py"] == 1, "the search sees the tests"
    assert [name for name, count in names.items() if count > 1] == []
