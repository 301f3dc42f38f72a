"""The table of released models in docs/models.md is the one in the package."""

from pathlib import Path

import pytest
from support.scripts import script_module

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
if not PAGE.is_file():
    pytest.skip("needs docs/ beside the tests", allow_module_level=True)


def test_the_table_is_that_of_the_package() -> None:
    text = PAGE.read_text("utf-8")
    assert script_module("tools/models_page.py").page(text) == text, "run `python tools/models_page.py`"
