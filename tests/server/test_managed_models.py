"""Pulling models from a stand-in of the hub into the folder of models, and deleting them."""

import asyncio
import json
import threading
from contextlib import contextmanager

import httpx
import pytest
from checkpoints import write_checkpoint, write_json
from cli_runs import run_here
from fake_hub import hub_environment, running_hub
from made_folders import write_made
from running import Started
from torch_files import write_torch_file

import qwen3cpu
from qwen3cpu.errors import CheckpointError
from qwen3cpu.server.models.pulls import Pulls, hub_id

NAME = "owner/name"
QUESTION = [{"role": "user", "content": "hello"}]
LARGE = 200_000
"""Rows of an embedding of 26 MB, because the library writes files in pieces of 10 MB."""
FULL_DISK = (
    "import errno, sys; from qwen3cpu.checkpoint import hub_files; from qwen3cpu.cli.main import main\n"
    "write = hub_files._NotedFile.write\n"
    "def full(file, data):\n"
    "    if file.tell() + len(data) > 20000: raise OSError(errno.ENOSPC, 'No space left on device')\n"
    "    return write(file, data)\n"
    "hub_files._NotedFile.write = full\n"
    "sys.exit(main(sys.argv[1:]))"
)
"""A server whose files cannot be larger than 20,000 bytes."""


class Managing:
    """A server that manages a folder, with requests to it."""

    def __init__(self, started, folder):
        self.url = started.url
        self.folder = folder
        self.http = httpx.Client(base_url=self.url, timeout=120)

    def pull(self, name=NAME):
        """The lines of a pull."""
        response = self.http.post("/api/pull", json={"model": name})
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/x-ndjson"
        return [json.loads(line) for line in response.text.splitlines()]

    def names(self):
        return [card["name"] for card in self.http.get("/api/tags").json()["models"]]

    def visible(self):
        """The names in the folder that are not hidden."""
        return sorted(path.name for path in self.folder.iterdir() if not path.name.startswith("."))

    def delete(self, name):
        return self.http.request("DELETE", "/api/delete", json={"model": name})


@pytest.fixture
def hub(tmp_path):
    """(the handler of a hub, its address), whose model has 300 KB of weights."""
    with running_hub(tmp_path / "repository") as (handler, address):
        write_checkpoint(handler.files, vocab_size=1000)
        yield handler, address


@pytest.fixture
def manage(tmp_path, hub):
    """Starts servers that manage one folder."""

    @contextmanager
    def start(*flags, code=None):
        folder = tmp_path / "models"
        folder.mkdir(exist_ok=True)
        flags = ("--models-dir", str(folder), "--manage-models", "--ctx-size", "256", *flags)
        started = Started(*flags, code=code, **hub_environment(tmp_path / "hf", hub[1]))
        server = Managing(started, folder)
        try:
            yield server
        finally:
            server.http.close()
            started.end()

    return start


def downloads(handler, name):
    """The ranges of a file that were asked for."""
    return [span for verb, path, span in handler.requests if verb == "GET" and path.endswith(f"/{name}")]


def test_a_model_is_pulled_used_and_deleted(manage, hub):
    with manage() as server:
        assert server.names() == []
        lines = server.pull()
        statuses = list(dict.fromkeys(line["status"] for line in lines))
        assert statuses[0] == "pulling manifest"
        assert statuses[1] == "pulling config.json"
        assert statuses[-3:] == ["verifying sha256 digest", "writing manifest", "success"]
        weights = [line for line in lines if line["status"] == "pulling model.safetensors"]
        size = (hub[0].files / "model.safetensors").stat().st_size
        assert {line["total"] for line in weights} == {size}
        assert [line["completed"] for line in weights] == sorted(line["completed"] for line in weights)
        assert weights[-1]["completed"] == size
        assert weights[-1]["digest"].startswith("sha256:")
        # The model works at once.
        assert server.names() == ["owner/name:latest"]
        body = {"model": NAME, "messages": QUESTION, "max_tokens": 5, "seed": 1}
        reply = server.http.post("/v1/chat/completions", json=body).json()
        alone = qwen3cpu.load(hub[0].files, context=256, threads=1).generate(QUESTION, max_new_tokens=5, seed=1)
        assert reply["choices"][0]["message"]["content"] == alone.text
        # The same version is not fetched again.
        before = len(downloads(hub[0], "model.safetensors"))
        assert [line["status"] for line in server.pull("hf.co/owner/name:latest")] == ["pulling manifest", "success"]
        assert len(downloads(hub[0], "model.safetensors")) == before == 1
    with manage() as server:
        assert server.names() == ["owner/name:latest"], "another server finds it"
        assert server.delete("other").status_code == 404
        assert server.delete(NAME).status_code == 200
        assert (server.names(), list(server.folder.glob("*--*"))) == ([], [])
        assert server.delete(NAME).status_code == 404


