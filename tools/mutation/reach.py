"""Measures the code that each test file reaches, and its time, with coverage, a test file at a time.

Python is measured line by line. For compiled code nothing is measured. All test files count for it, except those that
are only about documents or Python (`NEVER_NATIVE`). Test files that mirror the source come first.
"""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

from mutation.places import Fault
from mutation.sources import is_native
from mutation.testing import Runner, note
from mutation.tree import Tree

# These check documents, sources and benchmarks, and could find a fault only by its text.
NOT_ASKED = ("tests/house/", "tests/bench/", "tests/tools/", "tests/fuzz/")
MIRRORS = {
    "csrc/kernels/": ("tests/csrc/kernels/", "tests/csrc/engine/", "tests/csrc/rounding/"),
    "csrc/layout/": ("tests/csrc/kernels/", "tests/csrc/engine/", "tests/csrc/rounding/"),
    "csrc/packing/": ("tests/csrc/kernels/", "tests/csrc/rounding/", "tests/packed/"),
    "csrc/rounding/": ("tests/csrc/rounding/", "tests/quantization/"),
    "csrc/tokenizer/": ("tests/text/test_bpe.py", "tests/text/"),
    "csrc/engine/": ("tests/csrc/engine/", "tests/engine/", "tests/model/"),
    "csrc/bindings/": ("tests/csrc/kernels/", "tests/csrc/engine/", "tests/csrc/rounding/"),
    "csrc/system/": ("tests/csrc/engine/", "tests/system/"),
    "qwen3cpu/_sampling": ("tests/engine/test_sampling",),
}

_STARTUP = "import os\nif os.environ.get('COVERAGE_PROCESS_START'): import coverage; coverage.process_startup()\n"


class Reach:
    """The map of a tree's tests, kept in the file `path`. A test file that has changed is measured again."""

    def __init__(self, tree: Tree, path: Path) -> None:
        self._tree = tree
        self._path = path
        self._map: dict[str, dict[str, Any]] = json.loads(self._path.read_text()) if self._path.exists() else {}

    def test_files(self) -> list[str]:
        found = sorted((self._tree.sources / "tests").rglob("test_*.py"))
        names = [path.relative_to(self._tree.sources).as_posix() for path in found]
        return [name for name in names if not name.startswith(NOT_ASKED)]

    def measure(self, runner: Runner) -> None:
        """Run every test file that is not in the map, without a fault in the tree."""
        for name in self.test_files():
            digest = self._digest(name)
            if digest in self._map:
                continue
            self._map[digest] = {"file": name, **self._measured(name, runner)}
            self._path.write_text(json.dumps(self._map))
            entry = self._map[digest]
            note(f"{name}: {entry['seconds']:.0f} s, {len(entry['broken'])} broken")

    def _digest(self, name: str) -> str:
        return hashlib.sha256(self._tree.read(name).encode() + name.encode()).hexdigest()

    def _measured(self, name: str, runner: Runner) -> dict[str, Any]:
        runner.clean()
        folder = self._tree.folder / "coverage"
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        settings = folder / "settings"
        source = self._tree.sources / "qwen3cpu"
        settings.write_text(f"[run]\nparallel = true\nsource = {source}\ndisable_warnings = no-data-collected\n")
        site = next((self._tree.folder / "venv").glob("lib/python*/site-packages"))
        (site / "coverage_start.pth").write_text(f"import sys; exec({_STARTUP!r})\n")
        environment = {"COVERAGE_FILE": str(folder / "data"), "COVERAGE_PROCESS_START": str(settings)}
        done = runner.run([name], env=environment)
        broken: list[str] = []
        if done.how != "passed":  # coverage itself may cause this
            while done.how != "passed" and len(broken) < 20:
                done = runner.run([name], "-x", *(f"--deselect={test}" for test in broken))
                broken += [done.test or name] if done.how != "passed" else []
        return {"seconds": done.seconds, "broken": broken, "lines": self._lines(folder)}

    def _lines(self, folder: Path) -> dict[str, list[int]]:
        from coverage import CoverageData

        found: dict[str, set[int]] = {}
        for path in folder.glob("data.*"):
            data = CoverageData(basename=str(path))
            data.read()
            for file in data.measured_files():
                name = Path(file).relative_to(self._tree.sources).as_posix()
                found.setdefault(name, set()).update(data.lines(file) or ())
        return {name: sorted(lines) for name, lines in found.items() if lines}

    def broken(self) -> list[str]:
        """Tests that fail without any fault."""
        return [test for name in self.test_files() for test in self._entry(name)["broken"]]

    def _entry(self, name: str) -> dict[str, Any]:
        return self._map.get(self._digest(name), {"seconds": 10.0, "broken": [], "lines": None})

    def seconds(self, name: str) -> float:
        """The seconds of a test file."""
        return float(self._entry(name)["seconds"])

    def tests_of(self, fault: Fault, *, near: bool = False) -> list[str]:
        """The test files that reach a fault. Those with its name or folder come first; near: return only these."""
        mirrors = _mirrors(fault.file)

        def key(name: str) -> tuple[int, int, float]:
            place = next((i for i, mirror in enumerate(mirrors) if name.startswith(mirror)), len(mirrors))
            return -shared_words(name, fault.file), place, self.seconds(name)

        asked = [name for name in self.test_files() if not near or key(name) < (0, len(mirrors))]
        return sorted((name for name in asked if self._reaches(name, fault, mirrors)), key=key)

    def _reaches(self, name: str, fault: Fault, mirrors: tuple[str, ...]) -> bool:
        lines = self._entry(name)["lines"]
        if is_native(fault.file) or lines is None or name.startswith(mirrors):
            return True
        first, last = body_around(self._tree.read(fault.file), fault.line)
        return any(first <= line <= last for line in lines.get(fault.file, ()))


def _mirrors(file: str) -> tuple[str, ...]:
    for start, folders in MIRRORS.items():
        if file.startswith(start):
            return folders
    room = file.split("/")[1]
    return (f"tests/{room}/",) if "/" in file.removeprefix("qwen3cpu/") else ("tests/model/",)


def shared_words(test: str, file: str) -> int:
    """The number of words that the names of a test file and of a source file, with its folders in a room, share."""
    own = _words(PurePosixPath(test).stem)
    return len(own & {word for part in PurePosixPath(file).with_suffix("").parts[2:] for word in _words(part)})


def _words(name: str) -> set[str]:
    return {word.rstrip("s") for word in name.split("_")}


def body_around(source: str, line: int) -> tuple[int, int]:
    """First and last line of the body of the innermost function around a line, or else of the file."""
    best = (1, source.count("\n") + 1)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first, last = node.body[0].lineno, node.end_lineno or node.lineno
            if first <= line <= last and last - first <= best[1] - best[0]:
                best = (first, last)
    return best
