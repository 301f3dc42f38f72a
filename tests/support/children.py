"""Finds the processes that tests have started and that are alive."""

import contextlib
import os
from pathlib import Path

TOLD = Path(f"/proc/self/task/{os.getpid()}/children").exists()
"""Whether the system lists the children of a process."""


def is_alive(process: int) -> bool:
    """Whether a process with this id exists and has not ended."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        os.kill(process, 0)
        return (
            not Path("/proc/self/status").exists() or "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
        )
    return False


def servers_of(process: int) -> list[int]:
    """The children of a process that run mcp_tools.py, if the system lists them."""
    found = []
    for thread in Path(f"/proc/{process}/task").glob("*/children"):
        for child in thread.read_text().split():
            with contextlib.suppress(FileNotFoundError):
                if b"mcp_tools" in Path(f"/proc/{child}/cmdline").read_bytes() and is_alive(int(child)):
                    found.append(int(child))
    return found
