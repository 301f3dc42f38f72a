"""`--adapter` and `--adapters-dir` of `qwen3cpu serve`."""

import httpx
import pytest
from cli_runs import run_here
from lora_adapters import write_tiny_adapter
from running import Started

import qwen3cpu

QUESTION = "What is 17 + 25?"


def test_the_server_offers_it(tmp_path):
    adapter = write_tiny_adapter(tmp_path / "mine")
    model = qwen3cpu.load("tiny", quant="q8", threads=1, adapters={"mine": adapter})
    expected = model.generate(QUESTION, adapter="mine", seed=1, max_new_tokens=12, thinking=False)
    started = Started("--model", "tiny", "--quant", "q8", "--adapter", f"first={adapter}", "--adapter", str(adapter))
    try:
        listed = httpx.get(f"{started.url}/v1/models").json()["data"]
        assert [each["id"] for each in listed] == ["tiny", "first", "mine"]
        body = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 12, "seed": 1}
        body["chat_template_kwargs"] = {"enable_thinking": False}
        for model in ("first", "tiny:mine"):
            reply = httpx.post(f"{started.url}/v1/chat/completions", json={**body, "model": model}, timeout=120).json()
            assert reply["choices"][0]["message"]["content"] == expected.text
    finally:
        started.end()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--adapter", "a=x", "--adapter", "a=y"), "expected different names, found 'a' twice"),
        (("--adapter", "other:a=x"), "expected [MODEL:]NAME=PATH with one of the models (tiny)"),
        (("--adapter", "tiny=x"), "a name that none of them has, found 'tiny'"),
        (("--adapters-dir", "nowhere"), "--adapters-dir: expected a folder, found nowhere"),
        (("--host", "0.0.0.0", "--adapters-dir", "."), "--adapters-dir: expected an --api-key"),
    ],
)
def test_bad_flags_of_serve(flags, words):
    done = run_here("serve", "--model", "tiny", "--port", "0", *flags)
    assert done.returncode == 2
    assert words in done.stderr
