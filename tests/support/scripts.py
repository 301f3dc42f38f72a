"""Loads programs of the source tree outside of the package as modules: bench/, tools/."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def script_module(path: str) -> ModuleType:
    """Load a file such as "bench/compare.py" as a new module. The test is skipped if the file does not exist."""
    file = ROOT / path
    if not file.is_file():
        pytest.skip(f"needs {path} beside the tests")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # dataclasses and pydantic look up names there
    spec.loader.exec_module(module)
    return module
