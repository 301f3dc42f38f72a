"""Connections without a request, slow ones, too many; Host headers; content types; Ctrl-C."""

import contextlib
import json
import signal
import socket
from unittest.mock import ANY

import httpx
import pytest
from running import Started

from qwen3cpu.server import serve as serving
from qwen3cpu.server.connections import HEAD_SECONDS
from qwen3cpu.server.hosts import host_name, is_allowed, is_loopback

CHAT = "/v1/chat/completions"
QUESTION = {"messages": [{"role": "user", "content": "What is 17 + 25?"}]}
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def opened(server, data=b""):
    """A connection on which something has been sent."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    connection.sendall(data)
    return connection


def to_the_end(connection):
    """The bytes until the server closes the connection."""
    received = b""
    with connection, contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            received += piece
    return received


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", b""),
        (b"GET /health HT", b"HTTP/1.1 408"),
        (HEAD + b"Content-Length: 100\r\n\r\n{", b"HTTP/1.1 408"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"HTTP/1.1 408"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health HT", b"HTTP/1.1 200"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n", b"HTTP/1.1 200"),
    ],
    ids=["silent", "half a head", "half a body", "half a chunk", "half a second head", "a body that nobody reads"],
)
def test_silent_and_slow_connections_are_closed(serve, tiny, data, status):
    server = serve(tiny, head_seconds=0.2)
    received = to_the_end(opened(server, data))
    assert received[: len(status)] == status
    assert bool(received) == bool(status)
    assert server.chat(max_tokens=1)


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/chat/completions", lambda told: {"message": told, "type": ANY, "param": None, "code": "timeout"}),
        ("/v1/messages", lambda told: {"type": "timeout_error", "message": told}),
        ("/api/chat", lambda told: told),
    ],
)
def test_a_body_that_comes_too_late(serve, tiny, path, shape):
    """The error has the form of the API, and names the limit."""
    server = serve(tiny, head_seconds=0.2)
    head = HEAD.replace(b"/v1/chat/completions", path.encode())
    received = to_the_end(opened(server, head + b"Content-Length: 100\r\n\r\n{"))
    assert received.startswith(b"HTTP/1.1 408")
    told = "the body of the request did not arrive within 0.2 seconds"
    assert json.loads(received.partition(b"\r\n\r\n")[2])["error"] == shape(told)


@pytest.mark.parametrize("more", [b"", b"Expect: 100-continue\r\n"], ids=["a body", "a question for the body"])
def test_a_body_that_is_announced_as_too_large(serve, tiny, more):
    """It is refused before it comes. A client that asks whether to send it is not told to go on."""
    with opened(serve(tiny), HEAD + more + b"Content-Length: 999999999\r\n\r\n") as connection:
        received = connection.recv(65536)
        while b"}}" not in received:
            received += connection.recv(65536)
        assert received.startswith(b"HTTP/1.1 413")
        assert b"expected at most 8388608 bytes, found 999999999" in received
        assert not more or connection.recv(65536) == b"", "the server closes the connection"


def test_a_request_that_is_answered_before_its_body_comes(serve, tiny, clock):
    """The request ends with its body. The connection then waits for the next request as long as for the first."""
    server = serve(tiny)
    server.server.config.timeout_keep_alive = 3600
    head = HEAD.replace(b"/v1/chat/completions", b"/nowhere")
    with opened(server, head + b"Content-Length: 5\r\n\r\n") as connection:
        assert b"404 Not Found" in connection.recv(65536)
        connection.sendall(b"12345")
        clock.put_forward(server, HEAD_SECONDS + 1)
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b"HTTP/1.1 200 OK" in to_the_end(connection)


def test_a_server_without_a_processor_does_not_blame_its_clients(serve, tiny, clock, monkeypatch):
    """A late sweep, for which the machine had no time, counts like one on time."""
    monkeypatch.setattr(serving, "MOST_STEP", 2.0)
    server = serve(tiny)
    with opened(server, b"GET /health HTTP/1.1\r\nHost: localhost\r\n") as connection:
        clock.put_forward(server, 1000)
        connection.sendall(b"Connection: close\r\n\r\n")
        assert b"HTTP/1.1 200 OK" in to_the_end(connection)


def test_hundreds_of_silent_connections(serve, tiny):
    server = serve(tiny, head_seconds=0.5)
    connections = [opened(server) for _ in range(300)]
    assert server.chat(seed=1)["choices"][0]["message"]["content"] == "42."
    assert {to_the_end(connection) for connection in connections} == {b""}


def test_too_many_connections(serve, tiny):
    server = serve(tiny, connections=4, head_seconds=600)
    assert server.http.get("/health").status_code == 200  # one connection, which is kept
    held = [opened(server) for _ in range(3)]
    refused = to_the_end(opened(server, b"GET /health HTTP/1.1\r\n"))
    assert refused.startswith(b"HTTP/1.1 503")
    assert json.loads(refused.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_many_connections"
    assert server.http.get("/health").status_code == 200
    for connection in held:
        connection.close()


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True), ("127.0.0.2", True), ("127.255.1.9", True), ("::1", True), ("::ffff:127.0.0.1", True),
        ("127.1", True), ("0x7f.1", True), ("0x7F000001", True), ("2130706433", True), ("::1%lo", True),
        ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("128.0.0.1", False), ("localhost", False),
        ("127.0.0.1.example", False), ("", False), ("::ffff:10.0.0.1", False), ("0x7f.example", False),
    ],
)  # fmt: skip
def test_what_loopback_means(address, loopback):
    assert is_loopback(address) == loopback


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        ("localhost", True), ("LocalHost.:8000", True), ("127.0.0.2:80", True), ("[::1]:8000", True), ("0x7f.1", True),
        ("[::ffff:127.0.0.1]", True), ("", False), ("evil.example", False), ("localhost.evil.example", False),
        ("127.0.0.1.nip.example:80", False), ("10.0.0.1", False), ("[::]", False),
    ],
)  # fmt: skip
def test_hosts_that_a_local_server_answers_to(header, allowed):
    assert is_allowed(header, frozenset({host_name("localhost")})) == allowed


@pytest.mark.parametrize("host", ["127.0.0.2", "0x7f.1", "localhost"])
def test_a_server_on_any_loopback_address_refuses_foreign_hosts(host):
    started = Started("--model", "tiny", "--host", host)
    try:
        assert httpx.get(f"{started.url}/health").status_code == 200
        assert httpx.get(f"{started.url}/health", headers={"host": "rebound.example"}).status_code == 421
    finally:
        started.end()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/x-www-form-urlencoded"}, 200),
        ({}, 200),
        ({"content-type": "application/vnd.api+json; charset=utf-8"}, 200),
        ({"content-type": "application/x-www-form-urlencoded", "origin": "http://a.example"}, 415),
        ({"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "cross-site"}, 415),
        ({"content-type": "application/x-www-form-urlencoded", "user-agent": "Mozilla/5.0"}, 415),
        ({"origin": "null"}, 415),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
    ],
)
def test_content_types(server, headers, status):
    """The default type of curl is accepted. Types that a web page may send to any server are refused."""
    response = server.http.post(CHAT, content=json.dumps({**QUESTION, "max_tokens": 1}), headers=headers)
    assert response.status_code == status, response.text
    if status == 415:
        assert "-H 'content-type: application/json'" in response.json()["error"]["message"]


def test_ctrl_c_says_what_it_waits_for_and_a_second_one_ends_it():
    started = Started("--model", "tiny", "--grace", "600")
    body = {**QUESTION, "stream": True, "logit_bias": {"10": 1000.0}, "temperature": 0, "reasoning_effort": "none"}
    body["ignore_eos"] = True
    with httpx.stream("POST", started.url + CHAT, json=body, timeout=60) as response:
        lines = response.iter_lines()
        next(lines)
        started.process.send_signal(signal.SIGINT)
        told = started.process.stderr.readline()
        assert told == "qwen3cpu: waiting for 1 answer, up to 600 seconds; press Ctrl-C again to stop now\n"
        started.process.send_signal(signal.SIGINT)
        last = [line for line in lines if line.startswith("data:")][-1]
    assert json.loads(last[6:])["error"]["code"] == "shutting_down"
    assert started.process.stderr.read() == "qwen3cpu: stopped; answers cut off: 1\n"
    started.process.stderr.close()
    assert started.process.wait() == 130
