"""Many concurrent requests for vectors: shared passes, large beside small ones, disconnects, limits, counters."""

import http.client
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from clocks import wait_until
from retrieval_models import write_embedding_model
from running import Running

import qwen3cpu
from qwen3cpu.server.api import vectors_reply
from qwen3cpu.server.scheduling.workshop import THREADS

PATH = "/v1/embeddings"
END = b"0\r\n\r\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedding") / "model"
    write_embedding_model(folder, max_position_embeddings=512)
    return qwen3cpu.load(folder, quant="q8", threads=1)


@pytest.fixture
def start(model):
    """Starts servers of the model with given settings and closes them."""
    started = []

    def make(**settings):
        started.append(Running(model, **settings))
        return started[-1]

    yield make
    for each in started:
        each.close()


class Gate(threading.Event):
    """Lets passes run only while it is set, and the given number of passes more."""

    def __init__(self):
        super().__init__()
        self.permits = threading.Semaphore(0)

    def let(self, passes):
        self.permits.release(passes)

    def wait_for_a_pass(self):
        while not self.is_set() and not self.permits.acquire(timeout=0.01):
            pass


@pytest.fixture
def gate(monkeypatch):
    found = Gate()
    found.set()
    forward = qwen3cpu.engine.engine.Engine.forward

    def gated(self, batch):
        found.wait_for_a_pass()
        return forward(self, batch)

    monkeypatch.setattr(qwen3cpu.engine.engine.Engine, "forward", gated)
    yield found
    found.set()


def vectors(reply):
    return np.array([item["embedding"] for item in reply["data"]], np.float32)


def metrics(server):
    lines = server.http.get("/metrics").text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def post(server, body):
    """A connection on which a request has been sent."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("POST", PATH, json.dumps(body), {"content-type": "application/json"})
    return connection


def test_clients_at_once_get_their_own_vectors(start, model):
    server = start()
    lists = [[f"text {number} of {client} " * (1 + number % 9) for number in range(10)] for client in range(30)]
    lists.append([f"number {number} " * (1 + number % 40) for number in range(1000)])
    expected = [model.embed(texts) for texts in lists]
    before = model.engine.native.counters()["calls"]
    with ThreadPoolExecutor(len(lists)) as pool:
        found = list(pool.map(lambda texts: vectors(server.ok(PATH, input=texts)), lists))
    for mine, theirs in zip(found, expected, strict=True):
        assert (mine == theirs).all()
    counted = metrics(server)
    texts = sum(map(len, lists))
    assert counted["qwen3cpu_texts_total"] == texts
    assert counted['qwen3cpu_jobs_total{end="finished"}'] == len(lists)
    assert counted['qwen3cpu_http_responses_total{path="/v1/embeddings",status="200"}'] == len(lists)
    passes = model.engine.native.counters()["calls"] - before
    assert counted["qwen3cpu_step_seconds_count"] == passes
    assert passes < texts


def test_the_tokens_of_a_request_are_counted(start, model):
    server = start()
    usage = server.ok(PATH, input=["hello world", "the sky is blue"])["usage"]
    assert metrics(server)["qwen3cpu_prompt_tokens_total"] == usage["total_tokens"]


def test_a_small_request_is_answered_beside_a_large_one(start, model, gate):
    server = start()
    expected = model.embed("a")
    gate.clear()
    large = post(server, {"input": ["hello world " * 10] * 10_000})
    wait_until(server, lambda: server.scheduler.running == 1)
    for _ in range(5):
        small = post(server, {"input": "a"})
        wait_until(server, lambda: server.scheduler.running + server.scheduler.queued == 2)
        gate.let(2)  # the pass that was about to run, and the next
        assert (vectors(json.loads(small.getresponse().read()))[0] == expected).all()
        small.close()
    assert server.scheduler.stats.jobs == {"finished": 5}, "the large one goes on"
    large.close()
    gate.set()
    wait_until(server, lambda: server.scheduler.running == 0)
    assert server.scheduler.stats.jobs == {"finished": 5, "cancelled": 1}
    assert server.scheduler.stats.texts < 10_000
    server.assert_nothing_left()


def test_a_client_that_goes_ends_its_request_within_a_pass(start, model, gate):
    server = start()
    gate.clear()
    connections = [post(server, {"input": ["hello world " * 50] * 200}) for _ in range(3)]
    wait_until(server, lambda: server.scheduler.running + server.scheduler.queued == 3)
    before = server.scheduler.stats.texts
    for connection in connections:
        connection.close()
    jobs = list(server.scheduler._ring)
    wait_until(server, lambda: all(job.cancelled for job in jobs))
    gate.set()
    wait_until(server, lambda: server.scheduler.stats.jobs["cancelled"] == 3)
    assert server.scheduler.stats.texts - before <= 5, "one pass of at most 256 tokens"
    server.assert_nothing_left()


def test_time_is_limited(start, gate):
    server = start(timeout=0.3)
    gate.clear()
    connection = post(server, {"input": ["a"] * 100})
    wait_until(server, lambda: server.scheduler.running == 1)
    timer = threading.Timer(0.5, gate.set)
    timer.start()
    response = connection.getresponse()
    assert response.status == 408
    assert json.loads(response.read())["error"]["message"] == "the request took longer than 0.3 seconds"
    connection.close()
    timer.join()


def test_the_queue_is_limited(start, gate):
    server = start(parallel=1, queue=2)
    gate.clear()
    connections = [post(server, {"input": "a"}) for _ in range(3)]
    wait_until(server, lambda: server.scheduler.running + server.scheduler.queued == 3)
    response = server.post(PATH, {"input": "a"})
    assert response.status_code == 429
    assert response.json()["error"]["code"] == "queue_full"
    assert int(response.headers["retry-after"]) >= 1
    gate.set()
    for connection in connections:
        assert connection.getresponse().status == 200
        connection.close()


def test_a_large_body_is_refused(start):
    assert start(max_body=1000).refused(PATH, {"input": "a" * 2000}, 413)["code"] == "body_too_large"


def test_work_on_requests_runs_in_the_workshop(start, model, monkeypatch):
    """JSON, encoding and vectors: never on the event loop's thread."""
    seen = set()
    server = start()
    for module, name in ((json, "loads"), (type(model.tokenizer), "encode"), (vectors_reply.VectorsReply, "_vectors")):
        work = getattr(module, name)

        def noted(*args, work=work, **options):
            seen.add(threading.current_thread().name)
            return work(*args, **options)

        monkeypatch.setattr(module, name, noted)
    response = server.post(PATH, {"input": ["a"] * 200})
    monkeypatch.undo()
    assert response.status_code == 200, response.text
    allowed = tuple(f"qwen3cpu-{kind}" for kind in THREADS)
    assert [name for name in seen if not name.startswith(allowed)] == []
    assert any(name.startswith("qwen3cpu-reply") for name in seen)


