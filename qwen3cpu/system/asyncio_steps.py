"""Runs the steps of generators on worker threads, so that they do not block asyncio's event loop.

A cancelled task waits for the step that is running and then closes its generator, so nothing of it is left running.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from qwen3cpu.system.fork_guard import call_in_child

T = TypeVar("T")

WORKERS: Final = 16
"""Most steps that wait for a model, or share its forward pass, at the same time."""


class _Workers:
    """The worker threads. They are started on demand, and idle ones cost nothing.

    A child process gets a pool of its own after a fork: its parent's would count on threads that the child does not
    have.
    """

    def __init__(self) -> None:
        self._start()
        call_in_child(self._start)

    def _start(self) -> None:
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="qwen3cpu-async")

    def submit(self, call: Callable[..., T], *args: Any) -> Future[T]:
        """Call on one of the threads."""
        return self._pool.submit(call, *args)


_workers: Final = _Workers()
"""For all models and event loops."""


async def steps(start: Callable[[], Generator[T, None, None]]) -> AsyncGenerator[T, None]:
    """Yield the items of a generator, which must not be None. `start` makes it, also on a worker thread."""
    items = await _on_a_worker(start)
    try:
        while (item := await _on_a_worker(next, items, None)) is not None:
            yield item
    finally:
        items.close()


async def _on_a_worker(call: Callable[..., T], *args: Any) -> T:
    """Return the value of a call. When this returns or raises, the call has ended or was never started."""
    work = _workers.submit(call, *args)
    done = asyncio.wrap_future(work)
    interrupted = None
    while not done.done():
        try:
            # Awaiting `done` itself would cancel it, which would hide that the thread still runs.
            await asyncio.wait([done])
        except asyncio.CancelledError as error:
            if work.cancel():
                raise
            interrupted = error
    if interrupted is not None:
        done.exception()  # retrieved, so that asyncio does not report it
        raise interrupted
    return done.result()
