"""Streams for asyncio: worker threads run the steps of a generator, so that they do not block the event loop.

A cancelled task waits for the step that is running, at most one, and then closes its stream: when it has ended, nothing
of it is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, Final, TypeVar

from qwen3cpu.generation.results import Chunk, Result

T = TypeVar("T")

WORKERS: Final = 16
"""Steps that wait for a model, or share its forward pass, at once."""
# One pool for all models and event loops: its threads are made when needed, and idle ones cost nothing.
_pool: Final = ThreadPoolExecutor(WORKERS, thread_name_prefix="qwen3cpu-async")


async def stream(start: Callable[[], Generator[Chunk, None, None]]) -> AsyncGenerator[Chunk, None]:
    """The chunks of a stream. `start` makes it; that too happens on a worker thread."""
    chunks = await _on_a_worker(start)
    try:
        while (chunk := await _on_a_worker(next, chunks, None)) is not None:
            yield chunk
    finally:
        chunks.close()


async def results(start: Callable[[], Generator[Chunk, None, None]]) -> list[Result]:
    """The results at the ends of a stream, by index."""
    found = []
    async with aclosing(stream(start)) as chunks:
        async for chunk in chunks:
            if chunk.result is not None:
                found.append(chunk.result)
    return sorted(found, key=lambda result: result.index)


async def _on_a_worker(call: Callable[..., T], *args: Any) -> T:
    """The value of a call. When this returns or raises, the call has ended or has never begun."""
    work = _pool.submit(call, *args)
    done = asyncio.wrap_future(work)
    interrupted = None
    while not done.done():
        try:
            # Unlike awaiting `done`, this does not cancel it, which would hide that the thread still runs.
            await asyncio.wait([done])
        except asyncio.CancelledError as error:
            if work.cancel():
                raise
            interrupted = error
    if interrupted is not None:
        done.exception()  # retrieved, so that asyncio does not report it
        raise interrupted
    return done.result()
