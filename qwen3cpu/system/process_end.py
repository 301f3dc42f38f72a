"""Keeps the exit status of a process right when the interpreter ends while a daemon thread generates."""

import atexit

from qwen3cpu import _native

atexit.register(_native.hold_threads_that_end)
