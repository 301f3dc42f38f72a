"""Servers on a free port of this machine, in their own thread or process, and requests to them."""

import io
import json
import re
import signal
import threading

import httpx
from cli_runs import environment, start_process

from qwen3cpu.server.app import make_app
from qwen3cpu.server.serve import HttpServer, listen
from qwen3cpu.server.settings import Settings


class Running:
    """A server that has started."""

    def __init__(self, model, loaded=None, tracer_provider=None, **settings):
        """model: a loaded model, or a catalog. loaded: the loaded models of the catalog."""
        settings.setdefault("model_name", "tiny")
        settings.setdefault("kv_bytes", 1 << 28)
        self.model = model
        self.app = make_app(model, Settings(**settings), loaded, tracer_provider)
        self.lender = self.app.state.lender
        loaded = self.lender.loaded()
        self.held = loaded[0] if loaded else None
        self.scheduler = self.held.service.scheduler if loaded else None
        self.listener = listen("127.0.0.1", 0)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=120)
        self.server = HttpServer(self.app, grace=settings.get("grace", 5))
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]})
        self._thread.start()
        self.http.get("/health")

    def post(self, path, body=None, **options):
        """A JSON request. It escapes what httpx cannot send, such as a lone surrogate."""
        if body is None:
            return self.http.post(path, **options)
        headers = {"content-type": "application/json", **options.pop("headers", {})}
        return self.http.post(path, content=json.dumps(body), headers=headers, **options)

    def chat(self, text="What is 17 + 25?", **options):
        """The JSON of a chat completion that must succeed."""
        return self.ok("/v1/chat/completions", messages=[{"role": "user", "content": text}], **options)

    def ok(self, path, **body):
        """The JSON of a request that must succeed."""
        response = self.post(path, body)
        assert response.status_code == 200, response.text
        return response.json()

    def events(self, path, **body):
        """The events of a streamed answer, and its comments."""
        found, comments = [], []
        with self.http.stream("POST", path, json={**body, "stream": True}) as response:
            assert response.status_code == 200, response.read()
            assert response.headers["content-type"].startswith("text/event-stream")
            for line in response.iter_lines():
                if line.startswith(":"):
                    comments.append(line)
                elif line.startswith("data: ") and line != "data: [DONE]":
                    found.append(json.loads(line[6:]))
        return found, comments

    def refused(self, path, body, status):
        """The error of a request that must be refused."""
        response = self.post(path, body)
        assert response.status_code == status, response.text
        return response.json()["error"]

    def close(self):
        self.http.close()
        self.server.should_exit = True
        self._thread.join()
        assert self.lender.preparing == 0, "a request that is over is still counted"
        assert self.lender.waiting == 0, "a request that is over still waits for a model"
        for held in self.lender.known():
            assert held.users == 0, "a request that is over still has a model"
            assert held.service is None or not held.service.scheduler.alive
        self.assert_nothing_left()

    def assert_nothing_left(self):
        """Only the prefix cache holds blocks of the KV cache."""
        for held in self.lender.loaded():
            memory = held.service.model.engine.memory()
            assert memory["kv_bytes_in_use"] == memory["prefix_cache_bytes"], "a sequence was left behind"


class Started:
    """A server in its own process."""

    def __init__(self, *arguments, code=None, **changes):
        """code: runs instead of the command, with the same arguments. changes: of the environment."""
        run = ["-m", "qwen3cpu"] if code is None else ["-c", code]
        command = [*run, "serve", "--port", "0", "--threads", "1", *arguments]
        self.process = start_process(command, environment(**changes), stdin=0, stdout=1)
        self.process.stderr = io.TextIOWrapper(self.process.stderr)
        self.notes = []
        for line in self.process.stderr:
            self.notes.append(line)
            if match := re.search(r"serving (.+) on (http://\S+)", line):
                self.model, self.url = match.groups()
                self.port = int(self.url.rpartition(":")[2])
                return
        raise AssertionError("".join(self.notes))

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        with self.process.stderr:
            self.process.stderr.read()
        return self.process.wait()
