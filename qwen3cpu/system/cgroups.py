"""Finds the control groups of this process in the kernel's files (v1 and v2)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def folders(controller: str, root: Path = Path("/")) -> Iterator[tuple[int, Path]]:
    """Yield (version, folder) of every group of this process and of all parent groups.

    Args:
        controller: its name in v1. v2 has one tree for all controllers.
        root: the folder that contains /proc and /sys.
    """
    for line in lines(root / "proc/self/cgroup"):
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            yield from ((2, folder) for folder in _levels(root / "sys/fs/cgroup", path))
        elif controller in controllers.split(","):
            for name in (controllers, controller):
                mount = root / "sys/fs/cgroup" / name
                if mount.is_dir():
                    yield from ((1, folder) for folder in _levels(mount, path))
                    break


def lines(path: Path) -> list[str]:
    """Read the lines of a file of the kernel; empty if it does not exist or may not be read."""
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _levels(mount: Path, path: str) -> list[Path]:
    """Return the folders of a group and all parent groups. In a container the group itself may not be visible."""
    levels = [mount]
    for part in path.strip("/").split("/"):
        if part in ("", ".."):
            continue
        levels.append(levels[-1] / part)
    return levels
