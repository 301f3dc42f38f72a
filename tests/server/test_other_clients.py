"""LangChain and the LM evaluation harness against the server, unchanged. Skipped where they are not installed."""

import json
import os
import subprocess
import sys

import pydantic
import pytest

QUESTION = "What is 17 + 25?"


class Distance(pydantic.BaseModel):
    """How far it is."""

    model_config = pydantic.ConfigDict(extra="forbid")
    meters: int = pydantic.Field(ge=0, le=999)


@pytest.fixture
def langchain(server):
    """A chat model of LangChain."""
    module = pytest.importorskip("langchain_openai", reason="langchain-openai is not installed (extra [clients])")
    return module.ChatOpenAI(
        base_url=f"{server.url}/v1", api_key="none", model="tiny", seed=1, max_retries=0, temperature=0.6
    )


def test_langchain_answers_and_streams(langchain, tiny):
    expected = tiny.generate(QUESTION, seed=1, temperature=0.6)
    reply = langchain.invoke(QUESTION)
    assert reply.content == expected.text
    assert reply.usage_metadata["output_tokens"] == expected.usage.completion_tokens
    assert reply.usage_metadata["output_token_details"]["reasoning"] == expected.usage.reasoning_tokens
    assert "".join(chunk.content for chunk in langchain.stream(QUESTION)) == expected.text


def test_langchain_calls_tools(langchain):
    bound = langchain.bind_tools([Distance], tool_choice="Distance")
    (call,) = bound.invoke(QUESTION).tool_calls
    assert call["name"] == "Distance"
    Distance.model_validate(call["args"])


def test_langchain_gets_structured_output(langchain):
    for method in ("json_schema", "function_calling"):
        assert isinstance(langchain.with_structured_output(Distance, method=method).invoke(QUESTION), Distance)


CHOICES = """
task: sums_choice
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
target_delimiter: ""
doc_to_choice: choices
doc_to_target: 0
metric_list: [{metric: acc}]
"""
ANSWERS = """
task: sums_generate
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_text: "<|im_start|>user\\n{{question}}<|im_end|>\\n<|im_start|>assistant\\n"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["<|im_end|>"], max_gen_toks: 200, temperature: 0}
filter_list: [{name: last, filter: [{function: regex, regex_pattern: "(\\\\d+)\\\\.$"}, {function: take_first}]}]
metric_list: [{metric: exact_match}]
"""


def test_lm_eval_on_a_local_task(serve, tiny, tmp_path):
    """Its scores are those of Model.generate and Model.score; nothing is fetched."""
    for package in ("lm_eval", "tenacity", "aiohttp"):
        pytest.importorskip(package, reason="lm-eval[api] is not installed (extra [clients])")
    server = serve(tiny)
    sums = [
        {
            "question": f"What is {a} + {b}?",
            "answer": str(a + b),
            "choices": [f"\n{a}+", "👋🏽é", best_beginning(tiny, a, b)],
        }
        for a in (3, 17)
        for b in (4, 25, 40)
    ]
    data = tmp_path / "sums.jsonl"
    data.write_text("".join(json.dumps(each) + "\n" for each in sums))
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    for name, text in (("choice", CHOICES), ("generate", ANSWERS)):
        (tasks / f"{name}.yaml").write_text(text.replace("DATA", str(data)))
    where = f"model=tiny,base_url={server.url}/v1/completions,tokenizer_backend=remote,num_concurrent=4,max_length=4096"
    done = subprocess.run(
        [sys.executable, "-m", "lm_eval", "--model", "local-completions", "--model_args", where, "--include_path",
         str(tasks), "--tasks", "sums_choice,sums_generate", "--output_path", str(tmp_path / "out"), "--log_samples"],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (written,) = (tmp_path / "out").rglob("results_*.json")
    results = json.loads(written.read_text())["results"]
    seen = set()
    (logged,) = (tmp_path / "out").rglob("samples_sums_choice_*.jsonl")
    for line in logged.read_text().splitlines():
        sample = json.loads(line)
        for asked, ((found, greedy),) in zip(sample["arguments"].values(), sample["resps"], strict=True):
            expected, is_greedy = likelihood(tiny, asked["arg_0"], asked["arg_1"])
            assert float(found) == pytest.approx(expected)
            assert str(greedy) == str(is_greedy)
            seen.add(is_greedy)
    assert seen == {True, False}
    answers = [tiny.generate(each["question"], temperature=0, max_new_tokens=200).text for each in sums]
    expected = sum(text == f"{each['answer']}." for text, each in zip(answers, sums, strict=True)) / len(sums)
    assert results["sums_generate"]["exact_match,last"] == pytest.approx(expected)
    assert expected > 0.5


def likelihood(model, context, continuation):
    """The log-probability of a text after another, tokenized like in the harness, and whether it is the greedy text."""
    ids = model.tokenizer.encode(context)
    ids += model.tokenizer.encode(context + continuation)[len(ids) :]
    scores = model.score(ids, top=1)[len(model.tokenizer.encode(context)) - 1 :]
    return sum(score.logprob for score in scores), all(score.top[0].token_id == score.token_id for score in scores)


def best_beginning(model, a, b):
    """The first token of a greedy answer to the question; "x" if it has no text."""
    return model.generate(f"What is {a} + {b}?", raw=True, temperature=0, max_new_tokens=1, ignore_eos=True).text or "x"
