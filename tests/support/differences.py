"""Compares arrays bit for bit over many cases in one test, with a message that names the different cases."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Differences:
    """Found and expected results for many cases. Fails at the end of `with`, and names the cases that differ.

    Equal means equal bit for bit; any NaN equals any other.
    """

    SHOWN = 5

    def __init__(self, subject: object) -> None:
        self.subject, self.cases, self.wrong = subject, 0, list[str]()

    def __enter__(self) -> Differences:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            assert self.cases > 0, f"{self.subject}: nothing was compared"
            assert not self.wrong, "\n".join(
                [f"{self.subject}: {len(self.wrong)} of {self.cases} cases differ", *self.wrong[: self.SHOWN]]
            )

    def add(self, found: Array, expected: Array, **case: object) -> None:
        """Add one case; `case` describes it, as in rows=3, cols=77."""
        self.cases += 1
        assert found.shape == expected.shape, f"{self.subject}: {case}: {found.shape} is not {expected.shape}"
        assert found.dtype == expected.dtype, f"{self.subject}: {case}: {found.dtype} is not {expected.dtype}"
        differ = np.argwhere(different(found, expected))
        if len(differ):
            first = tuple(differ[0].tolist())
            self.wrong.append(
                f"  {', '.join(f'{name}={value}' for name, value in case.items())}: {len(differ)} of {found.size} "
                f"differ, the first at {first}: expected {shown(expected[first])}, found {shown(found[first])}"
            )


def different(a: Array, b: Array) -> Array:
    """The places where two arrays of one shape and type differ. Floats differ by bits, but any NaN equals any other."""
    if a.dtype != np.float32:
        return np.asarray(a != b)
    return (a.view(np.uint32) != b.view(np.uint32)) & ~(np.isnan(a) & np.isnan(b))


def shown(value: Any) -> str:
    """A number as text; floats with their bits."""
    return f"{value!s} (0x{value.view(np.uint32):08x})" if value.dtype == np.float32 else str(value)
