"""Spans of OpenTelemetry: one for each request for answers, vectors or scores, by the conventions for generative AI.

Spans hold the model, its options, the numbers of input and output tokens, and times. They hold no text of users or
models.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qwen3cpu._version import VERSION
from qwen3cpu.errors import ArgumentError
from qwen3cpu.server.api.notes import Notes, begin_notes
from qwen3cpu.server.models.long_work import in_thread

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

logger = logging.getLogger(__name__)

LAST_SECONDS = 5.0
"""Seconds that the server waits for its last spans to be sent when it stops."""
LIMIT = 1 << 63
"""Integers in spans must be smaller than this, because OTLP sends them in 64 bits."""
SYSTEM = "qwen3cpu"
OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/messages": "chat",
    "/api/chat": "chat",
    "/v1/completions": "text_completion",
    "/api/generate": "text_completion",
    "/v1/embeddings": "embeddings",
    "/api/embed": "embeddings",
    "/api/embeddings": "embeddings",
    "/v1/rerank": "rerank",
    "/v2/rerank": "rerank",
    "/rerank": "rerank",
}
"""Path -> `gen_ai.operation.name`."""
REQUEST = {
    "model": "model",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "seed": "seed",
    "n": "choice.count",
    "stream": "stream",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
"""Field of a body -> attribute below `gen_ai.request`."""


def otlp_provider() -> TracerProvider:
    """Make the provider that creates spans, and sends them to a collector on its own thread.

    Its queue is bounded, and spans that do not fit are dropped. OpenTelemetry's environment variables
    (OTEL_EXPORTER_OTLP_ENDPOINT and others) say where spans are sent, and how.

    Raises:
        ArgumentError: the packages are missing.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as missing:
        raise ArgumentError(f"--otel needs more packages ({missing.name}): pip install 'qwen3cpu[otel]'") from None
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    about = {"service.version": VERSION, **({} if named else {"service.name": SYSTEM})}
    # The provider's own shutdown at exit would wait for half a minute. `close_provider` waits less.
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


async def close_provider(provider: TracerProvider) -> None:
    """Send the remaining spans, and wait at most LAST_SECONDS for that."""
    try:
        await asyncio.wait_for(in_thread(provider.shutdown, "qwen3cpu-spans"), LAST_SECONDS)
    except asyncio.TimeoutError:
        logger.warning("the last spans were not sent in %g seconds", LAST_SECONDS)


class Traced:
    """ASGI middleware that makes a span of each request to the paths of OPERATIONS.

    Args:
        app: the application inside.
        provider: makes the spans.
    """

    def __init__(self, app: ASGIApp, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app = app
        self._tracer = provider.get_tracer("qwen3cpu.server", VERSION)
        self._parent = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        operation = OPERATIONS.get(scope["path"]) if scope["type"] == "http" else None
        if operation is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind

        parent = self._parent.extract(dict(Headers(scope=scope)))
        began, clock = time_ns(), perf_counter()
        attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": SYSTEM,
            "gen_ai.system": SYSTEM,
            "http.request.method": scope["method"],
            "http.route": scope["path"],
        }
        span = self._tracer.start_span(operation, parent, SpanKind.SERVER, attributes, start_time=began)
        notes = begin_notes(scope)
        status = 0
        sent = False

        async def watched(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)
            sent = message["type"] == "http.response.body" and not message.get("more_body")

        try:
            await self._app(scope, receive, watched)
        finally:
            if span.is_recording():
                _describe(span, notes, operation, began, clock)
                _say_end(span, notes, status, sent=sent)
            span.end()


def _describe(span: Span, notes: Notes, operation: str, began: int, clock: float) -> None:
    """Put the notes of a request into its span, which began at `began` (ns since 1970), `clock` by perf_counter."""
    if notes.model is not None:
        span.update_name(f"{operation} {notes.model}")
    span.set_attributes(dict(_attributes(notes)))
    first = None if notes.answers is None else notes.answers.first_token
    if first is not None:
        span.set_attribute("gen_ai.response.time_to_first_chunk", first - clock)
        span.add_event("gen_ai.first_token", timestamp=began + int((first - clock) * 1e9))


def _attributes(notes: Notes) -> Iterator[tuple[str, Any]]:
    if notes.model is not None:
        yield "gen_ai.request.model", notes.model  # replaced below by the name in the request, if it has one
    for name, value in notes.options.items():
        if name in REQUEST and not (name == "n" and value == 1):
            # A number that does not fit into 64 bits would make the export of its whole batch of spans fail.
            fits = not isinstance(value, int) or -LIMIT <= value < LIMIT
            yield f"gen_ai.request.{REQUEST[name]}", value if fits else str(value)
    if "encoding_format" in notes.options:
        yield "gen_ai.request.encoding_formats", [notes.options["encoding_format"]]
    if "dimensions" in notes.options:
        yield "gen_ai.embeddings.dimension.count", notes.options["dimensions"]
    if notes.model is not None:
        yield "gen_ai.response.model", notes.model
    if notes.response_id is not None:
        yield "gen_ai.response.id", notes.response_id
    if notes.input_tokens is not None:
        yield "gen_ai.usage.input_tokens", notes.input_tokens
    answers = notes.answers
    if answers is not None and answers.finish_reasons:
        reasons = answers.finish_reasons
        yield "gen_ai.response.finish_reasons", [reasons[choice] for choice in sorted(reasons)]
        yield "gen_ai.usage.input_tokens", answers.input_tokens
        yield "gen_ai.usage.cache_read.input_tokens", answers.cached_tokens
        yield "gen_ai.usage.output_tokens", answers.output_tokens
        yield "gen_ai.usage.reasoning.output_tokens", answers.reasoning_tokens


def _say_end(span: Span, notes: Notes, status: int, *, sent: bool) -> None:
    """Put the end of a request into its span: the status, and the name of an error."""
    from opentelemetry.trace import StatusCode

    if status:
        span.set_attribute("http.response.status_code", status)
    error = notes.error
    if error is None and notes.answers is not None and notes.answers.error is not None:
        error = type(notes.answers.error).__name__
    if error is None and status >= 400:
        error = str(status)
    if error is None and not sent:
        error = "cancelled"
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(StatusCode.ERROR, error)
