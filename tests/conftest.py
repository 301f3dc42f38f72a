"""What all tests share. It also makes pytest put this folder on sys.path, for `import checkpoints` and the like."""

import os
from pathlib import Path

import pytest


def _folder(variable: str) -> Path:
    """The checkpoint folder that an environment variable names; skips the test without it."""
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} does not name a checkpoint folder")
    folder = Path(value)
    assert (folder / "config.json").is_file(), f"{variable}={value}: no config.json there"
    return folder


@pytest.fixture(scope="session")
def smolqwen3() -> Path:
    """Folder of the 135M-parameter checkpoint; mark the test `smol`."""
    return _folder("QWEN3CPU_SMOLQWEN3")


@pytest.fixture(scope="session")
def synthetic() -> Path:
    """Folder of the 1.7B-shaped checkpoint with random weights; mark the test `synthetic`."""
    return _folder("QWEN3CPU_SYNTHETIC")
