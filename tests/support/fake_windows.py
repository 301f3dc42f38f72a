"""A kernel32 that answers instead of Windows' own."""

import ctypes
import types
from collections.abc import Callable
from typing import Any

GB = 1 << 30


class Call:
    """One function of a fake library, which notes the arguments of its calls."""

    def __init__(self, answer: Callable[..., int]) -> None:
        self.answer, self.asked, self.restype = answer, [], None

    def __call__(self, *arguments: Any) -> int:
        self.asked.append(arguments)
        return self.answer(*arguments)


class Kernel(types.SimpleNamespace):
    """A fake kernel32."""

    def has(self, name: str, answer: Callable[..., int]) -> Call:
        call = Call(answer)
        setattr(self, name, call)
        return call


def filled(**values: int) -> Callable[..., int]:
    """A call that fills the structure among its arguments."""

    def answer(*arguments: Any) -> int:
        referred = (getattr(each, "_obj", None) for each in arguments)
        (given,) = (each for each in referred if isinstance(each, ctypes.Structure))
        for name, value in values.items():
            setattr(given, name, value)
        return 1

    return answer


def refused(*arguments: Any) -> int:
    return 0
