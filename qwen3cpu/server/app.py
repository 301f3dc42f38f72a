"""The ASGI application: routes and middleware."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import time
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from qwen3cpu.errors import ArgumentError
from qwen3cpu.model import Model
from qwen3cpu.server.api.anthropic.messages import count_tokens, messages
from qwen3cpu.server.api.apply_template import apply_template
from qwen3cpu.server.api.chat_completions import chat_completions
from qwen3cpu.server.api.completions import completions
from qwen3cpu.server.api.detokenize import detokenize
from qwen3cpu.server.api.embeddings import embeddings
from qwen3cpu.server.api.errors import ApiError, as_api_error, guarded
from qwen3cpu.server.api.health import health
from qwen3cpu.server.api.lora import load_lora_adapter, unload_lora_adapter
from qwen3cpu.server.api.metrics import make_registry, metrics
from qwen3cpu.server.api.models import models, one_model
from qwen3cpu.server.api.ollama.chat import chat
from qwen3cpu.server.api.ollama.embed import embed, one_embedding
from qwen3cpu.server.api.ollama.generate import generate
from qwen3cpu.server.api.ollama.manage import delete, pull
from qwen3cpu.server.api.ollama.models import ps, show, tags, version
from qwen3cpu.server.api.rerank import rerank
from qwen3cpu.server.api.responses import responses
from qwen3cpu.server.api.tokenize import tokenize
from qwen3cpu.server.api.tokenizer_info import tokenizer_info
from qwen3cpu.server.gate import Gate
from qwen3cpu.server.http_stats import HttpStats
from qwen3cpu.server.models.catalog import Catalog
from qwen3cpu.server.models.lender import Lender
from qwen3cpu.server.models.loans import LoansEnd
from qwen3cpu.server.models.offers import GivenModel
from qwen3cpu.server.models.pulls import Pulls, remove_leftovers
from qwen3cpu.server.openapi.document import openapi
from qwen3cpu.server.page.assets import asset, page
from qwen3cpu.server.page.endpoints import extract, render
from qwen3cpu.server.page.tools import PageTools, call, tools
from qwen3cpu.server.page.workers import LIMITS, Workers
from qwen3cpu.server.settings import Settings
from qwen3cpu.server.tracing import Traced, close_provider

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

GET, POST, DELETE = "GET", "POST", "DELETE"
ENDPOINTS = (
    (POST, "/v1/chat/completions", chat_completions),
    (POST, "/v1/completions", completions),
    (POST, "/v1/responses", responses),
    (POST, "/v1/messages", messages),
    (POST, "/v1/messages/count_tokens", count_tokens),
    (POST, "/v1/embeddings", embeddings),
    (POST, "/v1/rerank", rerank),
    (POST, "/v2/rerank", rerank),
    (POST, "/rerank", rerank),
    (GET, "/v1/models", models),
    (GET, "/v1/models/{model:path}", one_model),
    (POST, "/v1/load_lora_adapter", load_lora_adapter),
    (POST, "/v1/unload_lora_adapter", unload_lora_adapter),
    (POST, "/api/chat", chat),
    (POST, "/api/generate", generate),
    (POST, "/api/embed", embed),
    (POST, "/api/embeddings", one_embedding),
    (GET, "/api/tags", tags),
    (GET, "/api/ps", ps),
    (POST, "/api/show", show),
    (GET, "/api/version", version),
    (POST, "/api/pull", pull),
    (DELETE, "/api/delete", delete),
    (POST, "/tokenize", tokenize),
    (POST, "/detokenize", detokenize),
    (GET, "/tokenizer_info", tokenizer_info),
    (POST, "/apply-template", apply_template),
    (POST, "/page/render", render),
    (POST, "/page/extract", extract),
    (GET, "/page/tools", tools),
    (POST, "/page/tools/call", call),
    (GET, "/health", health),
    (GET, "/metrics", metrics),
    (GET, "/openapi.json", openapi),
)


def make_app(
    models: Model | Catalog,
    settings: Settings,
    loaded: dict[str, Model] | None = None,
    tracer_provider: TracerProvider | None = None,
    page_tools: PageTools | None = None,
) -> Starlette:
    """Make the application for all models of a catalog, or for a loaded model, which then belongs to it.

    Args:
        models: a loaded model, which is offered under the name in the settings, or a catalog.
        settings: the settings of the server.
        loaded: models of the catalog that are loaded, by name; they are removed from this dict. Others are loaded on
            demand.
        tracer_provider: OpenTelemetry's; it gets a span for each request, and is shut down at the end. None: no spans.
        page_tools: the tools that the chat page may offer to the model and call, closed at the end; None: none.

    Raises:
        ArgumentError: the settings do not fit a loaded model. ModelTooLargeError: their memory does not hold one.
    """
    catalog = models if isinstance(models, Catalog) else Catalog([GivenModel(settings.model_name, models)])
    if not isinstance(models, Catalog):
        loaded = {settings.model_name: models}
    lender = Lender(catalog, settings, loaded)
    pulls = None
    if settings.manage_models:
        if catalog.folder is None:
            raise ArgumentError("--manage-models: expected a folder of models (--models-dir), found none")
        remove_leftovers(catalog.folder)
        pulls = Pulls(catalog.folder)
        lender.at_stop.append(pulls.stop)
    http_stats = HttpStats()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        lender.open()
        yield
        await lender.close()
        for workers in app.state.page_workers.values():
            await asyncio.to_thread(workers.close)
        if page_tools is not None:  # closed here, because a signal ends the process right after the server
            await asyncio.to_thread(page_tools.close)
        if tracer_provider is not None:
            await close_provider(tracer_provider)

    middleware = [
        Middleware(Gate, settings=settings, http_stats=http_stats, known=frozenset(path for _, path, _ in ENDPOINTS)),
        *([] if tracer_provider is None else [Middleware(Traced, provider=tracer_provider)]),
        Middleware(LoansEnd),
    ]
    if settings.cors_origins:
        cors = Middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=[GET, POST], allow_headers=["*"]
        )
        middleware.insert(0, cors)
    app = Starlette(
        routes=[
            Route("/", page, methods=[GET]),
            Route("/assets/{name}", asset, methods=[GET]),
            *(Route(path, guarded(endpoint), methods=[method]) for method, path, endpoint in ENDPOINTS),
        ],
        middleware=middleware,
        lifespan=lifespan,
        exception_handlers={HTTPException: _http_error},
    )
    app.state.lender = lender
    app.state.pulls = pulls
    app.state.page_tools = page_tools
    app.state.page_workers = {job: Workers(job) for job in LIMITS}
    app.state.registry = make_registry(lender, http_stats)
    app.state.logged = set()
    app.state.started = int(time())
    return app


async def _http_error(http: HttpRequest, error: Exception) -> Response:
    """The response to a request for a path or a method that the server does not have."""
    found, path = as_api_error(error), http.scope["path"]
    if found.status == 404:
        found = ApiError(404, f"expected a path of this server (/openapi.json lists them), found {path[:200]!r}")
    elif found.status == 405:
        message = f"{path}: expected one of the methods {found.headers.get('Allow')}, found {http.method[:20]}"
        found = ApiError(405, message, headers=found.headers)
    return found.response(path)
