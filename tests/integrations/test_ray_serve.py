"""Ray Serve: replicas are added and lost, and no answer changes."""

import importlib
import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Lock
from types import SimpleNamespace

import httpx
import pytest

pytest.importorskip("ray.serve", reason="pip install 'qwen3cpu[ray]'")

import yaml
from ray import serve
from ray_clusters import application, ray_cluster, serve_started

import qwen3cpu
from qwen3cpu.engine.formats import KV_BLOCK
from qwen3cpu.errors import ArgumentError
from qwen3cpu.integrations.ray_serve import app, replicas_by_tokens
from qwen3cpu.integrations.ray_serve.routing import beginning_of, ranked

pytestmark = pytest.mark.filterwarnings("ignore")  # of the library and what it imports

LONG = {"model": "tiny", "max_tokens": 200, "ignore_eos": True, "reasoning_effort": "none"}


@pytest.fixture(scope="module")
def http():
    with ray_cluster(num_cpus=4), serve_started() as url, httpx.Client(base_url=url, timeout=None) as client:
        yield client


def asked(number):
    return [{"role": "user", "content": f"What is {number} + 1?"}]


def stream(http, number, begun=lambda: None):
    """(the text of a stream, its error or None, whether it was ended by [DONE])."""
    text, error, done = "", None, False
    body = {**LONG, "messages": asked(number), "seed": number, "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.status_code == 200, response.read()
        for line in response.iter_lines():
            if not line.startswith("data: "):
                continue
            begun()
            if line == "data: [DONE]":
                done = True
                continue
            event = json.loads(line[6:])
            error = event.get("error", error)
            text += "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ()))
    return text, error, done


@pytest.fixture(scope="module")
def expected():
    """The text of each stream, from the model alone."""
    tiny = qwen3cpu.load("tiny", threads=1)
    options = {"max_new_tokens": 200, "ignore_eos": True, "thinking": False}
    return [tiny.generate(asked(number), seed=number, **options).text for number in range(64)]


def test_a_replica_that_is_killed_under_64_streams(http, expected):
    with application(replicas=2):
        handle = serve.get_deployment_handle("engine", "default")
        process = handle.process.remote().result()
        lock, counts = Lock(), {"begun": 0, "killed": False}

        def begun():
            with lock:
                counts["begun"] += 1
                if counts["begun"] > 200 and not counts["killed"]:
                    counts["killed"] = True
                    os.kill(process, signal.SIGKILL)

        with ThreadPoolExecutor(64) as pool:
            found = list(pool.map(lambda number: stream(http, number, begun), range(64)))
        assert counts["killed"]
        whole = [number for number, (_, error, _) in enumerate(found) if error is None]
        lost = [number for number, (_, error, _) in enumerate(found) if error is not None]
        for number in whole:
            assert found[number] == (expected[number], None, True)
        for number in lost:
            text, error, _ = found[number]
            assert error["code"] == "replica_lost"
            assert expected[number].startswith(text)
        assert whole
        assert lost
        assert stream(http, 3) == (expected[3], None, True)


def test_the_turns_of_conversations_find_their_cache(http):
    count, turns, found, of = 24, 5, 0, 0
    with application(replicas=2):
        system = [{"role": "system", "content": f"You are number {number}. " * 20} for number in range(count)]
        conversations = [[system[number], *asked(number)] for number in range(count)]
        before = [0] * count
        for turn in range(turns):
            for number, messages in enumerate(conversations):
                body = {"model": "tiny", "messages": messages, "seed": turn, "max_tokens": 24}
                reply = http.post("/v1/chat/completions", json=body).json()
                usage = reply["usage"]
                if turn:
                    of += 1
                    found += (
                        usage["prompt_tokens_details"]["cached_tokens"] >= before[number] // KV_BLOCK * KV_BLOCK > 0
                    )
                before[number] = usage["prompt_tokens"]
                answer = reply["choices"][0]["message"]["content"] or ""
                messages += [{"role": "assistant", "content": answer}, *asked(turn)]
        told = [http.get("/metrics").text for _ in range(8)]
    assert found >= 0.95 * of
    assert len({line for text in told for line in text.splitlines() if "process_resident" in line}) > 1


def test_replicas_follow_the_tokens_and_finish_what_they_have(http, expected):
    with application(replicas=[1, 2], tokens_per_replica=1000):

        def running():
            engine = serve.status().applications["default"].deployments["engine"]
            return engine.replica_states.get("RUNNING", 0)

        assert running() == 1
        with ThreadPoolExecutor(16) as pool:
            for _ in range(200):
                assert list(pool.map(lambda number: stream(http, number)[0], range(16))) == expected[:16]
                if running() == 2:
                    break
        assert running() == 2
        started = Barrier(5)
        with ThreadPoolExecutor(4) as pool:

            def first_token_waits(number):
                waits = iter([started.wait])
                return stream(http, number, lambda: next(waits, lambda: None)())

            streams = [pool.submit(first_token_waits, number) for number in range(4)]
            started.wait()
            serve.delete("default")
            for number, each in enumerate(streams):
                assert each.result() == (expected[number], None, True)


def test_a_beginning_is_that_of_all_turns():
    system, first = {"role": "system", "content": "s"}, {"role": "user", "content": "a"}
    more = [{"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]

    def of(**body):
        return beginning_of(json.dumps(body).encode())

    turns = of(messages=[system, first])
    assert turns == of(messages=[system, first, *more])
    assert turns != of(messages=[first])
    assert turns != of(messages=[system, more[1]])
    assert turns != of(messages=[system, first], tools=[{"type": "function"}])
    assert of(input="x" * 600) == of(input="x" * 700) != of(input="y" * 600)
    assert of(input=[first], instructions="i") == of(input=[first, *more], instructions="i") != of(input=[first])
    assert [of(model="tiny"), beginning_of(b""), beginning_of(b"[1]")] == [None] * 3


def test_a_replica_that_comes_or_goes_moves_only_its_own():
    names = [f"replica {number}" for number in range(5)]
    for number in range(200):
        order = [names[place] for place in ranked(str(number), names)]
        assert sorted(order) == names
        fewer = [name for name in names if name != order[0]]
        assert [fewer[place] for place in ranked(str(number), fewer)] == order[1:]
    chosen = [ranked(str(number), names)[0] for number in range(1000)]
    assert min(map(chosen.count, range(5))) > 150


def test_the_policy():
    def wanted(tokens, current=1, requests=0):
        context = SimpleNamespace(
            aggregated_metrics={"tokens": tokens},
            current_num_replicas=current,
            total_num_requests=requests,
            policy_state={"kept": 1},
        )
        return replicas_by_tokens(1000)(context)

    assert wanted({"a": 1500.0, "b": 600.0}) == (3, {"kept": 1})
    assert wanted({})[0] == 0
    assert wanted({}, current=0, requests=1)[0] == 1
    with pytest.raises(ArgumentError, match="tokens_per_replica"):
        replicas_by_tokens(0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "model: expected a path"),
        ({"model": "tiny", "modle": 1}, "arguments: unknown 'modle'"),
        ({"model": "tiny", "server": {"paralel": 3}}, "parallel"),
        ({"model": "tiny", "server": {"adapters_dir": "x"}}, "server: unknown 'adapters_dir'"),
        ({"model": "tiny", "replicas": [3, 2]}, "replicas"),
        ({"model": "tiny", "cpus": 0}, "cpus"),
    ],
)
def test_wrong_arguments(arguments, told):
    with pytest.raises(ArgumentError, match=told):
        app(arguments)


def test_the_file_in_the_documentation():
    page = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (application,) = yaml.safe_load(text)["applications"]
    module, _, name = application["import_path"].partition(":")
    assert getattr(importlib.import_module(module), name) is app
    app(application["args"])
