"""A request leaves no reference cycles, because megabytes of text would stay until Python's garbage collection."""

import gc
import time
from contextlib import contextmanager

import pytest

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
SCHEMA = {"type": "object", "properties": {f"k{i}": {"$ref": "#"} for i in range(20)}}


def with_schema(schema):
    return {**HELLO, "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}}


REQUESTS = {
    "a chat": (CHAT, HELLO),
    "a stream": (CHAT, {**HELLO, "stream": True}),
    "two choices": (CHAT, {**HELLO, "n": 2, "logprobs": True}),
    "a prompt": ("/v1/completions", {"prompt": "hello", "max_tokens": 4, "echo": True, "logprobs": 1}),
    "Ollama's stream": ("/api/chat", HELLO),
    "Anthropic's stream": ("/v1/messages", {**HELLO, "model": "tiny", "stream": True}),
    "a schema": (CHAT, with_schema(SCHEMA)),
    "a schema without values": (CHAT, with_schema({"type": "object", "properties": {"a": False}, "required": ["a"]})),
    "a text over the context": (CHAT, {**HELLO, "messages": [{"role": "user", "content": "river " * 50_000}]}),
    "no messages": (CHAT, {"messages": []}),
    "no JSON": (CHAT, None),
    "tokens": ("/tokenize", {"prompt": "hello"}),
}


@contextmanager
def found_by_search(kinds):
    """Collects objects of these kinds that are reachable only by reference cycles."""
    found = []
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += [thing for thing in gc.garbage if kinds(thing)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def is_ours(thing):
    if type(thing).__name__ == "frame":
        return "/qwen3cpu/" in thing.f_code.co_filename
    return type(thing).__module__.startswith("qwen3cpu")


@pytest.mark.parametrize("name", REQUESTS)
def test_nothing_waits_for_the_collector(server, name):
    path, body = REQUESTS[name]
    server.post(path, body)  # the first request makes objects that are kept
    with found_by_search(is_ours) as left:
        for _ in range(3):
            server.post(path, body)
        server.http.get("/health")  # the last of them has ended
    assert left == []


def test_a_client_that_goes_away_leaves_nothing(server):
    def goes_away():
        with server.http.stream(
            "POST", CHAT, json={**HELLO, "stream": True, "max_tokens": 500, "ignore_eos": True}
        ) as reply:
            next(reply.iter_lines())
        while server.scheduler.running:
            time.sleep(0.001)
        server.http.get("/health")

    goes_away()
    with found_by_search(is_ours) as left:
        for _ in range(3):
            goes_away()
    assert left == []


def test_what_is_in_a_cycle_is_found():
    class Ours:
        __module__ = "qwen3cpu.tests"

    with found_by_search(is_ours) as left:
        ours = Ours()
        ours.me = ours
        del ours
    assert [type(thing).__name__ for thing in left] == ["Ours"]
