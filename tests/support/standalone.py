"""Builds and runs the programs of tests/csrc/standalone, for this machine and for others."""

import fcntl
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "tests/csrc/standalone"


class Machine(NamedTuple):
    """How to run programs: their folder, the suffix of their names, the command before them, and more environment."""

    programs: Path
    suffix: str = ""
    emulator: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}

    def run(self, program: str, *arguments: str | Path, isa: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program to its end. isa: the value of QWEN3CPU_ISA."""
        environment = {k: v for k, v in os.environ.items() if k != "QWEN3CPU_ISA"} | dict(self.environment)
        if isa is not None:
            environment["QWEN3CPU_ISA"] = isa
        command = [*self.emulator, str(self.programs / (program + self.suffix)), *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    def isas(self, isa: str | None = None, program: str = "kernel_check") -> dict[str, str]:
        """Compiled instruction set -> its state in the output of kernel_check."""
        result = self.run(program, "list", isa=isa)
        assert result.returncode == 0, result.stderr
        return dict(line.split(": ", 1) for line in result.stdout.splitlines())

    def runnable(self, program: str = "kernel_check") -> list[str]:
        """The instruction sets that the machine's CPU can run, best first."""
        return [name for name, state in self.isas(program=program).items() if state != "not on this CPU"]


def build(name: str, tmp_path_factory: pytest.TempPathFactory, *definitions: str, launcher: str = "ccache") -> Path:
    """The folder of the programs. The first process of a pytest run that needs them builds them once."""
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("cmake is not installed")
    base = tmp_path_factory.getbasetemp()
    into = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"standalone-{name}"
    into.mkdir(exist_ok=True)
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    flags = ["-DQWEN3CPU_WERROR=ON", *definitions]
    if shutil.which(launcher):
        flags.append(f"-DCMAKE_CXX_COMPILER_LAUNCHER={launcher}")
    with (into / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (
            [cmake, *generator, "-S", str(SOURCE), "-B", str(into), *flags],
            [cmake, "--build", str(into), "--parallel", "2"],
        ):
            result = subprocess.run(command, capture_output=True, text=True)
            assert result.returncode == 0, result.stdout + result.stderr
    return into


def build_with_zig(name: str, tmp_path_factory: pytest.TempPathFactory, target: str) -> Path:
    """The same by the clang of the package `ziglang`, for another system."""
    found = importlib.util.find_spec("ziglang")
    if found is None or found.origin is None:
        missing("the package ziglang")
    return build(
        name,
        tmp_path_factory,
        f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'cmake/zig.cmake'}",
        f"-DZIG={Path(found.origin).with_name('zig')}",
        f"-DZIG_TARGET={target}",
        "-DQWEN3CPU_OPENMP=OFF",  # zig has no runtime for it
        launcher="",  # zig has a cache of its own
    )


def missing(tool: str) -> NoReturn:
    """Skip a test because a tool for other machines is missing, or fail with QWEN3CPU_REQUIRE_CROSS=1."""
    if os.environ.get("QWEN3CPU_REQUIRE_CROSS"):
        pytest.fail(f"{tool} is not installed")
    pytest.skip(f"{tool} is not installed")