def test_a_reply_that_is_read_too_slowly_is_cut_off(start, model, monkeypatch):
    """Its states take memory for which other requests wait."""
    server = start(timeout=600.0)
    now = [0.0]
    clock = vectors_reply.perf_counter
    monkeypatch.setattr(vectors_reply, "perf_counter", lambda: clock() + now[0])
    server.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # connections inherit it
    body = json.dumps({"input": [f"number {number}" for number in range(5000)]}).encode()
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(head % (PATH.encode(), len(body)) + body)
        received = client.recv(1000)
        assert received.startswith(b"HTTP/1.1 200")
        assert len(server.scheduler._charged) == 1
        now[0] = 1000.0
        while piece := client.recv(1 << 16):
            received += piece
    assert not received.endswith(END)
    wait_until(server, lambda: not server.scheduler._charged)


def test_memory_of_states_is_given_back(start):
    server = start()
    for texts in (["a"], ["a"] * 100):
        server.ok(PATH, input=texts)
        wait_until(server, lambda: not server.scheduler._charged)
    server.refused(PATH, {"input": []}, 400)
    assert not server.scheduler._charged


def test_a_server_that_stops_lets_requests_finish(start, gate, model):
    server = start(grace=60)
    gate.clear()
    connection = post(server, {"input": ["a"] * 100})
    wait_until(server, lambda: server.scheduler.running == 1)
    server.scheduler.stop(grace=60)
    assert server.refused(PATH, {"input": "a"}, 503)["code"] == "shutting_down"
    gate.set()
    reply = json.loads(connection.getresponse().read())
    connection.close()
    assert (vectors(reply) == model.embed(["a"] * 100)).all()
