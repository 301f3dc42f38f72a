"""Spans of requests: their attributes and parents, and that an unreachable collector does not disturb the server."""

import asyncio
import signal
import socket
import threading

import httpx
import pytest
from clocks import wait_until
from running import Running, Started

import qwen3cpu
from qwen3cpu.server import tracing
from qwen3cpu.server.app import ENDPOINTS

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

QUESTION = [{"role": "user", "content": "What is 17 + 25? A secret."}]
CHAT = "/v1/chat/completions"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Traced(Running):
    """A server whose spans are kept."""

    def __init__(self, model, **settings):
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        super().__init__(model, tracer_provider=provider, **settings)

    def span(self):
        """The next span, which ends when the response has been sent."""
        wait_until(self, self.exporter.get_finished_spans)
        (span,) = self.exporter.get_finished_spans()
        self.exporter.clear()
        return span


@pytest.fixture
def traced():
    started = []

    def start(model, **settings):
        started.append(Traced(model, **settings))
        return started[-1]

    yield start
    for each in started:
        each.close()


def test_every_answer_and_vector_has_an_operation():
    made = {path for _, path, endpoint in ENDPOINTS if path in tracing.OPERATIONS}
    assert made == set(tracing.OPERATIONS)


def test_the_span_of_an_answer(traced, tiny):
    server = traced(tiny)
    options = {"temperature": 0.5, "top_p": 0.9, "top_k": 7, "max_tokens": 5, "seed": 3, "ignore_eos": True, "n": 2}
    reply = server.ok(CHAT, model="tiny:latest", messages=QUESTION, **options)
    span = server.span()
    found = dict(span.attributes)
    first = found.pop("gen_ai.response.time_to_first_chunk")
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "qwen3cpu",
        "gen_ai.system": "qwen3cpu",
        "gen_ai.request.model": "tiny:latest",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.top_k": 7,
        "gen_ai.request.max_tokens": 5,
        "gen_ai.request.seed": 3,
        "gen_ai.request.choice.count": 2,
        "gen_ai.response.id": reply["id"],
        "gen_ai.response.model": "tiny",
        "gen_ai.response.finish_reasons": ("length", "length"),
        "gen_ai.usage.input_tokens": reply["usage"]["prompt_tokens"],
        "gen_ai.usage.cache_read.input_tokens": reply["usage"]["prompt_tokens_details"]["cached_tokens"],
        "gen_ai.usage.output_tokens": 10,
        "gen_ai.usage.reasoning.output_tokens": reply["usage"]["completion_tokens_details"]["reasoning_tokens"],
        "http.request.method": "POST",
        "http.route": CHAT,
        "http.response.status_code": 200,
    }
    (event,) = span.events
    assert event.name == "gen_ai.first_token"
    assert event.timestamp == span.start_time + int(first * 1e9)
    assert span.start_time < event.timestamp < span.end_time
    assert (span.name, span.kind, span.parent) == ("chat tiny", SpanKind.SERVER, None)
    assert span.status.status_code is StatusCode.UNSET
    assert "secret" not in span.to_json()


