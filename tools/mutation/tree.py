"""A private copy of the project for one fault at a time: its sources, its compiled modules, its Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from mutation.places import Fault
from mutation.sources import ROOT, git, is_native


class CompileError(Exception):
    """The patched tree cannot be built."""


class Tree:
    """The copy in `folder`: the files of a commit, with the tests of another commit or of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.sources = self.folder / "tree"
        self.python = self.folder / "venv" / "bin" / "python"
        self._build = self.folder / "build"
        self._times = time.time()

    def prepare(self, commit: str, tests: str | None = None, *flags: str) -> None:
        """Make the copy, or update it to the commit, and build it with `flags` for CMake."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.sources.exists():
            git("clone", "--quiet", "--shared", "--no-checkout", str(ROOT), str(self.sources))
            self._make_python()
        git("fetch", "--quiet", "origin", "+HEAD:refs/mutation/head", folder=self.sources)
        git("checkout", "--quiet", "--force", "--detach", commit, folder=self.sources)
        git("clean", "--quiet", "-fd", folder=self.sources)
        if tests is not None:
            self._lay_tests(tests)
        self._configure(flags)
        self.build()

    def _make_python(self) -> None:
        """Make a virtual environment with this one's packages, and the copy before them."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(self.folder / "venv")], check=True)
        packages = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
        # Python does not read .pth files in such a folder, so an editable install of the project is left out.
        into = next((self.folder / "venv").glob("lib/python*/site-packages"))
        (into / "packages.pth").write_text("\n".join([str(self.sources), *packages]) + "\n")

    def _lay_tests(self, tests: str) -> None:
        """Replace the commit's own tests by those of another commit or of a working tree."""
        shutil.rmtree(self.sources / "tests")
        if Path(tests).is_dir():
            shutil.copytree(Path(tests) / "tests", self.sources / "tests")
        else:
            git("checkout", "--quiet", tests, "--", "tests", folder=self.sources)

    def _configure(self, flags: tuple[str, ...]) -> None:
        pybind11 = self._run(str(self.python), "-m", "pybind11", "--cmakedir").stdout.strip()
        definitions = ["-DQWEN3CPU_INPLACE=ON", f"-DPython_EXECUTABLE={self.python}", f"-Dpybind11_DIR={pybind11}"]
        command = ["cmake", "-G", "Ninja", "-S", str(self.sources), "-B", str(self._build), *definitions, *flags]
        done = self._run(*command)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

    def build(self) -> None:
        """Compile changed files. Raises CompileError with the compiler's output."""
        done = self._run("cmake", "--build", str(self._build))
        if done.returncode:
            raise CompileError(done.stdout + done.stderr)

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PATH": f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"}
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    def read(self, file: str) -> str:
        return (self.sources / file).read_text(encoding="utf-8")

    def put(self, fault: Fault) -> str:
        """Put a fault in and build it. Returns the file's original text. Raises CompileError; ValueError: no place."""
        before = self.read(fault.file)
        after = fault.patched(before)
        if not is_native(fault.file):
            try:
                compile(after, fault.file, "exec")
            except SyntaxError as error:
                raise CompileError(str(error)) from error
        self.write(fault.file, after)
        if is_native(fault.file):
            try:
                self.build()
            except CompileError:
                self.write(fault.file, before)
                raise
        return before

    def write(self, file: str, text: str) -> None:
        """Write a source file so that Python and Ninja notice the change."""
        path = self.sources / file
        if path.read_text(encoding="utf-8") == text:
            return
        path.write_text(text, encoding="utf-8")
        self._times = max(self._times + 2, time.time())  # Python compares whole seconds and the size
        os.utime(path, (self._times, self._times))
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()
