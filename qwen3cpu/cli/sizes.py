"""Sizes and times in words."""

from __future__ import annotations

from typing import Final

UNITS: Final = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
"""Seconds of the units of time."""


def size_text(size: float) -> str:
    """Bytes in decimal units, as disks and downloads count them: 97 MB, 3.4 GB."""
    for unit in ("bytes", "kB", "MB"):
        if size < 999.5:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB" if size < 99.95 else f"{size:.0f} GB"


def age_text(seconds: float) -> str:
    """A time in the largest unit that fits: 5m, 3d."""
    for unit, length in reversed(UNITS.items()):
        if seconds >= length:
            return f"{int(seconds / length)}{unit}"
    return "0m"
