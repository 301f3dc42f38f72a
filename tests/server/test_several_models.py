"""Several models in one server, with memory for one and a half of them."""

import asyncio
import gc
import json
import random
import shutil
import socket
import weakref
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pytest
from clocks import wait_until
from model_folder import CHAT, GENERATE, OPTIONS, QUESTION, in_use

from qwen3cpu.server.models.catalog import Catalog
from qwen3cpu.server.scheduling.service import Service

EMBEDDINGS = "/v1/embeddings"
REQUESTS, CLIENTS = 500, 8


def mapped(folder):
    """The models of a folder that this process has mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {Path(line.split(maxsplit=5)[5]).stem for line in lines if str(folder) in line}


class Question:
    """A request whose answer is known beforehand."""

    def __init__(self, models, seed):
        rng = random.Random(seed)
        self.kind = rng.choice(["chat", "stream", "generate", "embedding"])
        text = "".join(rng.choice("abcdefgh ") for _ in range(rng.randrange(1, 40)))
        if self.kind == "embedding":
            self.model = "vectors"
            self.path, self.body = EMBEDDINGS, {"input": [text, text[::-1]]}
            self.expected = models["vectors"].embed([text, text[::-1]]).tolist()
        else:
            self.model = rng.choice("ab")
            options = {"seed": seed, "temperature": 1.5}
            if self.kind == "generate":
                body = {"prompt": text, "raw": True, "options": {**options, "num_predict": 8}, "stream": False}
                self.path, self.body = GENERATE, body
                self.expected = models[self.model].generate(text, raw=True, max_new_tokens=8, **options).text
            else:
                messages = [{"role": "user", "content": text}]
                body = {"messages": messages, "max_tokens": 8, "stream": self.kind == "stream", **options}
                self.path, self.body = CHAT, body
                result = models[self.model].generate(messages, max_new_tokens=8, **options)
                self.expected = (result.reasoning, result.text)
        self.body["model"] = self.model

    async def ask(self, http):
        response = await http.post(self.path, json=self.body)
        assert response.status_code == 200, response.text
        if self.kind == "stream":
            lines = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
            assert lines.pop() == "[DONE]"
            deltas = [httpx.Response(200, content=line).json()["choices"][0]["delta"] for line in lines]
            return tuple(
                "".join(delta.get(part) or "" for delta in deltas) for part in ("reasoning_content", "content")
            )
        reply = response.json()
        if self.kind == "embedding":
            return [item["embedding"] for item in reply["data"]]
        if self.kind == "generate":
            return reply["response"]
        message = reply["choices"][0]["message"]
        return message.get("reasoning_content") or "", message["content"]


@pytest.mark.heavy
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc/PID/maps")
def test_mixed_requests_take_turns(serve_folder, folder, alone, monkeypatch, tmp_path):
    """Each answer is that of its model alone; no model leaves memory while it is in use; memory is freed."""
    for name in ("a", "b", "vectors"):
        shutil.copy(folder / f"{name}.qwen3", tmp_path)
    questions = [Question(alone, seed) for seed in range(40)]
    assert {question.model for question in questions} == {"a", "b", "vectors"}
    server = serve_folder(folder=tmp_path)
    lender = server.lender
    ends, close = Counter(), Service.close

    def closed(service):
        scheduler = service.scheduler
        ends[service.settings.model_name] += 1
        left = scheduler.running + scheduler.queued
        if left:
            ends["in use"] += left
        close(service)

    monkeypatch.setattr(Service, "close", closed)
    seen = Counter()

    async def client(http, work):
        while work:
            question = questions[random.Random(work.pop()).randrange(len(questions))]
            assert await question.ask(http) == question.expected, question.body
            seen[question.model] += 1
            assert lender.bytes <= lender.settings.memory
            assert len(lender.loaded()) <= 1

    async def run():
        work = list(range(REQUESTS))
        limits = httpx.Limits(max_connections=CLIENTS)
        async with httpx.AsyncClient(base_url=server.url, timeout=600, limits=limits) as http:
            await asyncio.gather(*(client(http, work) for _ in range(CLIENTS)))

    asyncio.run(run())
    assert sum(seen.values()) == REQUESTS
    assert "in use" not in ends
    assert all(ends[name] >= 3 for name in ("a", "b", "vectors")), "they have taken turns"
    (held,) = lender.loaded()
    name = held.offer.name
    assert mapped(tmp_path) == {name}
    path, nothing = ("/api/embed", "input") if name == "vectors" else (GENERATE, "prompt")
    server.ok(path, **{"model": name, nothing: "", "keep_alive": 0})
    wait_until(server, lambda: not any(held.bytes for held in lender.known()))
    assert mapped(tmp_path) == set()
    counted = server.http.get("/metrics").text
    for name in ("a", "b", "vectors"):
        assert f'qwen3cpu_jobs_total{{end="finished",model="{name}"}} {seen[name]}.0\n' in counted
    assert "qwen3cpu_models_loaded 0.0\n" in counted


def test_the_list_says_what_each_is(serve_folder):
    server = serve_folder()
    cards = {card["id"]: card for card in server.http.get("/v1/models").json()["data"]}
    assert {name: card["task"] for name, card in cards.items()} == {
        "a": "generation",
        "b": "generation",
        "scores-reranker": "reranking",
        "vectors": "embedding",
    }
    assert not any(card["loaded"] for card in cards.values())
    server.ok(CHAT, model="b", messages=QUESTION, max_tokens=1)
    assert server.http.get("/v1/models/b").json() == {**cards["b"], "loaded": True}
    listed = {card["name"]: card for card in server.http.get("/api/tags").json()["models"]}
    assert set(listed) == {"a:latest", "b:latest", "scores-reranker:latest", "vectors:latest"}
    (running,) = server.http.get("/api/ps").json()["models"]
    assert running["name"] == "b:latest"
    assert running["digest"] == listed["b:latest"]["digest"] != listed["a:latest"]["digest"]
    assert running["size"] > listed["b:latest"]["size"] > 0
    assert server.ok("/api/show", model="vectors")["capabilities"] == ["embedding"]
    assert [held.offer.name for held in server.lender.loaded()] == ["b"], "nothing of this loads a model"


def test_what_is_told_of_a_model_is_the_same_before_and_after_it_is_loaded(serve_folder, alone):
    server = serve_folder()
    for name, model in alone.items():
        about = server.lender.catalog.find(name).describe()
        assert (about.task, about.quant, about.context) == (model.task, model.quant, model.context)
        assert (about.weight_bytes, about.fingerprint) == (model.weight_bytes, model.fingerprint)
        assert about.kv_block_bytes == model.engine.kv_block_bytes
        assert about.chat_template == model.chat_template
        assert about.thinks == (model.tokenizer.think is not None)
        assert about.calls == (model.tokenizer.tool_call is not None)


def test_a_request_without_a_model_gets_the_first_that_can_do_it(serve_folder, alone):
    server = serve_folder()
    assert server.ok(CHAT, messages=QUESTION, max_tokens=1)["model"] == "a"
    reply = server.ok(EMBEDDINGS, input="hello")
    assert reply["model"] == "vectors"
    assert (np.array(reply["data"][0]["embedding"], np.float32) == alone["vectors"].embed("hello")).all()
    reply = server.ok("/v1/rerank", query="q", documents=["x", "y"])
    assert (reply["model"], len(reply["results"])) == ("scores-reranker", 2)
    ids = server.ok("/tokenize", prompt="hello", model="vectors")["tokens"]
    assert ids == alone["vectors"].tokenizer.encode("hello", control_tokens=True)
    assert server.ok("/detokenize", tokens=ids)["text"] == "hello"
    assert server.http.get("/tokenizer_info", params={"model": "b"}).json()["model_max_length"] == 256


def test_a_name_that_is_none_of_them(serve_folder):
    """The error has the form of each API, and the closest name."""
    server = serve_folder()
    words = "the model 'vector' is not here; did you mean 'vectors'?"
    error = server.refused(EMBEDDINGS, {"model": "vector", "input": "a"}, 404)
    assert (error["message"], error["type"], error["code"]) == (words, "not_found_error", "model_not_found")
    assert error["param"] == "model"
    assert server.refused("/api/embed", {"model": "vector", "input": "a"}, 404) == words
    body = {"model": "vector", "messages": QUESTION, "max_tokens": 1}
    assert server.refused("/v1/messages", body, 404) == {"type": "not_found_error", "message": words}
    assert server.http.get("/v1/models/vector").status_code == 404
    assert server.lender.loaded() == []


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (CHAT, {"model": "vectors", "messages": QUESTION}, "vectors is an embedding model, not a language model"),
        (EMBEDDINGS, {"model": "a", "input": "a"}, "a is a language model, not an embedding model"),
        (CHAT, {"model": 5, "messages": QUESTION}, "model: input should be a valid string"),
        (CHAT, {"model": "b", "messages": "no list"}, "messages: input should be a valid list"),
    ],
    ids=str,
)
def test_a_request_that_is_refused_loads_nothing(serve_folder, path, body, words):
    server = serve_folder()
    assert server.refused(path, body, 400)["message"].startswith(words)
    assert server.lender.known() == []


def test_a_model_that_does_not_fit(serve_folder):
    server = serve_folder(0.5)
    response = server.post(CHAT, {"model": "a", "messages": QUESTION})
    assert (response.status_code, response.headers["x-should-retry"]) == (507, "false")
    assert response.json()["error"]["code"] == "model_too_large"
    assert "larger --memory" in response.json()["error"]["message"]


def test_a_model_whose_files_are_damaged(serve, folder, tmp_path):
    (tmp_path / "good.qwen3").symlink_to(folder / "a.qwen3")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")
    server = serve(Catalog([], tmp_path, OPTIONS), model_name="")
    assert [card["id"] for card in server.http.get("/v1/models").json()["data"]] == ["good"]
    assert "bad.gguf" in server.refused(CHAT, {"model": "bad.gguf", "messages": QUESTION}, 500)["message"]
    assert server.ok(CHAT, messages=QUESTION, max_tokens=1)["model"] == "good"


def test_the_time_limit_counts_while_a_request_waits_for_its_model(serve_folder):
    server = serve_folder(timeout=0.5)
    with in_use(server, "a"):
        error = server.refused(CHAT, {"model": "b", "messages": QUESTION, "max_tokens": 1}, 408)
    assert error["code"] == "timeout"
    assert server.lender.waiting == 0


def test_a_client_that_hangs_up_while_it_waits_is_forgotten(serve_folder):
    server = serve_folder()
    lender = server.lender
    with in_use(server, "a"):
        body = json.dumps({"model": "b", "messages": QUESTION}).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            wait_until(server, lambda: lender.waiting == 1)
        wait_until(server, lambda: lender.waiting == lender.preparing == 0)
    assert server.ok(CHAT, model="a", messages=QUESTION, max_tokens=1)["model"] == "a"
    assert "b" not in {held.offer.name for held in lender.known() if held.stats.jobs}


def test_a_model_in_use_is_not_deleted(serve_folder, folder, tmp_path):
    shutil.copy(folder / "a.qwen3", tmp_path)
    server = serve_folder(folder=tmp_path, names="a", manage_models=True)

    def delete():
        return server.http.request("DELETE", "/api/delete", json={"model": "a"})

    with in_use(server, "a"):
        refused = delete()
        assert (refused.status_code, refused.json()) == (409, {"error": "the model 'a' is in use"})
    wait_until(server, lambda: not server.lender.loaded()[0].users)
    assert delete().status_code == 200
    assert (server.lender.known(), list(tmp_path.iterdir())) == ([], [])
    assert delete().status_code == 404


def test_a_short_time_to_live(serve_folder, clock):
    """Times of models use the clock for the time limits of connections."""
    server = serve_folder(model_keep_alive=60.0)
    lender = server.lender
    lender._clock = lambda: clock._seconds
    server.ok(CHAT, model="a", messages=QUESTION, max_tokens=1)
    wait_until(server, lambda: lender.loaded()[0].idle)  # it is given back after its response has been sent
    clock.put_forward(server, 59)
    assert [held.offer.name for held in lender.loaded()] == ["a"]
    clock.put_forward(server, 1)
    wait_until(server, lambda: not any(held.bytes for held in lender.known()))
    assert server.ok(CHAT, model="a", messages=QUESTION, max_tokens=1)["model"] == "a"


def test_an_unloaded_model_is_gone(serve_folder):
    """Its objects are freed without a garbage collection."""
    server = serve_folder(1000.0)
    gc.disable()
    try:
        for stream in (False, True):
            server.post(CHAT, {"model": "a", "messages": QUESTION, "max_tokens": 1, "stream": stream})
            server.post("/v1/completions", {"model": "a", "prompt": ["a", "b"], "max_tokens": 1, "stream": stream})
            server.post("/v1/responses", {"model": "a", "input": "a", "max_output_tokens": 1, "stream": stream})
            server.post(GENERATE, {"model": "a", "prompt": "a", "options": {"num_predict": 1}, "stream": stream})
        server.ok("/tokenize", model="a", prompt="a")
        for count in (1, 200):
            server.ok(EMBEDDINGS, model="vectors", input=["a"] * count)
        server.ok("/v1/rerank", model="scores-reranker", query="q", documents=["a"])
        services = [held.service for held in server.lender.loaded()]
        left = [weakref.ref(part) for service in services for part in (service.model, service.scheduler)]
        left += [weakref.ref(service.model.engine) for service in services]
        assert len(left) == 9
        del services
        for held in server.lender.loaded():
            held.keep = 0.0
        wait_until(server, lambda: not any(held.bytes for held in server.lender.known()))
        assert [part() for part in left] == [None] * 9
    finally:
        gc.enable()
