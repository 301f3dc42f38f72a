"""Settings that import_native.py makes for the libraries it loads. Already loaded ones: test_loaded_libraries.py."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import qwen3cpu

TIMEOUT = """
import ctypes, os, sys
for module in sys.argv[1:]:
    __import__(module)
assert not {"OPENBLAS_THREAD_TIMEOUT", "GOMP_SPINCOUNT"} & set(os.environ) or "GIVEN" in os.environ
with open("/proc/self/maps") as maps:
    found = {line.split(maxsplit=5)[5].strip() for line in maps if "openblas" in line}
library = ctypes.CDLL(found.pop()) if found else None
print(library.openblas_thread_timeout() if hasattr(library, "openblas_thread_timeout") else "unknown")
"""


def timeout(*modules, **variables):
    """Return log2 of the cycles that OpenBLAS's threads wait busily, after importing these modules in this order.

    0 means the built-in time, a tenth of a second.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS_", "GOMP_", "OMP_"))}
    command = [sys.executable, "-c", TIMEOUT, *modules]
    done = subprocess.run(command, capture_output=True, text=True, env=kept | variables)
    assert done.returncode == 0, done.stderr
    if done.stdout == "unknown\n":
        pytest.skip("this NumPy's OpenBLAS does not tell how long its threads wait")
    return int(done.stdout)


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for OpenBLAS in /proc")


def test_numpy_loaded_by_qwen3cpu_waits_half_a_millisecond():
    assert timeout("qwen3cpu") == 20


def test_what_the_user_has_set_stays():
    assert timeout("qwen3cpu", OPENBLAS_THREAD_TIMEOUT="24", GIVEN="1") == 24


def test_a_source_folder_without_compiled_modules_says_what_to_do(tmp_path):
    package = Path(qwen3cpu.__file__).parent
    shutil.copytree(package, tmp_path / "qwen3cpu", ignore=shutil.ignore_patterns("*.so", "assets", "__pycache__"))
    # Without the finder of an editable install, which would find the compiled modules.
    code = "import sys; sys.meta_path[:] = [finder for finder in sys.meta_path if isinstance(finder, type)]; "
    code += f"sys.path.insert(0, {str(tmp_path)!r}); import qwen3cpu"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    expected = "expected the compiled modules of qwen3cpu, found its source alone. Run `pip install -e .`"
    assert expected in done.stderr
    assert str(tmp_path / "qwen3cpu") in done.stderr