@pytest.mark.heavy
def test_a_connection_that_breaks_is_taken_up_again(manage, hub):
    write_checkpoint(hub[0].files, vocab_size=LARGE)
    hub[0].break_once.add("model.safetensors")
    with manage() as server:
        assert server.pull()[-1] == {"status": "success"}
    first, second = downloads(hub[0], "model.safetensors")
    assert first is None
    assert int(second.removeprefix("bytes=").removesuffix("-")) > 0


@pytest.mark.heavy
def test_a_pull_goes_on_with_what_an_earlier_server_has_fetched(manage, hub):
    write_checkpoint(hub[0].files, vocab_size=LARGE)
    hub[0].break_once.add("model.safetensors")
    hub[0].fail_after_break = True
    with manage() as server:
        error = server.pull()[-1]["error"]
        assert error.startswith("owner/name: model.safetensors: could not be fetched from the Hugging Face hub")
        assert "500" in error
        assert (server.names(), server.visible()) == ([], []), "an incomplete model is not offered"
    hub[0].refuse_with, hub[0].fail_after_break = None, False
    with manage() as server:
        before = len(downloads(hub[0], "model.safetensors"))
        assert server.pull()[-1] == {"status": "success"}
        (span,) = downloads(hub[0], "model.safetensors")[before:]
        first = int(span.removeprefix("bytes=").removesuffix("-"))
        assert first > 0
        assert server.names() == ["owner/name:latest"]


def test_a_pull_that_begins_while_the_last_one_stops_waits_for_it(tmp_path, monkeypatch):
    """A client that gives up and asks again at once gets the model, not the end of its first request."""
    go_on, running = threading.Event(), []

    def fetch(id):
        assert not running, "two threads would write the same files"
        running.append(id)
        go_on.wait()
        running.clear()
        raise CheckpointError("fetched")

    async def ask_twice():
        first = pulls.pull(NAME)
        lines = first.follow()
        await anext(lines)
        await lines.aclose()
        second = pulls.pull(NAME)
        assert second is not first
        assert pulls.pull(NAME) is second
        go_on.set()
        return [line async for line in second.follow()]

    pulls = Pulls(tmp_path)
    monkeypatch.setattr("qwen3cpu.server.models.pulls.find_model", fetch)
    assert asyncio.run(ask_twice())[-1] == {"error": "fetched"}


def test_a_hub_that_refuses(manage, hub):
    with manage() as server:
        for status, words in ((401, "HF_TOKEN"), (403, "HF_TOKEN"), (404, "no such model")):
            hub[0].refuse_with = status
            lines = server.pull()
            assert [list(line) for line in lines] == [["status"], ["error"]]
            error = lines[-1]["error"]
            assert error.startswith("owner/name: the Hugging Face hub")
            assert words in error
            assert f"status {status}" in error
            whole = server.http.post("/api/pull", json={"model": NAME, "stream": False})
            assert (whole.status_code, whole.json()) == (404, {"error": error})
        assert (server.names(), server.visible()) == ([], [])


@pytest.mark.heavy
def test_a_full_disk(manage, hub):
    with manage(code=FULL_DISK) as server:
        error = server.pull()[-1]["error"]
        assert error.startswith("owner/name: no space is left on the disk of the folder of models")
        assert (server.names(), server.visible()) == ([], [])
    with manage() as server:
        assert server.pull()[-1] == {"status": "success"}, "the disk has room again"


def test_a_damaged_download_is_not_taken(manage, hub):
    hub[0].flip = "model.safetensors"
    with manage() as server:
        assert "expected the digest sha256:" in server.pull()[-1]["error"]
        assert (server.names(), server.visible()) == ([], [])
        hub[0].flip = None
        assert server.pull()[-1] == {"status": "success"}


def test_what_is_no_model_of_ours_is_refused_before_its_weights_are_fetched(manage, hub):
    config = json.loads((hub[0].files / "config.json").read_text())
    write_json(hub[0].files / "config.json", {**config, "model_type": "bert", "architectures": ["Bert"]})
    with manage() as server:
        assert "model_type" in server.pull()[-1]["error"]
        assert server.visible() == []
    assert downloads(hub[0], "model.safetensors") == []


