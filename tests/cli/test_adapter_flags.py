"""`--adapter` of generate and batch."""

import json

import pytest
from cli_runs import run_here
from lora_adapters import write_tiny_adapter

import qwen3cpu

ASK = ("What is 17 + 25?", "--model", "tiny", "--quant", "q8", "--seed", "1", "-n", "12", "--thinking", "off")
OPTIONS = {"seed": 1, "max_new_tokens": 12, "thinking": False}


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    return write_tiny_adapter(tmp_path_factory.mktemp("adapters") / "mine")


@pytest.fixture(scope="module")
def expected(adapter):
    model = qwen3cpu.load("tiny", quant="q8", threads=1, adapters={"mine": adapter})
    found = model.generate(ASK[0], adapter="mine", **OPTIONS)
    assert found.text != model.generate(ASK[0], **OPTIONS).text
    return found


def test_generate_answers_with_it(adapter, expected):
    done = run_here("generate", *ASK, "--adapter", adapter, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["text"] == expected.text


def test_what_cannot_be_loaded_is_told(tmp_path):
    done = run_here("generate", *ASK, "--adapter", tmp_path / "nobody")
    assert done.returncode == 2
    assert "nobody: expected a folder with adapter_config.json" in done.stderr


def test_lines_of_a_job_name_it(adapter, expected, tmp_path):
    messages = [{"role": "user", "content": ASK[0]}]
    body = {"messages": messages, "max_tokens": 12, "seed": 1, "chat_template_kwargs": {"enable_thinking": False}}
    named = [
        {"custom_id": model, "method": "POST", "url": "/v1/chat/completions", "body": {**body, "model": model}}
        for model in ("mine", "tiny:mine", "tiny")
    ]
    lines = [*named, {"messages": messages, **OPTIONS, "adapter": "mine"}, {"messages": messages, **OPTIONS}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def job(*flags):
        return run_here(
            "batch", tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--model", "tiny", "--quant", "q8", *flags
        )

    done = job("--adapter", adapter)
    assert (done.returncode, done.stderr) == (0, "")
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    bodies = [each["response"]["body"] for each in found[:3]]
    texts = [each["choices"][0]["message"]["content"] for each in bodies]
    assert texts[:2] == [expected.text] * 2
    assert texts[2] != expected.text
    assert [each["model"] for each in bodies] == ["mine", "tiny:mine", "tiny"]
    assert found[3]["result"]["text"] == expected.text
    assert found[4]["result"]["text"] != expected.text
    # The output belongs to a job with this adapter.
    assert job("--adapter", adapter).returncode == 0
    assert "of another job" not in job("--adapter", adapter).stderr
    assert "expected no such file, or the output of this job" in job().stderr
