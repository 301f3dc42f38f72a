"""No request runs long work on the event loop or on the scheduler's thread; time and queue count from arrival."""

import http.client
import json
import socket
import threading

import pydantic
import pytest
from clocks import wait_until

from qwen3cpu.server.api.apply_template import TemplateBody
from qwen3cpu.server.api.bodies import ChatBody, CompletionBody
from qwen3cpu.server.api.detokenize import DetokenizeBody
from qwen3cpu.server.api.responses_input import ResponsesBody
from qwen3cpu.server.api.tokenize import TokenizeBody
from qwen3cpu.server.scheduling.workshop import THREADS

CHAT = "/v1/chat/completions"
QUESTION = {"messages": [{"role": "user", "content": "What is 17 + 25?"}]}
POSTS = {
    CHAT: {**QUESTION, "max_tokens": 1, "logprobs": True},
    "/v1/completions": {"prompt": "17 + 25", "max_tokens": 1, "logprobs": 1, "echo": True},
    "/v1/responses": {"input": "17 + 25", "max_output_tokens": 1},
    "/v1/messages": {**QUESTION, "max_tokens": 1},
    "/v1/messages/count_tokens": QUESTION,
    "/api/chat": {**QUESTION, "options": {"num_predict": 1}, "logprobs": True},
    "/api/generate": {"prompt": "17 + 25", "options": {"num_predict": 1}, "context": [1, 2], "stream": False},
    "/tokenize": {"prompt": "17 + 25", "return_token_strs": True},
    "/detokenize": {"tokens": [1, 2]},
    "/apply-template": QUESTION,
}

LONG = json.dumps({"messages": [{"role": "user", "content": "river " * 20_000}], "max_tokens": 1}).encode()
"""A body for the workshop's thread for long work."""


@pytest.fixture
def held():
    """Takes a thread of a workshop until the returned event is set."""
    events = []

    def hold(server, kind):
        events.append(threading.Event())
        server.lender.workshop._pools[kind].submit(events[-1].wait)
        return events[-1]

    yield hold
    for event in events:
        event.set()


@pytest.mark.parametrize("path", POSTS)
def test_work_on_requests_runs_in_the_workshop(serve, tiny, path, monkeypatch):
    """JSON, encoding, decoding and templates: never on the event loop's thread."""
    seen = set()
    server = serve(tiny)
    loads = json.loads
    monkeypatch.setattr(json, "loads", lambda *a, **k: seen.add(threading.current_thread().name) or loads(*a, **k))
    for name in ("encode", "encode_split", "decode"):
        work = getattr(type(tiny.tokenizer), name)

        def noted(self, *args, work=work, **options):
            seen.add(threading.current_thread().name)
            return work(self, *args, **options)

        monkeypatch.setattr(type(tiny.tokenizer), name, noted)
    response = server.post(path, POSTS[path])
    monkeypatch.undo()
    assert response.status_code == 200, response.text
    allowed = tuple(f"qwen3cpu-{kind}" for kind in (*THREADS, "scheduler"))
    assert [name for name in seen if not name.startswith(allowed) and name != threading.current_thread().name] == []
    assert any(name.startswith(allowed) for name in seen)


def test_long_work_does_not_delay_short_requests(serve, tiny, held):
    """While the threads for large bodies and for grammars are taken, a chat is answered."""
    server = serve(tiny)
    held(server, "long")
    held(server, "grammar")
    assert server.chat(seed=1)["choices"][0]["message"]["content"] == "42."


def test_who_hangs_up_is_never_read(serve, tiny, held, monkeypatch):
    server = serve(tiny)
    lender = server.lender
    read = []
    loads = json.loads
    release = held(server, "long")
    connections = [post(server, LONG) for _ in range(3)]
    wait_until(server, lambda: lender.preparing == 3)
    for connection in connections:
        connection.close()
    wait_until(server, lambda: lender.preparing == 0)
    monkeypatch.setattr(json, "loads", lambda *a, **k: read.append(a) or loads(*a, **k))
    release.set()
    lender.workshop._pools["long"].submit(int).result()  # all earlier work is done
    monkeypatch.undo()
    assert read == []


def test_time_counts_from_arrival(serve, tiny, held):
    """The time also counts while the request waits for a thread that reads its body."""
    server = serve(tiny, timeout=0.2)
    held(server, "long")
    error = server.refused(CHAT, json.loads(LONG), 408)
    assert (error["code"], error["message"]) == ("timeout", "the request took longer than 0.2 seconds")


