"""Finds the OpenMP and OpenBLAS libraries of this process, and shortens the busy waiting of OpenBLAS's threads.

OpenBLAS reads OPENBLAS_THREAD_TIMEOUT when it starts its threads. It ends them before every fork, and starts them when
they are next needed. It exports the functions for both. Calling them makes a loaded library read a new setting. A
thread that computes with the library meanwhile may hang, so they are called only when it is certain that none does
(sleeping_threads.py).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from qwen3cpu.system import cgroups
from qwen3cpu.system.sleeping_threads import others_sleep, tasks

TIMEOUT_VARIABLE: Final = "OPENBLAS_THREAD_TIMEOUT"
SHORT_TIMEOUT: Final = 20
"""2^20 cycles, half a millisecond: longer than the pause between two products of one computation."""
_OPENMP: Final = ("libgomp", "libomp", "libiomp")
_FUNCTIONS: Final = ("openblas_read_env", "openblas_thread_timeout", "blas_thread_shutdown_", "blas_thread_init")
_PARALLEL: Final = tuple(
    f"{prefix}openblas_get_parallel{suffix}" for prefix in ("", "scipy_") for suffix in ("", "64_")
)
_PTHREADS: Final = 1
"""What get_parallel returns for an OpenBLAS with threads of its own; 2: it uses OpenMP's."""


def openmp_runtimes(root: Path = Path("/")) -> list[str]:
    """Return the files of the OpenMP runtimes that this process has loaded; empty if the system does not tell."""
    return [path for path in _mapped_files(root) if Path(path).name.startswith(_OPENMP)]


def openblas_files(root: Path = Path("/")) -> list[str]:
    """Return the files of the OpenBLAS libraries that this process has loaded; empty if the system does not tell."""
    return [path for path in _mapped_files(root) if "openblas" in Path(path).name]


class OpenBlas:
    """A loaded OpenBLAS that has threads of its own."""

    def __init__(self, path: str) -> None:
        """Open a library that is loaded.

        Raises:
            OSError, ValueError: it is not loaded, or its threads cannot be restarted.
        """
        import ctypes

        # A PyDLL's functions keep the GIL, so no Python thread can begin a product while they run.
        self._library = ctypes.PyDLL(path, mode=getattr(os, "RTLD_NOLOAD", 0))
        self._running = ctypes.c_int.in_dll(self._library, "blas_server_avail")
        self._threads = ctypes.c_int.in_dll(self._library, "blas_num_threads")
        parallel = {getattr(self._library, name)() for name in _PARALLEL if hasattr(self._library, name)}
        if parallel != {_PTHREADS} or not all(hasattr(self._library, name) for name in _FUNCTIONS):
            raise ValueError(f"{path}: expected an OpenBLAS with threads of its own and {', '.join(_FUNCTIONS)}")
        self.path = path

    @property
    def timeout(self) -> int:
        """log2 of the cycles that its threads wait busily; 0: the built-in time, usually a tenth of a second."""
        return int(self._library.openblas_thread_timeout())

    @property
    def workers(self) -> int:
        """Number of its running threads."""
        return self._threads.value - 1 if self._running.value else 0

    def read_timeout(self) -> None:
        """Read OPENBLAS_THREAD_TIMEOUT from the environment, and restart running threads."""
        self._library.openblas_read_env()
        if self._running.value:
            self._library.blas_thread_shutdown_()
            self._library.blas_thread_init()


def openblas_libraries() -> list[OpenBlas]:
    """Return the loaded OpenBLAS libraries whose threads can be restarted. On Windows the list is empty."""
    if sys.platform == "win32":
        return []
    found = []
    for path in openblas_files():
        try:
            found.append(OpenBlas(path))
        except (ImportError, OSError, ValueError):  # ImportError: a Python built without ctypes
            continue
    return found


_settled = 0
"""Number of threads that this process had when no OpenBLAS needed a shorter time."""


def shorten_waits() -> None:
    """Let the threads of every loaded OpenBLAS wait for `SHORT_TIMEOUT`, unless the user has set a time.

    Does nothing if another thread might be computing with OpenBLAS. Takes only microseconds while the number of threads
    is unchanged, because a newly loaded OpenBLAS would have added threads.
    """
    global _settled
    present = len(tasks())
    if TIMEOUT_VARIABLE in os.environ or present == _settled:
        return
    libraries = openblas_libraries()
    waiting = [library for library in libraries if not library.timeout]
    if not waiting:
        _settled = present
        return
    if present != 1 + sum(library.workers for library in libraries) and not others_sleep():
        return
    os.environ[TIMEOUT_VARIABLE] = str(SHORT_TIMEOUT)
    try:
        for library in waiting:
            library.read_timeout()
    finally:
        del os.environ[TIMEOUT_VARIABLE]


def _mapped_files(root: Path) -> list[str]:
    if sys.platform == "win32":
        from qwen3cpu.system.windows.loaded import loaded_files

        return loaded_files()
    words = [line.split(maxsplit=5) for line in cgroups.lines(root / "proc/self/maps")]
    return sorted({each[5] for each in words if len(each) == 6})
