"""Clients of a stream that do not read it are dropped, and those that read slowly are not."""

import contextlib
import json
import socket

import checkpoints
import pytest
from clocks import wait_until

import qwen3cpu
from qwen3cpu.server import connections

STREAM = json.dumps(
    {
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "ignore_eos": True,
        "reasoning_effort": "none",
        "logprobs": True,
        "top_logprobs": 20,
    }
).encode()
"""An answer that ends only with the context, and has some kilobytes for each token."""
END = b"0\r\n\r\n"
"""The last chunk of an answer that was sent whole."""
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    """A model that answers for minutes."""
    context = 1 << 17
    folder = checkpoints.write_checkpoint(tmp_path_factory.mktemp("long"), max_position_embeddings=context).folder
    return qwen3cpu.load(folder, quant="f32", context=context, threads=1)


@pytest.fixture
def paused(monkeypatch):
    """How often sending to a client has stopped and resumed: [stopped, resumed]."""
    counts = [0, 0]
    for index, name in enumerate(("pause_writing", "resume_writing")):
        method = getattr(connections.GuardedConnection, name)

        def counted(self, method=method, index=index):
            method(self)
            counts[index] += 1

        monkeypatch.setattr(connections.GuardedConnection, name, counted)
    return counts


def test_a_client_that_does_not_read_is_dropped(serve, endless, clock, paused):
    server = serve(endless)
    with stream(server) as client:
        seen = []
        while seen != paused or paused[0] == paused[1]:  # until all buffers are full
            seen = list(paused)
            clock.put_forward(server, 0)
        clock.put_forward(server, connections.STALLED_SECONDS - 1)
        assert server.chat("another", max_tokens=3, ignore_eos=True)["usage"]["completion_tokens"] == 3
        assert (server.scheduler.running, paused) == (1, seen)
        clock.put_forward(server, 2)
        jobs = server.scheduler.stats.jobs
        wait_until(server, lambda: jobs.total() == 2)
        assert (server.scheduler.running, jobs) == (0, {"finished": 1, "cancelled": 1})
        server.assert_nothing_left()
        assert server.chat("another", max_tokens=3, ignore_eos=True)["usage"]["completion_tokens"] == 3
        assert not to_the_end(client).endswith(END)


def test_a_client_that_reads_slowly_is_not_dropped(serve, endless, clock, paused):
    server = serve(endless)
    with stream(server) as client:
        for _ in range(2):
            wait_until(server, lambda: paused[0] == paused[1] + 1)
            clock.put_forward(server, connections.STALLED_SECONDS - 1)
            before = paused[1]
            while paused[1] == before:
                assert client.recv(4096)
        assert server.scheduler.running == 1
    jobs = server.scheduler.stats.jobs
    wait_until(server, lambda: jobs.total() == 1)
    assert jobs == {"cancelled": 1}


# Helpers


@contextlib.contextmanager
def stream(server):
    """A connection on which a stream was requested, with small buffers."""
    server.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # connections inherit it
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(STREAM) + STREAM)
        yield client


def to_the_end(client):
    """The bytes until the server closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(65536):
            received += piece
    return received
