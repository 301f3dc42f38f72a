"""Threads for the work around an answer: JSON, checks, templates, grammars, encoding, large replies.

No such work runs on the event loop or on the scheduler's thread. Each kind of work has its own queue and threads, so
long work delays only long work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

T = TypeVar("T")

Kind = Literal["short", "long", "grammar", "reply"]
SHORT_BODY = 1 << 16
"""The largest body, in bytes, whose work counts as short."""
THREADS: dict[Kind, int] = {"short": 2, "long": 1, "grammar": 1, "reply": 1}


class Workshop:
    """Runs functions on a few threads for each kind of work, in the order of the calls."""

    def __init__(self) -> None:
        self._pools = {kind: ThreadPoolExecutor(count, f"qwen3cpu-{kind}") for kind, count in THREADS.items()}

    async def run(self, kind: Kind, work: Callable[[], T]) -> T:
        """Run `work` on a thread, and return its result. If the caller is cancelled before, `work` never starts."""
        return await asyncio.get_running_loop().run_in_executor(self._pools[kind], work)

    def close(self) -> None:
        """Take no more work, and drop the work that has not started."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)


def kind_of(size: int) -> Kind:
    """The kind of the work on a body of `size` bytes, if it has no grammar."""
    return "short" if size <= SHORT_BODY else "long"
