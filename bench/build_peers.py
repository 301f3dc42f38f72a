"""Build llama.cpp for each instruction set that this processor has, once, and keep the builds.

    python bench/build_peers.py [FOLDER] [--isa avx2 avxvnni] [--jobs N]

A build is an environment of its own, FOLDER/ISA, with gguf and llama-cpp-python, which is compiled from PyPI's source
for exactly this instruction set. The default FOLDER is `peers` in the cache folder of qwen3cpu. Finished builds are
kept. Prints the name of each build and its interpreter, for `compare.py --peer-python`; `compare.py --isa` finds builds
by name. Needs a C++ compiler. A build takes 5 to 20 minutes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from qwen3cpu.bench.errors import BenchError
from qwen3cpu.errors import Qwen3CpuError
from qwen3cpu.packed.cache import cache_folder
from qwen3cpu.system.instruction_sets import instruction_sets

LLAMA_CPP_PYTHON = "llama-cpp-python==0.3.36"
"""As in the extra `compare`."""

_AVX2 = ("SSE42", "AVX", "AVX2", "FMA", "F16C", "BMI2")
_AVX512 = (*_AVX2, "AVX512", "AVX512_VBMI", "AVX512_VNNI", "AVX512_BF16")
SWITCHES: dict[str, tuple[str, ...]] = {
    "avx2": _AVX2,
    "avxvnni": (*_AVX2, "AVX_VNNI"),
    "avx512vnni": _AVX512,
    "amx": (*_AVX512, "AVX_VNNI", "AMX_TILE", "AMX_INT8", "AMX_BF16"),
}
"""Instruction set of qwen3cpu -> switches of llama.cpp's build (GGML_...) that allow the same instructions."""


def cmake_arguments(isa: str) -> str:
    """The value of CMAKE_ARGS for a build that uses this instruction set and no better one."""
    every = dict.fromkeys(switch for switches in SWITCHES.values() for switch in switches)
    chosen = [f"-DGGML_{switch}={'ON' if switch in SWITCHES[isa] else 'OFF'}" for switch in every]
    return " ".join(["-DGGML_NATIVE=OFF", *chosen, "-DLLAVA_BUILD=OFF"])


def interpreter(folder: Path, isa: str) -> Path:
    """The path of a build's Python, which may not exist yet."""
    return folder / isa / "bin" / "python"


def build(folder: Path, isa: str, jobs: int) -> None:
    """Make a build, or leave the finished one. Raises BenchError when pip fails; nothing is left behind then."""
    receipt = _receipt(folder, isa)
    if receipt.exists():
        return
    shutil.rmtree(folder / isa, ignore_errors=True)
    arguments = cmake_arguments(isa)
    environment = {**os.environ, "CMAKE_ARGS": arguments, "CMAKE_BUILD_PARALLEL_LEVEL": str(jobs)}
    pip = [str(interpreter(folder, isa)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        venv.create(folder / isa, with_pip=True)
        # Without pip's cache, which would return the wheel that was built for another instruction set.
        from_source = ["--no-cache-dir", "--no-binary", "llama-cpp-python", LLAMA_CPP_PYTHON]
        for what in (["gguf>=0.10"], from_source):
            subprocess.run([*pip, *what], env=environment, check=True)
        receipt.write_text(f"{LLAMA_CPP_PYTHON}\n{arguments}\n")
    except BaseException as reason:
        shutil.rmtree(folder / isa, ignore_errors=True)
        if isinstance(reason, subprocess.CalledProcessError):
            raise BenchError(f"{isa}: pip could not build {LLAMA_CPP_PYTHON} (code {reason.returncode})") from None
        raise


def _receipt(folder: Path, isa: str) -> Path:
    """The file that is written last, so that an interrupted build does not count as finished."""
    return folder / isa / "build.txt"


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="where the builds are kept")
    parser.add_argument("--isa", nargs="+", choices=tuple(SWITCHES), help="only these (default: what runs here)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="compilers at a time (%(default)s)")
    return parser


def default_folder() -> Path:
    """Where builds are kept unless a folder is named."""
    return cache_folder() / "peers"


def main() -> int:
    """Build what is missing; returns the exit code."""
    args = make_parser().parse_args()
    folder = (args.folder or default_folder()).absolute()
    chosen = args.isa or [isa for isa, runs in instruction_sets() if runs and isa in SWITCHES]
    try:
        for number, isa in enumerate(chosen, 1):
            print(f"{number}/{len(chosen)} {isa}: {cmake_arguments(isa)}", file=sys.stderr, flush=True)
            build(folder, isa, args.jobs)
            print(isa, interpreter(folder, isa), flush=True)
    except Qwen3CpuError as error:
        print(f"build_peers.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
