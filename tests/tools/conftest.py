"""Makes tools/ importable in these tests, and skips the tests if that folder does not exist."""

import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if collection_path.name.startswith("test_") and not TOOLS.is_dir() else None


sys.path.append(str(TOOLS))


@pytest.fixture
def edited():
    """For every place that a function finds in a text, in order: (operator, the text with the fault in it)."""

    def all_of(places, text):
        edits = []
        for place in places(text):
            assert text[place.start :].startswith(place.before)
            after = text[: place.start] + place.after + text[place.start + len(place.before) :]
            edits.append((place.operator, after))
        return edits

    return all_of
