"""Caches results of functions, up to a number of bytes, because users choose the keys."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping
from functools import update_wrapper
from typing import Any, Final, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
V = TypeVar("V")

_ENTRY: Final = 256
"""Bytes of an entry without key and value: its slot in the dict, its tuples and numbers."""


class Memo(Generic[V]):
    """A cache of the entries used last. May be used from several threads, and across a fork: it has no lock.

    Two threads that ask for the same key at the same time may both make the value.

    Args:
        most_bytes: of all entries together; the least recently used are evicted. A larger entry is not kept.
        size: bytes of an entry, from its key and value.
    """

    def __init__(self, most_bytes: int, size: Callable[[Any, V], int]) -> None:
        self.most_bytes: Final = most_bytes
        self._size = size
        self._entries: dict[Hashable, tuple[V, int]] = {}

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """Return the value of a key; make it if it is not kept."""
        # Each call of the dict is atomic for other threads, also a list of its keys or values. A list of its items
        # is not: it makes tuples, which may start the garbage collector, which may let another thread run.
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._entries[key] = entry
            return entry[0]
        value = make()
        size = _ENTRY + self._size(key, value)
        if size <= self.most_bytes:
            self._entries[key] = (value, size)
            excess = self.bytes_held - self.most_bytes
            for oldest in list(self._entries):
                if excess <= 0:
                    break
                _, bytes_freed = self._entries.pop(oldest, (None, 0))
                excess -= bytes_freed
        return value

    def items(self) -> list[tuple[Any, V]]:
        """Keys and values, the most recently used at the end."""
        entries = [(key, self._entries.get(key)) for key in list(self._entries)]
        return [(key, entry[0]) for key, entry in entries if entry is not None]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    @property
    def bytes_held(self) -> int:
        """Bytes of all entries."""
        return sum(size for _, size in list(self._entries.values()))


class Remembered(Generic[P, V]):
    """A function whose results are kept in `memo`, by its arguments, which are given by position."""

    def __init__(self, function: Callable[P, V], memo: Memo[V]) -> None:
        self._function = function
        self.memo: Final = memo
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> V:
        return self.memo.get(args, lambda: self._function(*args, **kwargs))


def remembered(
    most_bytes: int, size: Callable[[Any, Any], int] | None = None
) -> Callable[[Callable[P, V]], Remembered[P, V]]:
    """Keep the results of a function.

    Args:
        most_bytes: as of Memo.
        size: as of Memo, where the key is the tuple of the arguments; None: bytes_of both, for JSON's types.
    """

    def decorate(function: Callable[P, V]) -> Remembered[P, V]:
        return Remembered(function, Memo(most_bytes, size or (lambda args, found: bytes_of(args) + bytes_of(found))))

    return decorate


def bytes_of(value: Any) -> int:
    """Bytes of a value of JSON's types or tuples, with everything in it."""
    total = 0
    left = [value]
    while left:
        value = left.pop()
        total += sys.getsizeof(value)
        if isinstance(value, Mapping):
            left += value.keys()
            left += value.values()
        elif isinstance(value, (list, tuple)):
            left += value
    return total