def test_quantised_folders_and_files_of_torch_are_pulled(manage, hub):
    handler = hub[0]
    (handler.files / "model.safetensors").unlink()
    write_made(handler.files, "awq_autoawq")
    with manage() as server:
        assert server.pull()[-1] == {"status": "success"}
        assert server.delete(NAME).status_code == 200
        tensors = {name: ("F32", values) for name, values in write_checkpoint(handler.files).tensors.items()}
        for path in handler.files.glob("model*.safetensors*"):
            path.unlink()
        write_torch_file(handler.files / "pytorch_model.bin", tensors)
        assert server.pull()[-1] == {"status": "success"}
        assert (server.folder / "owner--name" / "pytorch_model.bin").exists()


@pytest.mark.parametrize("name", ["qwen3:0.6b", "0.6B", "hf.co/Qwen/Qwen3-0.6B:latest", "Qwen/Qwen3-0.6B"])
def test_names_of_released_models(name):
    assert hub_id(name) == "Qwen/Qwen3-0.6B"


def test_names_that_are_no_hub_ids(manage):
    with manage() as server:
        for name in ("qwen3", "qwen3:0.7b", "../../etc", "a/b/c", "owner/na--me"):
            response = server.http.post("/api/pull", json={"model": name})
            assert response.status_code == 400
            assert response.json()["error"].startswith(
                "model: expected the name of a released model, such as qwen3:0.6b"
            )
        assert server.http.post("/api/pull", json={}).json() == {"error": "model: field required"}
        assert server.delete("../models").status_code == 404


def test_only_the_folder_is_managed(manage, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    write_checkpoint(tmp_path / "elsewhere" / "linked")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "linked").symlink_to(tmp_path / "elsewhere" / "linked")
    with manage("--model", "tiny") as server:
        assert server.names() == ["tiny:latest", "linked:latest"]
        refused = server.delete("tiny")
        assert (refused.status_code, refused.json()) == (
            403,
            {"error": "tiny is not in the folder of models, and stays"},
        )
        assert server.delete("linked").status_code == 200
        assert server.names() == ["tiny:latest"]
    assert (tmp_path / "elsewhere" / "linked" / "config.json").exists(), "only the link is deleted"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--host", "0.0.0.0", "--models-dir", "."], "--manage-models: expected an --api-key"),
        ([], "--manage-models: expected a folder of models (--models-dir), found none"),
    ],
)
def test_managing_needs_a_key_beyond_this_machine_and_a_folder(flags, words, monkeypatch):
    monkeypatch.delenv("QWEN3CPU_API_KEY", raising=False)
    done = run_here("serve", "--port", "0", "--manage-models", *flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_official_client(manage):
    ollama = pytest.importorskip("ollama", reason="ollama is not installed (extra [clients])")
    with manage("--model", "tiny") as server, ollama.Client(server.url) as client:
        assert [model.model for model in client.ps().models] == ["tiny:latest"]
        progress = list(client.pull(NAME, stream=True))
        assert progress[-1].status == "success"
        assert any(each.total and each.completed == each.total for each in progress)
        assert client.pull(NAME).status == "success"
        with pytest.raises(ollama.ResponseError, match="no such model"):
            client.pull("owner/unknown")
        with pytest.raises(ollama.ResponseError, match="no such model"):
            list(client.pull("owner/unknown", stream=True))
        assert [model.model for model in client.list().models] == ["tiny:latest", "owner/name:latest"]
        # Loading, keeping and unloading.
        assert client.generate(NAME).done_reason == "load"
        running = {model.model: model for model in client.ps().models}
        assert set(running) == {"tiny:latest", "owner/name:latest"}
        first = running["owner/name:latest"].expires_at
        assert running["owner/name:latest"].size > 0
        client.chat(NAME, QUESTION, keep_alive="2h", options={"num_predict": 1})
        running = {model.model: model for model in client.ps().models}
        assert (running["owner/name:latest"].expires_at - first).total_seconds() > 3600
        client.generate(NAME, keep_alive=-1)
        running = {model.model: model for model in client.ps().models}
        assert running["owner/name:latest"].expires_at.year == 9999
        client.chat(NAME, QUESTION, keep_alive=0, options={"num_predict": 1})
        while len(client.ps().models) > 1:
            pass
        assert client.generate(NAME, keep_alive=0).done_reason == "unload"
        assert client.delete(NAME).status == "success"
        assert [model.model for model in client.list().models] == ["tiny:latest"]
        with pytest.raises(ollama.ResponseError, match="is not here; expected 'tiny'"):
            client.chat("tinny", QUESTION)
