"""Results of streams for asyncio; system/asyncio_steps.py runs and cancels the streams."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import aclosing

from qwen3cpu.generation.results import Chunk, Result
from qwen3cpu.system.asyncio_steps import steps


async def results(start: Callable[[], Generator[Chunk, None, None]]) -> list[Result]:
    """Return the results in a stream, sorted by index."""
    found = []
    async with aclosing(steps(start)) as chunks:
        async for chunk in chunks:
            if chunk.result is not None:
                found.append(chunk.result)
    return sorted(found, key=lambda result: result.index)
