"""Files that the documentation and docstrings name exist, because a missing file would confuse a reader."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if not (ROOT / "qwen3cpu").is_dir():
    pytest.skip("the source of the package is not beside the tests", allow_module_level=True)

NAMED = re.compile(r"(?<![\w./*<{-])((?:[\w-]+/)*[\w-]+\.(?:py|pyx|pxi|cc|inc|cmake))\b")
NOT_OURS = {
    *("setup.py", "config.py", "test_file.py", "NAME.cc", "pack_NAME.cc", "_commit.py", "wheel_smoke.py"),
    *("modeling_qwen3.py", "llama.cpp"),
}
FOLDERS = ("qwen3cpu", "csrc", "docs", "tests", "bench", "tools", "cmake")
HISTORY = {"CHANGELOG.md", "notebook"}


def texts() -> list[Path]:
    """Return every file with prose: sources, tests and pages."""
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    suffixes = {".py", ".pyi", ".pyx", ".pxi", ".cc", ".h", ".inc", ".md"}
    return [
        path
        for path in [ROOT / "README.md", *files]
        if path.suffix in suffixes and not HISTORY & set(path.parts) and path != Path(__file__)
    ]


def test_every_file_that_is_named_exists():
    paths = {str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).rglob("*")}
    tails = {path[start:] for path in paths for start in [0, *(i + 1 for i, c in enumerate(path) if c == "/")]}
    wrong = []
    for path in texts():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if path.suffix != ".md" and '"' in line and '"""' not in line and "#" not in line:
                continue  # names in code are checked by the code that uses them
            for name in NAMED.findall(line):
                if name not in tails and name.rpartition("/")[2] not in NOT_OURS:
                    wrong.append(f"{path.relative_to(ROOT)}:{number}: {name}")
    assert wrong == []
