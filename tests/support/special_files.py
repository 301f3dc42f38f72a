"""Files that are no regular ones: what makes them at a path."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path


def make_socket(path: Path) -> None:
    """A socket in the file system."""
    here = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)  # a socket's path may have 107 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)
    os.chdir(here)
    os.close(here)


def link_to_zeros(path: Path) -> None:
    """A link to a file that has no end."""
    path.symlink_to("/dev/zero")


SPECIAL: dict[str, Callable[[Path], None]] = {
    "a FIFO": os.mkfifo,
    "a character device": link_to_zeros,
    "a socket": make_socket,
    "a folder": Path.mkdir,
}
"""As messages call it -> what makes it."""