def test_requests_that_are_prepared_fill_the_queue(serve, tiny, held):
    server = serve(tiny, parallel=1, queue=2)
    lender = server.lender
    release = held(server, "long")
    connections = [post(server, LONG) for _ in range(3)]  # one place in the batch, two in the queue
    wait_until(server, lambda: lender.preparing == 3)
    assert server.refused(CHAT, QUESTION, 429)["code"] == "queue_full"
    release.set()
    for connection in connections:
        connection.close()
    wait_until(server, lambda: lender.preparing == server.scheduler.queued == server.scheduler.running == 0)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": [{"role": "user", "content": "river " * 400_000}]}),
        ("/v1/completions", {"prompt": ["a", "river " * 400_000]}),
        ("/v1/responses", {"input": "river " * 400_000}),
    ],
)
def test_a_text_far_over_the_context_is_refused_unencoded(server, tiny, path, body, monkeypatch):
    longest = []
    encode = type(tiny.tokenizer)._encode_plain
    monkeypatch.setattr(
        type(tiny.tokenizer), "_encode_plain", lambda self, text: longest.append(len(text)) or encode(self, text)
    )
    error = server.refused(path, body, 400)
    assert error["code"] == "context_length_exceeded"
    assert "no token has more than" in error["message"]
    assert max(longest, default=0) < 100


def test_a_body_of_millions_of_containers(server):
    containers = b"{}," * 300_000
    body = b'{"messages": [' + containers[:-1] + b"]}"
    response = server.http.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "body_too_complex"
    text = json.dumps({"prompt": '{"[' * 150_000, "max_tokens": 1})
    response = server.http.post("/tokenize", content=text, headers={"content-type": "application/json"})
    assert response.status_code == 400, "max_tokens is not a field"
    assert "unknown" in response.text


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (ChatBody, {"messages": [5] * 1000}),
        (ChatBody, {"messages": [], "tools": [5] * 1000, "stop": [5] * 1000, "modalities": [5] * 1000}),
        (ChatBody, {"messages": [], "stop_token_ids": ["a"] * 1000}),
        (CompletionBody, {"prompt": [{}] * 1000}),
        (CompletionBody, {"prompt": [[{}] * 1000] * 1000}),
        (ResponsesBody, {"input": [5] * 1000, "include": [5] * 1000, "metadata": {str(i): i for i in range(1000)}}),
        (DetokenizeBody, {"tokens": ["a"] * 1000}),
        (TokenizeBody, {"messages": [5] * 1000, "tools": [5] * 1000}),
        (TemplateBody, {"messages": [5] * 1000}),
    ],
)
def test_the_check_of_a_body_ends_at_the_first_wrong_item(kind, fields):
    """A million errors would be made one by one, with the GIL held."""
    with pytest.raises(pydantic.ValidationError) as error:
        kind.model_validate(kind.translated(fields).body if hasattr(kind, "translated") else fields)
    assert error.value.error_count() <= 5


@pytest.mark.parametrize("field", ["guided_json", "metadata", "tools", "messages", "chat_template_kwargs"])
def test_a_body_that_is_nested_deeply(server, field):
    nested = b'{"a":[' * 300 + b"1" + b"]}" * 300
    value = b"[%s]" % nested if field in ("tools", "messages") else nested
    body = b'{"messages": [{"role": "user", "content": "a"}], "max_tokens": 1, "%s": %s}' % (field.encode(), value)
    response = server.http.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert response.status_code == (200 if field == "metadata" else 400), response.text


def test_a_body_of_thousands_of_fields(server):
    body = {f"f{number}": number for number in range(2000)}
    assert server.refused(CHAT, body, 400)["code"] == "body_too_complex"
    assert server.refused("/tokenize", body, 400)["code"] == "body_too_complex"


def test_the_cached_blocks_are_counted(serve, tiny):
    server = serve(tiny)
    server.chat("What is 17 + 25? " * 20, max_tokens=1)
    lines = server.http.get("/metrics").text.splitlines()
    values = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}
    cached = tiny.engine.prefix_cache.size // tiny.engine.kv_block_bytes
    assert values["qwen3cpu_kv_blocks_cached"] == cached
    assert values["qwen3cpu_requests_preparing"] == 0


# Helpers


def post(server, body):
    """A connection on which a request has been sent."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("POST", CHAT, body, {"content-type": "application/json"})
    assert isinstance(connection.sock, socket.socket)
    return connection
