"""A replica: one loaded model with the whole HTTP API and continuous batching."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from starlette.applications import Starlette

from qwen3cpu.integrations.ray_serve.calls import Call, Head, respond
from qwen3cpu.model import load
from qwen3cpu.server.app import make_app
from qwen3cpu.server.models.lender import Lender
from qwen3cpu.server.settings import Settings
from qwen3cpu.system.allocator import return_free_pages

_TICK: Final = 1.0
_TRIM_TICKS: Final = 10
TOKENS: Final = "tokens"
"""The name of the metric: tokens that the requests of a replica still need."""


class Engine:
    """Answers requests with one model.

    Args:
        model: the source for `qwen3cpu.load`.
        loading: options of `load`.
        settings: the settings of the server.
    """

    async def __init__(self, model: str, loading: Mapping[str, Any], settings: Settings) -> None:  # type: ignore[misc]
        loaded = await asyncio.to_thread(load, model, **loading)
        self._app: Starlette = make_app(loaded, settings)
        self._lender: Lender = self._app.state.lender
        self._grace = settings.grace
        self._lifespan = self._app.router.lifespan_context(self._app)
        await self._lifespan.__aenter__()
        self._ticks = asyncio.create_task(self._tick())

    async def respond(self, call: Call, beginning: str | None) -> AsyncGenerator[Head | bytes, None]:
        """The response to a request, piece by piece.

        Args:
            call: the request.
            beginning: the hash by which the router chose this replica; unused here.
        """
        async for piece in respond(self._app, call):
            yield piece

    def record_autoscaling_stats(self) -> dict[str, float]:
        """The metric for scaling the number of replicas."""
        services = [held.service for held in self._lender.loaded()]
        return {TOKENS: float(sum(service.tokens_left for service in services if service is not None))}

    def check_health(self) -> None:
        """Raise RuntimeError when the model has failed, so that Ray Serve replaces this replica."""
        if self._lender.failed:
            raise RuntimeError("the model has stopped working")

    def process(self) -> int:
        """The process id of this replica."""
        return os.getpid()

    async def __del__(self) -> None:
        """Refuse new requests, and wait for the running ones."""
        if hasattr(self, "_ticks"):
            self._ticks.cancel()
            self._lender.stop(self._grace)
            await self._lifespan.__aexit__(None, None, None)

    async def _tick(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(_TICK)
            self._lender.tick()
            ticks += 1
            if ticks % _TRIM_TICKS == 0:
                await asyncio.to_thread(return_free_pages)
