"""The files that faults are put into, and the functions that find the places in each."""

from __future__ import annotations

import subprocess
from pathlib import Path, PurePosixPath

from mutation.native_places import cpp_places, cython_places
from mutation.places import Place
from mutation.python_places import python_places

ROOT = Path(__file__).resolve().parents[2]

# Files that no test on this machine can run: kernels of other CPUs, and code that only benchmarks call.
NOT_RUN = (
    *(f"csrc/kernels/{name}/" for name in ("amx", "neon", "dotprod", "i8mm")),
    *("csrc/system/isa_arm.cc", "qwen3cpu/bench/"),
)
FINDERS = {
    **dict.fromkeys((".cc", ".h", ".inc"), cpp_places),
    **dict.fromkeys((".pyx", ".pxi"), cython_places),
    ".py": python_places,
}


def git(*arguments: str, folder: Path = ROOT) -> str:
    """The output of a git command."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def files_of(commit: str) -> list[str]:
    """The files of a commit that faults are put into."""
    names = git("ls-tree", "-r", "--name-only", commit, "qwen3cpu", "csrc").splitlines()
    return [name for name in names if PurePosixPath(name).suffix in FINDERS and is_run(name)]


def is_run(name: str) -> bool:
    """Whether tests on this machine can run a file."""
    return not name.startswith(NOT_RUN) and PurePosixPath(name).name != "probes.cc"


def is_native(name: str) -> bool:
    """Whether a file is compiled."""
    return PurePosixPath(name).suffix != ".py"


def places_of(name: str, text: str) -> list[Place]:
    """All places of a file."""
    return FINDERS[PurePosixPath(name).suffix](text)
