"""`qwen3cpu serve`: flags, the address, the end."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from cli_runs import run, run_here
from running import Started

import qwen3cpu
from qwen3cpu.cli import main as cli
from qwen3cpu.cli import options as cli_options


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_it_serves_until_told_to_end(number, code):
    started = Started("--model", "tiny")
    assert started.url.startswith("http://127.0.0.1:"), "this machine only, unless told"
    assert started.model == "tiny"
    assert httpx.get(f"{started.url}/health").json() == {"status": "ok", "task": "generation"}
    refused = httpx.get(f"{started.url}/health", headers={"host": "a.example"})
    assert refused.status_code == 421
    assert started.end(number) == code


def test_a_key_from_the_environment_and_other_flags():
    flags = ["--model-name", "mine", "--cors-origin", "http://a.example", "--allowed-host", "b.example"]
    started = Started(*flags, "--parallel", "2", "--kv-memory", "64M", QWEN3CPU_API_KEY="s3cret")
    try:
        assert httpx.get(f"{started.url}/v1/models").status_code == 401
        headers = {"authorization": "Bearer s3cret", "origin": "http://a.example", "host": "b.example"}
        response = httpx.get(f"{started.url}/v1/models", headers=headers)
        assert response.json()["data"][0]["id"] == "mine"
        assert response.headers["access-control-allow-origin"] == "http://a.example"
        limits = httpx.get(f"{started.url}/metrics", headers={"authorization": "Bearer s3cret"}).text
        blocks = (64 << 20) // qwen3cpu.load("tiny").engine.native.kv_block_bytes()
        assert f"qwen3cpu_kv_blocks_limit {blocks}.0\n" in limits
    finally:
        started.end()


def test_a_model_for_another_task():
    """The line at the start names the task; --task gives it if no file does."""
    started = Started("--model", "tiny", "--task", "embedding")
    try:
        assert "(embedding model: /v1/embeddings or /api/embed)" in started.notes[-1]
        reply = httpx.post(f"{started.url}/v1/embeddings", json={"input": "hello"}).json()
        expected = qwen3cpu.load("tiny", task="embedding").embed("hello")
        assert reply["data"][0]["embedding"] == expected.tolist()
    finally:
        started.end()


def test_several_models():
    """The first is loaded at the start, the second on demand."""
    started = Started("--model", "tiny", "--model", "tiny-embedding", "--memory", "1G", "--keep-alive", "600")
    try:
        assert started.model == "tiny, tiny-embedding"
        cards = httpx.get(f"{started.url}/v1/models").json()["data"]
        assert [(card["id"], card["task"], card["loaded"]) for card in cards] == [
            ("tiny", "generation", True),
            ("tiny-embedding", "embedding", False),
        ]
        reply = httpx.post(f"{started.url}/v1/embeddings", json={"input": "hello"}, timeout=60).json()
        assert reply["data"][0]["embedding"] == qwen3cpu.load("tiny-embedding").embed("hello").tolist()
        messages = [{"role": "user", "content": "What is 17 + 25?"}]
        reply = httpx.post(f"{started.url}/v1/chat/completions", json={"messages": messages, "seed": 1}, timeout=60)
        assert reply.json()["choices"][0]["message"]["content"] == "42."
        running = httpx.get(f"{started.url}/api/ps").json()["models"]
        assert [model["name"] for model in running] == ["tiny:latest", "tiny-embedding:latest"]
    finally:
        started.end()


def test_a_single_model_that_is_loaded_again():
    """With --keep-alive, a single model leaves memory too."""
    started = Started("--model", "tiny", "--keep-alive", "0")
    try:
        for _ in range(2):
            body = {"messages": [{"role": "user", "content": "What is 17 + 25?"}], "seed": 1}
            reply = httpx.post(f"{started.url}/v1/chat/completions", json=body, timeout=60)
            assert reply.json()["choices"][0]["message"]["content"] == "42."
            while httpx.get(f"{started.url}/api/ps").json()["models"]:
                pass
            assert httpx.get(f"{started.url}/health").status_code == 200
    finally:
        started.end()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--port", "70000"], "--port: expected 0 to 65535"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid"),
        (["--parallel", "0"], "--parallel: expected at least 1"),
        (["--timeout", "0"], "--timeout: expected seconds"),
        (["--kv-memory", "much"], "--kv-memory: expected a size such as 800M or 4G, found 'much'"),
        (["--kv-memory", "1M"], "KV memory: a context of 4096 positions needs"),
        (["--api-key", "a b"], "--api-key: expected printable ASCII"),
        (["--model", "/nowhere/at/all"], "/nowhere/at/all"),
        (["--model", "tiny", "--model", "tiny"], "--model: expected models with different names, found 'tiny' twice"),
        (
            ["--model", "tiny", "--model", "tiny-embedding", "--task", "embedding"],
            "--task: expected none beside several",
        ),
        (["--models-dir", ".", "--model-name", "mine"], "--model-name: expected none beside several models"),
        (["--models-dir", "/nowhere/at/all"], "--models-dir: /nowhere/at/all cannot be read"),
        (["--keep-alive", "-5"], "--keep-alive: expected seconds, or -1 for ever, found -5.0"),
        (["--memory", "much"], "--memory: expected a size such as 800M or 4G, found 'much'"),
        (["--memory", "1M"], "the model 'tiny' needs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_flags(flags, words):
    port = [] if "--port" in flags else ["--port", "0"]
    done = run_here("serve", *port, *flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("serve", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "cannot listen on 127.0.0.1 port" in done.stderr


def test_without_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "qwen3cpu.server.app", None)
    assert cli.main(["serve"]) == 2
    assert "pip install 'qwen3cpu[server]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "size"), [("800M", 800 << 20), ("4G", 4 << 30), ("1.5GiB", 3 << 29), ("4096", 4096), ("2 kb", 2048)]
)
def test_sizes(text, size):
    assert cli_options.memory_size("--kv-memory", text) == size


def test_a_path_is_not_told(tmp_path):
    (tmp_path / "Qwen3-1.7B").mkdir()
    assert cli_options.model_id(str(tmp_path / "Qwen3-1.7B")) == "Qwen3-1.7B"
    packed = Path(tmp_path / "mine-1.7B.qwen3")
    packed.touch()
    assert cli_options.model_id(str(packed)) == "mine-1.7B"
    for name in ("Qwen/Qwen3-1.7B", "1.7b", "qwen3:1.7b"):
        assert cli_options.model_id(name) == "Qwen/Qwen3-1.7B"


def test_the_script_that_measures_a_server():
    script = Path(__file__).parents[2] / "bench" / "serve.py"
    command = [sys.executable, str(script), "--model", "tiny", "--threads", "1", "--runs", "1", "--json"]
    done = subprocess.run([*command, "--tokens", "20", "--prompt", "2000"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ratio"][0] > 0
    (gaps,) = found["beside_a_prompt"]
    assert gaps["longest_gap_seconds"] > 0
    assert gaps["tokens_meanwhile"] >= 1