@pytest.mark.parametrize(
    ("path", "body", "operation"),
    [
        ("/v1/completions", {"prompt": ["A secret", "no"], "max_tokens": 2}, "text_completion"),
        ("/v1/responses", {"input": "A secret", "max_output_tokens": 2}, "chat"),
        ("/v1/messages", {"messages": QUESTION, "max_tokens": 2}, "chat"),
        ("/api/chat", {"messages": QUESTION, "options": {"num_predict": 2}}, "chat"),
        ("/api/generate", {"prompt": "A secret", "options": {"num_predict": 2}}, "text_completion"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_every_endpoint_for_answers(traced, tiny, path, body, operation, stream):
    server = traced(tiny)
    response = server.post(path, {**body, "stream": stream})
    assert response.status_code == 200, response.text
    span = server.span()
    assert span.name == f"{operation} tiny"
    assert span.attributes["gen_ai.request.max_tokens"] == 2
    assert span.attributes["gen_ai.request.stream"] is stream
    assert 1 <= span.attributes["gen_ai.usage.output_tokens"] <= 4
    assert span.attributes["gen_ai.usage.input_tokens"] > 0
    if not stream and path.startswith("/v1"):
        assert span.attributes["gen_ai.response.id"] == response.json()["id"]
    assert "error.type" not in span.attributes
    assert "secret" not in span.to_json()


def test_vectors(traced):
    server = traced(qwen3cpu.load("tiny-embedding", threads=1), model_name="vectors")
    usage = server.ok("/v1/embeddings", input=["A secret", "b"], encoding_format="base64", dimensions=32)["usage"]
    span = server.span()
    assert span.name == "embeddings vectors"
    assert span.attributes["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert span.attributes["gen_ai.request.encoding_formats"] == ("base64",)
    assert span.attributes["gen_ai.embeddings.dimension.count"] == 32
    assert "secret" not in span.to_json()


def test_the_parent_is_the_clients(traced, tiny):
    server = traced(tiny)
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    server.post(CHAT, {"messages": QUESTION, "max_tokens": 1}, headers=headers)
    span = server.span()
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    server.post(CHAT, {"messages": QUESTION, "max_tokens": 1}, headers={"traceparent": "nonsense"})
    assert server.span().parent is None
    unsampled = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
    server.post(CHAT, {"messages": QUESTION, "max_tokens": 1}, headers=unsampled)
    server.post(CHAT, {"messages": QUESTION, "max_tokens": 1})
    assert server.span().parent is None, "the client's decision not to trace is kept"


def test_errors(traced, tiny):
    server = traced(tiny)
    server.refused(CHAT, {"messages": QUESTION, "temperature": -1, "top_k": 1 << 70}, 400)
    span = server.span()
    assert span.attributes["error.type"] == "invalid_value"
    assert span.attributes["http.response.status_code"] == 400
    assert span.attributes["gen_ai.request.top_k"] == str(1 << 70)
    assert span.status.status_code is StatusCode.ERROR
    server.refused(CHAT, {"messages": QUESTION, "model": "nobody"}, 404)
    span = server.span()
    assert (span.name, span.attributes["error.type"]) == ("chat", "model_not_found")


def test_a_client_that_goes_away(traced, tiny):
    server = traced(tiny)
    body = {"messages": QUESTION, "ignore_eos": True, "stream": True}
    with httpx.Client(base_url=server.url) as client, client.stream("POST", CHAT, json=body) as response:
        next(response.iter_lines())
    span = server.span()
    assert span.attributes["error.type"] == "cancelled"
    assert span.attributes["http.response.status_code"] == 200


def test_a_step_that_fails(traced, random_model, monkeypatch):
    server = traced(random_model)

    def fail():
        raise qwen3cpu.Qwen3CpuError("broken")

    monkeypatch.setattr(server.scheduler._batch, "advance", fail)
    events, _ = server.events(CHAT, messages=QUESTION)
    assert events[-1]["error"]["message"] == "broken"
    assert server.span().attributes["error.type"] == "Qwen3CpuError"


def test_who_has_no_key_makes_no_span(traced, tiny):
    server = traced(tiny, api_key="s3cret")
    assert server.post(CHAT, {"messages": QUESTION}).status_code == 401
    server.http.get("/metrics")
    server.post(CHAT, {"messages": QUESTION, "max_tokens": 1}, headers={"x-api-key": "s3cret"})
    assert server.span().attributes["http.response.status_code"] == 200


def test_a_collector_that_hangs(tiny, monkeypatch, caplog):
    """The server answers, and does not wait for the collector at its end."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    monkeypatch.setattr(tracing, "LAST_SECONDS", 0.05)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as collector:  # accepts connections and sends nothing
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.getsockname()[1]}")
        server = Running(tiny, tracer_provider=tracing.otlp_provider())
        assert server.chat(max_tokens=1)["choices"]
        server.close()
        for thread in threading.enumerate():
            if thread.name == "qwen3cpu-spans":
                thread.join()  # it would continue to send, and log into later tests
    assert "the last spans were not sent" in caplog.text


def test_spans_reach_a_collector():
    """The command, with a collector that records the spans."""
    collector = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    got = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=collect, args=(listener, got))
        thread.start()
        where = f"http://127.0.0.1:{listener.getsockname()[1]}"
        started = Started("--otel", OTEL_EXPORTER_OTLP_ENDPOINT=where, OTEL_EXPORTER_OTLP_COMPRESSION="none")
        try:
            httpx.post(f"{started.url}{CHAT}", json={"messages": QUESTION, "max_tokens": 1}, timeout=60)
        finally:
            assert started.end() == -signal.SIGTERM
        thread.join()
    head, _, body = got[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/traces ")
    (resource,) = collector.ExportTraceServiceRequest.FromString(body).resource_spans
    about = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert (about["service.name"], about["service.version"]) == ("qwen3cpu", qwen3cpu.__version__)
    (span,) = resource.scope_spans[0].spans
    assert span.name == "chat tiny"


def test_without_the_packages(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(qwen3cpu.ArgumentError, match=r"pip install 'qwen3cpu\[otel\]'"):
        tracing.otlp_provider()


def test_a_provider_that_is_closed_in_time():
    closed = []

    class Provider:
        def shutdown(self):
            closed.append(True)

    asyncio.run(tracing.close_provider(Provider()))
    assert closed == [True]


def collect(listener, got):
    """Accept one request, record it and answer it."""
    connection, _ = listener.accept()
    with connection:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(1 << 16)
        head, _, body = data.partition(b"\r\n\r\n")
        (length,) = (
            int(line.split(b":")[1]) for line in head.splitlines() if line.lower().startswith(b"content-length")
        )
        while len(body) < length:
            body += connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    got.append(head + b"\r\n\r\n" + body)
