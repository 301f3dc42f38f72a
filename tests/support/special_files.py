"""Makes files that are not regular files."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path


def make_socket(path: Path) -> None:
    """Make a socket in the file system."""
    here = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)  # a socket's path may have 107 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)
    os.chdir(here)
    os.close(here)


def link_to_zeros(path: Path) -> None:
    """Make a link to a file without an end."""
    path.symlink_to("/dev/zero")


SPECIAL: dict[str, Callable[[Path], None]] = {
    "a FIFO": os.mkfifo,
    "a character device": link_to_zeros,
    "a socket": make_socket,
    "a folder": Path.mkdir,
}
"""Name in messages -> function that makes the file."""
