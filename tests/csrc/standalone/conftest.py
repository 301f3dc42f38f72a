"""The programs, built for each machine once in a run."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from standalone import ROOT, Machine, build, build_with_zig, missing


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The machine that the tests run on."""
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler is installed")
    return Machine(build("native", tmp_path_factory))


@pytest.fixture(scope="session")
def arm_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs for 64-bit ARM."""
    for tool in ("aarch64-linux-gnu-g++", "qemu-aarch64"):
        if shutil.which(tool) is None:
            missing(tool)
    return build("arm", tmp_path_factory, f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'cmake/aarch64-linux.cmake'}")


@pytest.fixture(scope="session")
def musl(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The same machine with musl instead of its C library, and LLVM's C++ library."""
    return Machine(build_with_zig("musl", tmp_path_factory, "x86_64-linux-musl"))


@pytest.fixture(scope="session")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Windows, emulated by Wine."""
    if shutil.which("wine") is None:
        missing("wine")
    prefix = tmp_path_factory.mktemp("wine")
    wine = {"WINEPREFIX": str(prefix), "WINEDEBUG": "-all"}
    programs = build_with_zig("windows", tmp_path_factory, "x86_64-windows-gnu")
    # Wine's services start here and stay to the end. If a program started them, they would inherit the pipe for its
    # output, and the reader of the pipe would wait for their end.
    quiet = {"env": os.environ | wine, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["wineserver", "-p"], check=True, **quiet)
    subprocess.run(["wine", "wineboot", "--init"], check=True, **quiet)
    yield Machine(programs, ".exe", ("wine",), wine)
    subprocess.run(["wineserver", "-k"], check=True, **quiet)
