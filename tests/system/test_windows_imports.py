"""Imports every module of the package as if the system were Windows, without the modules and calls of POSIX."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import qwen3cpu

WITHOUT_POSIX = """
import importlib, pkgutil, sys, os, signal, mmap
import qwen3cpu
names = {each.name for each in pkgutil.walk_packages(qwen3cpu.__path__, "qwen3cpu.")}
names.remove("qwen3cpu.__main__")
for name in sorted(names):  # first as usual, to load third-party libraries, which are not tested here
    try:
        importlib.import_module(name)
    except (ImportError, qwen3cpu.Qwen3CpuError):  # an extra is not installed
        names.remove(name)
assert len(names) > 400, len(names)
for name in [*sys.modules]:
    # Keeps modules that can be loaded only once: compiled ones, and the one that is registered with lm-eval.
    if name.startswith("qwen3cpu") and not name.endswith(("._native", "._sampling", ".evaluation.lm_eval")):
        del sys.modules[name]
for name in ("fcntl", "resource", "termios", "pwd", "grp", "pty", "tty"):
    sys.modules[name] = None
for module, lacking in (
    (os, "register_at_fork sysconf pread O_NONBLOCK O_CLOEXEC RTLD_NOLOAD fchmod nice fork sched_getaffinity getuid"),
    (signal, "SIGKILL SIGPROF setitimer ITIMER_PROF SIGHUP SIGPIPE SIGUSR1"),
    (mmap, "MAP_PRIVATE MAP_ANONYMOUS MADV_HUGEPAGE MADV_WILLNEED MADV_DONTNEED"),
):
    for name in lacking.split():
        if hasattr(module, name):
            delattr(module, name)
sys.platform = "win32"
for name in sorted(names):
    importlib.import_module(name)
"""


def test_every_module_is_imported_without_what_windows_lacks() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.fspath, sys.path))}
    done = subprocess.run([sys.executable, "-c", WITHOUT_POSIX], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert Path(importlib.import_module("qwen3cpu").__file__ or "") == Path(qwen3cpu.__file__)
