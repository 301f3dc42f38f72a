"""Behaviour of all endpoints: errors, keys, hosts, limits, streams, the end of the server."""

import gzip
import http.client
import json
import re
import socket
import threading
import time

import httpx
import pytest
from clocks import wait_until

import qwen3cpu
from qwen3cpu.server.settings import Settings

QUESTION = {"messages": [{"role": "user", "content": "What is 17 + 25?"}]}
ENDLESS = {**QUESTION, "ignore_eos": True, "seed": 1}
CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", CHAT, 405),
        ("POST", "/health", 405),
        ("DELETE", "/", 405),
        ("GET", "/../x", 404),
    ],
)
def test_wrong_paths_and_methods(server, method, path, status):
    response = server.http.request(method, path)
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert response.request.url.path in error["message"]
    assert status == 404 or f"methods {response.headers['allow']}, found {method}" in error["message"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1]", "expected a JSON object, found a list"),
        (b"null", "expected a JSON object, found null"),
        (b'{"temperature": NaN, "messages": []}', "NaN is not a JSON number"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "expected numbers of at most 4300 digits in the body"),
        (b'{"messages": ' + b"[" * 100_000, "not JSON"),
        (b'{"messages": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}", "nested too deeply"),
    ],
    ids=lambda value: str(value)[:30],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/tokenize", "/v1/embeddings"])
