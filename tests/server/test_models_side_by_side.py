"""Models that are in memory at the same time: loading beside answers, turns for the processor, the limit of waiting."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from clocks import wait_until
from model_folder import CHAT, GENERATE, QUESTION, in_use

from qwen3cpu.server.models.offers import StoredModel
from qwen3cpu.server.scheduling.scheduler import Scheduler


@pytest.fixture
def slow_load(monkeypatch):
    """Models are loaded once the event is set."""
    gate, load = threading.Event(), StoredModel.load
    monkeypatch.setattr(StoredModel, "load", lambda offer: gate.wait() and load(offer))
    yield gate
    gate.set()


def ask(server, model, **options):
    """The text of an answer."""
    reply = server.ok(CHAT, model=model, messages=QUESTION, seed=1, max_tokens=8, **options)
    assert reply["model"] == model
    return reply["choices"][0]["message"]["content"]


def test_others_answer_while_a_model_is_loaded(serve_folder, alone, slow_load):
    server = serve_folder(10.0)
    slow_load.set()
    ask(server, "a")
    slow_load.clear()
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(ask, server, "b") for _ in range(2)]
        wait_until(server, lambda: server.lender.waiting == 2)
        assert ask(server, "a") == alone["a"].generate(QUESTION, seed=1, max_new_tokens=8).text
        assert [model["name"] for model in server.http.get("/api/ps").json()["models"]] == ["a:latest"]
        assert "qwen3cpu_requests_waiting_for_a_model 2.0\n" in server.http.get("/metrics").text
        slow_load.set()
        expected = alone["b"].generate(QUESTION, seed=1, max_new_tokens=8).text
        assert [each.result() for each in waiting] == [expected] * 2
    assert len(server.http.get("/api/ps").json()["models"]) == 2


def test_a_server_that_ends_does_not_wait_for_a_model(serve_folder, slow_load):
    server = serve_folder()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.post, CHAT, {"model": "a", "messages": QUESTION})
        wait_until(server, lambda: server.lender.waiting == 1)
        server.server.should_exit = True
        response = waiting.result()
    assert (response.status_code, response.json()["error"]["code"]) == (503, "shutting_down")


def test_steps_are_made_in_turns(serve_folder, alone, monkeypatch):
    """Each step of each model waits for a turn. While another thread has the turn, no step is made."""
    server = serve_folder(10.0)
    steps, step = [], Scheduler._step

    def noted(scheduler, shared):
        steps.append(scheduler)
        step(scheduler, shared)

    monkeypatch.setattr(Scheduler, "_step", noted)
    for model in "ab":
        server.ok(GENERATE, model=model, prompt="")
    turns = server.lender._turns
    with ThreadPoolExecutor(2) as pool:
        with turns.turn():
            texts = [pool.submit(ask, server, model) for model in "ab"]
            wait_until(server, lambda: len(turns._line) == 2)
            assert steps == []
        expected = [alone[model].generate(QUESTION, seed=1, max_new_tokens=8).text for model in "ab"]
        assert [each.result() for each in texts] == expected
    assert len(set(steps)) == 2


def test_so_many_requests_wait_for_models(serve_folder):
    server = serve_folder(queue=1, parallel=1)
    load_only = {"model": "b", "prompt": ""}
    with ThreadPoolExecutor(2) as pool:
        with in_use(server, "a"):
            waiting = [pool.submit(server.ok, GENERATE, **load_only) for _ in range(2)]
            wait_until(server, lambda: server.lender.waiting == 2)
            response = server.post(CHAT, {"model": "b", "messages": QUESTION})
            assert (response.status_code, response.json()["error"]["code"]) == (429, "queue_full")
            assert int(response.headers["retry-after"]) >= 1
        assert [each.result()["done_reason"] for each in waiting] == ["load"] * 2
