"""Checks of arguments that many calls share. Each raises an ArgumentError that names argument, expected and found."""

from __future__ import annotations

import operator
from typing import Any

from qwen3cpu.errors import ArgumentError


def as_whole(value: Any) -> int | None:
    """An int, or an integer of NumPy, as int; None for floats, True, False and everything else."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def whole_number(name: str, value: Any, least: int, most: int | None = None, what: str = "a whole number") -> int:
    """`value` as int. Raises ArgumentError unless it is a whole number from `least` to `most`.

    Args:
        name: of the argument, for the message.
        value: an int or an integer of NumPy; True and False are refused.
        least: the smallest allowed.
        most: the largest allowed; None: no limit.
        what: what the number counts, for the message.
    """
    number = as_whole(value)
    if number is None or number < least or (most is not None and number > most):
        expected = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ArgumentError(f"{name}: expected {what} {expected}, found {value!r}")
    return number