def test_bodies_that_are_no_object(server, content, words, path):
    response = server.http.post(path, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert words in response.json()["error"]["message"]


def test_another_content_type(server):
    response = server.http.post(CHAT, content=json.dumps(QUESTION), headers={"content-type": "text/plain"})
    assert response.status_code == 415
    assert "application/json" in response.json()["error"]["message"]


def test_a_packed_body(server):
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    response = server.http.post(CHAT, content=gzip.compress(b"{}"), headers=headers)
    assert response.status_code == 415
    assert response.json()["error"]["message"] == "expected a body without a Content-Encoding, found 'gzip'"


def test_small_writes_are_sent_at_once(server):
    """Without TCP_NODELAY an answer on a connection that is kept waits 40 ms for the client's acknowledgement."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", "/health")
    assert connection.getresponse().read()
    accepted = [each.transport.get_extra_info("socket") for each in server.server.server_state.connections]
    peers = {each.getpeername(): each for each in accepted}
    own = peers[connection.sock.getsockname()]
    assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    connection.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_huge_body(server, chunked):
    data = b'{"messages": "' + b"a" * (9 << 20) + b'"}'
    content = iter([data[: 1 << 20], data[1 << 20 :]]) if chunked else data
    response = server.http.post(CHAT, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 413
    error = response.json()["error"]
    assert error["code"] == "body_too_large"
    assert error["message"] == f"the body is too large: expected at most {8 << 20} bytes, found {len(data)}"
    assert server.chat(max_tokens=1)


def test_too_many_messages_and_tools(server):
    error = server.refused(CHAT, {"messages": QUESTION["messages"] * 2049}, 400)
    assert error["message"] == "messages: expected at most 2048, found 2049"
    tool = {"type": "function", "function": {"name": "f"}}
    error = server.refused(CHAT, {**QUESTION, "tools": [tool] * 129}, 400)
    assert error["message"] == "tools: expected at most 128, found 129"


def test_an_api_key(serve, tiny):
    server = serve(tiny, api_key="s3cret")
    assert server.http.get("/health").status_code == 200
    assert server.http.get("/").status_code == 200
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "s3cret"},
        {"authorization": "Basic s3cret"},
    ):
        response = server.http.get("/v1/models", headers=headers)
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "invalid_api_key"
    assert server.http.get("/metrics").status_code == 401
    assert server.http.get("/v1/models", headers={"authorization": "Bearer s3cret"}).status_code == 200
    raw = http.client.HTTPConnection("127.0.0.1", server.port)
    raw.putrequest("GET", "/v1/models")
    raw.putheader("Authorization", b"Bearer s3cr\xe9t")
    raw.endheaders()
    assert raw.getresponse().status == 401
    raw.close()


def test_no_page_from_elsewhere(serve, tiny):
    server = serve(tiny, hosts=("127.0.0.1",))
    assert server.http.get("/v1/models").status_code == 200
    response = server.http.get("/v1/models", headers={"host": "rebound.example"})
    assert response.status_code == 421
    error = response.json()["error"]
    assert error["code"] == "wrong_host"
    assert error["message"].endswith("or one of 127.0.0.1, found 'rebound.example'")
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 421")
    assert b"found no Host header" in received
    assert (
        "access-control-allow-origin" not in server.http.get("/health", headers={"origin": "http://a.example"}).headers
    )


def test_origins_that_are_allowed(serve, tiny):
    server = serve(tiny, cors_origins=("http://a.example",), api_key="k")
    for origin, allowed in (("http://a.example", "http://a.example"), ("http://b.example", None)):
        response = server.http.get("/health", headers={"origin": origin})
        assert response.headers.get("access-control-allow-origin") == allowed
    asked = {"origin": "http://a.example", "access-control-request-method": "POST"}
    preflight = server.http.options(CHAT, headers={**asked, "access-control-request-headers": "authorization"})
    assert preflight.status_code == 200, "a preflight carries no key"
    refused = server.http.get("/v1/models", headers={"origin": "http://a.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "http://a.example"


def test_a_full_queue(serve, tiny):
    server = serve(tiny, parallel=1, queue=1)
    hold(server)
    streams = [open_stream(server) for _ in range(2)]
    response = server.post(CHAT, QUESTION)
    assert response.status_code == 429
    assert response.json()["error"]["code"] == "queue_full"
    assert 1 <= int(response.headers["retry-after"]) <= 60
    for stream in streams:
        stream.close()
    let_go(server)
    wait_until(server, lambda: server.scheduler.queued == server.scheduler.running == 0)
    assert server.chat(max_tokens=1)


def test_a_request_with_many_prompts_takes_one_place(serve, tiny):
    server = serve(tiny, parallel=1, queue=1)
    assert len(server.ok("/v1/completions", prompt=["1"] * 256, max_tokens=1)["choices"]) == 256


def test_a_request_that_takes_too_long(serve, tiny):
    server = serve(tiny, timeout=0.05)
    response = server.post(CHAT, ENDLESS)
    assert response.status_code == 408
    assert response.headers["x-should-retry"] == "false"
    assert "longer than 0.05 seconds" in response.json()["error"]["message"]


def test_a_stream_that_takes_too_long(serve, tiny):
    """The shortest limit with which this machine starts the stream. A shorter one gives the reply of the test above."""
    status, seconds = 408, 0.05
    while status == 408:
        server = serve(tiny, timeout=seconds)
        with server.http.stream("POST", CHAT, json={**ENDLESS, "stream": True}) as response:
            status, lines = response.status_code, list(response.iter_lines())
        limit, seconds = seconds, 2 * seconds
    assert status == 200
    error = json.loads(next(line for line in reversed(lines) if line.startswith("data: {"))[6:])["error"]
    assert f"longer than {limit:g} seconds" in error["message"]


def test_comments_while_nothing_comes(serve, tiny):
    server = serve(tiny, keep_alive=0.02)
    hold(server)
    with server.http.stream("POST", CHAT, json={**QUESTION, "stream": True}) as response:
        lines = response.iter_lines()
        seen = [line for line in (next(lines) for _ in range(9)) if line.startswith(":")]
        assert seen
        let_go(server)
        assert list(lines)[-2] == "data: [DONE]"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away(serve, tiny, stream):
    """Its answer ends with the current step."""
    server = serve(tiny)
    hold(server)
    connection = socket.create_connection(("127.0.0.1", server.port))
    body = json.dumps({**ENDLESS, "stream": stream}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    wait_until(server, lambda: server.scheduler.running == 1)
    connection.close()
    wait_until(server, lambda: any(job.cancelled for job in server.scheduler._jobs.values()))
    let_go(server)
    wait_until(server, lambda: server.scheduler.stats.jobs["cancelled"] == 1)
    assert server.scheduler.running == 0
    assert server.scheduler.stats.completion_tokens <= 1


def test_an_error_in_the_engine(serve, tiny, monkeypatch):
    server = serve(tiny)

    def fail(batch):
        raise MemoryError("of 7 bytes")

    with monkeypatch.context() as patch:
        patch.setattr(tiny.engine, "forward", fail)
        error = server.refused(CHAT, QUESTION, 500)
        assert error == {"message": "internal error", "type": "server_error", "param": None, "code": "internal_error"}
        events, _ = server.events(CHAT, **QUESTION)
        assert events[-1] == {"error": error}
    assert server.chat(seed=1)["choices"][0]["message"]["content"] == "42."


def test_requests_under_way_are_finished_when_the_server_stops(serve, tiny):
    server = serve(tiny, grace=600)
    hold(server)
    found = []
    body = {**QUESTION, "seed": 1}
    asking = threading.Thread(target=lambda: found.append(httpx.post(server.url + CHAT, json=body, timeout=600)))
    asking.start()
    wait_until(server, lambda: server.scheduler.running == 1)
    server.server.should_exit = True
    wait_until_stopping(server)
    let_go(server)
    asking.join()
    assert found[0].json()["choices"][0]["message"]["content"] == "42."


def test_what_outlasts_the_grace_is_cut(serve, tiny):
    server = serve(tiny, grace=0)
    hold(server)
    found = []
    asking = threading.Thread(target=lambda: found.append(httpx.post(server.url + CHAT, json=ENDLESS, timeout=600)))
    asking.start()
    wait_until(server, lambda: server.scheduler.running == 1)
    server.server.should_exit = True
    wait_until_stopping(server)
    let_go(server)
    asking.join()
    assert found[0].status_code == 503
    assert found[0].json()["error"]["code"] == "shutting_down"


def test_health_of_a_server_that_stops(serve, tiny):
    server = serve(tiny)
    assert server.http.get("/health").json() == {"status": "ok", "task": "generation"}
    server.scheduler.stop()
    server.scheduler.join()
    response = server.http.get("/health")
    assert (response.status_code, response.json()) == (503, {"status": "stopped"})
    assert server.refused(CHAT, QUESTION, 503)["code"] == "shutting_down"


def test_settings_have_safe_defaults():
    settings = Settings("tiny")
    assert (settings.api_key, settings.cors_origins) == (None, ())


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        (
            "cors_origins",
            ("*", "null", "https://a.example", "http://localhost:3000", "http://[::1]:80", "app://x"),
            ("foo", "a.example", "https://a.example/", "https://A.example", "https://a.example/x", "", "*.example"),
        ),
        ("hosts", ("a.example", "A.example.:80", "[::1]:8000", "10.0.0.1"), ("http://x/", "x/", "::1", "*", "", "a b")),
    ],
)
def test_names_that_no_request_can_have(name, good, bad):
    Settings(**{name: good})
    for each in bad:
        with pytest.raises(qwen3cpu.ArgumentError, match=f"expected .*, found '{re.escape(each)}'"):
            Settings(**{name: (*good, each)})


# Helpers for a server whose steps wait


def hold(server):
    """Let no step be made until `let_go`."""
    server.gate = threading.Event()
    advance = server.scheduler._batch.advance
    server.scheduler._batch.advance = lambda: server.gate.wait() and advance()


def let_go(server):
    server.gate.set()


def open_stream(server):
    """A stream whose request has been accepted."""
    context = httpx.Client(base_url=server.url, timeout=120)
    context.send(context.build_request("POST", CHAT, json={**ENDLESS, "stream": True}), stream=True)
    return context


def wait_until_stopping(server):
    """Wait for the stop without requests, because the server closes its socket."""
    while not server.scheduler.stopping:
        time.sleep(0.001)
