"""Every form of a line, and every error of one: the output has the error at its place, and the other lines' answers."""

import base64
import json
import re

import numpy as np
import pytest
from batch_jobs import chat_line

from qwen3cpu.batch import run_file
from qwen3cpu.batch.input_file import LONGEST, InputFile
from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.healing import Healing


def run(model, job, lines, **options):
    source, output = job(lines)
    summary = run_file(model, source, output, **options)
    found = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert len(found) == summary.lines
    return found


def with_url(url, custom_id="x", method="POST", **body):
    return {"custom_id": custom_id, "method": method, "url": url, "body": body}


GOOD = {"prompt": "hello", "max_new_tokens": 2}


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("{bad", "invalid_json", "the line is not JSON"),
        ("[1]", "invalid_json", "expected a JSON object, found a list"),
        (b"\xff\xfe{", "invalid_json", "the line is not JSON"),
        ('{"prompt": NaN}', "invalid_json", "NaN is not a JSON number"),
        ({"prompt": "x", "custom_id": 5}, "invalid_type", "custom_id: expected a text, found int"),
        ({}, "missing_required_parameter", "prompt: expected a prompt or messages; found neither"),
        ({"prompt": "x", "messages": []}, "missing_required_parameter", "found both"),
        ({"prompt": "x", "max_new_tokenz": 1}, "invalid_value", "did you mean 'max_new_tokens'"),
        ({"prompt": "x", "deadline": 1}, "invalid_value", "deadline: expected none in a job"),
        ({"prompt": "x", "n": 2}, "invalid_value", "n: expected none"),
        ({"prompt": "x", "temperature": -1}, "invalid_value", "temperature"),
        ({"prompt": "x", "logit_bias": {"a": 1}}, "invalid_value", "logit_bias"),
        ({"prompt": "long " * 40_000}, "context_length_exceeded", "tokens"),
        ({"messages": [{"role": "king", "content": "x"}]}, "invalid_value", "messages[0].role"),
        (with_url("/v1/chat/completions", method="GET"), "invalid_value", "method: expected POST"),
        (with_url("/v1/audio"), "invalid_url", "url: expected one of /v1/chat/completions"),
        ({**with_url("/v1/completions"), "body": 5}, "invalid_value", "body: expected an object"),
        ({**with_url("/v1/completions"), "extra": 5}, "unknown_parameter", "extra: expected only custom_id"),
        ({"url": "/v1/completions", "body": {}}, "missing_required_parameter", "custom_id: expected a text"),
    ],
)
def test_a_wrong_line_has_an_error_in_its_place(model, job, line, code, words):
    before, found, after = run(model, job, [GOOD, line, {**GOOD, "seed": 1}])
    assert before["error"] is after["error"] is None
    assert found["error"]["code"] == code
    assert words in found["error"]["message"]
    assert found["error"]["line"] == 2
    assert found.get("response") is found.get("result") is None


@pytest.mark.parametrize(
    ("line", "status", "code", "param"),
    [
        (chat_line("x", "hi", model="gpt-4o"), 404, "model_not_found", "model"),
        (chat_line("x", "hi", max_tokns=4), 400, "unknown_parameter", "max_tokns"),
        (chat_line("x", "hi", stream=True), 400, "invalid_value", "stream"),
        (chat_line("x", "hi", deadline=2.0), 400, "invalid_value", "deadline"),
        (chat_line("x", "hi", temperature="hot"), 400, "invalid_type", "temperature"),
        (chat_line("x", "hi", n=17), 400, "invalid_value", "n"),
        (chat_line("x", "long " * 40_000), 400, "context_length_exceeded", "messages"),
        (chat_line("x", "hi", messages=[]), 400, None, "messages"),
        (with_url("/v1/completions", prompt=["a", "b" * 400_000]), 400, "context_length_exceeded", "prompt[1]"),
        (with_url("/v1/responses", input=[{"role": "user"}]), 400, None, "input[0].content"),
        (with_url("/v1/embeddings", input="a"), 400, "not_an_embedding_model", "model"),
    ],
)
def test_a_wrong_body_has_the_response_of_the_server(model, job, line, status, code, param):
    found, after = run(model, job, [line, GOOD])
    assert after["error"] is None
    assert found["error"] is None
    assert found["custom_id"] == "x"
    assert found["response"]["status_code"] == status
    error = found["response"]["body"]["error"]
    assert (error["code"], error["param"]) == (code, param)


def test_forms_of_answers(model, job):
    """The form of an answer in a line replaces that of the job, in both forms of a line."""
    pytest.importorskip("llguidance")
    lines = [
        {"prompt": "1"},
        {"prompt": "1", "regex": "[a-d]{3}"},
        chat_line("chat", "1", max_tokens=200, guided_regex="[a-d]{3}"),
        with_url("/v1/completions", "text", prompt="1", guided_choice=["ja"]),
        {"prompt": "1", "choices": []},
    ]
    plain, own, chat, text, wrong = run(model, job, lines, choices=["nein"])
    assert plain["result"]["text"] == "nein"
    assert re.fullmatch("[a-d]{3}", own["result"]["text"])
    assert re.fullmatch("[a-d]{3}", chat["response"]["body"]["choices"][0]["message"]["content"])
    assert text["response"]["body"]["choices"][0]["text"] == "ja"
    assert wrong["error"]["message"].startswith("choices: expected at least one string")


def test_samplers(model, job):
    """In both forms of a line, and as options of the job."""
    own = {"xtc_probability": 0.5, "xtc_threshold": 1e-4, "dry_multiplier": 3, "dry_sequence_breakers": ["+"]}
    given = {"seed": 3, "temperature": 3.0}
    lines = [
        {"prompt": "17 + 25?", "max_new_tokens": 40, **given, **own},
        {"prompt": "17 + 25?", "max_new_tokens": 40, **given, "xtc_probability": 0},
        chat_line("x", "17 + 25?", **given, **own),
    ]
    line, without, chat = run(model, job, lines, top_n_sigma=6.0)
    expected = model.generate("17 + 25?", max_new_tokens=40, top_n_sigma=6.0, **given, **own)
    assert line["result"]["token_ids"] == list(expected.token_ids)
    expected = model.generate("17 + 25?", max_new_tokens=40, top_n_sigma=6.0, **given)
    assert without["result"]["token_ids"] == list(expected.token_ids) != line["result"]["token_ids"]
    message = chat["response"]["body"]["choices"][0]["message"]
    expected = model.generate("17 + 25?", max_new_tokens=8, **given, **own)
    assert (message["content"] or "", message["reasoning_content"]) == (expected.text, expected.reasoning)


def test_token_healing(model, job):
    """In both forms of a line; it is refused where the prompt is not raw text."""
    given = {"seed": 3, "token_healing": True}
    lines = [
        {"prompt": "Tom has 3 app", "raw": True, "max_new_tokens": 5, **given},
        with_url("/v1/completions", prompt="Tom has 3 app", max_tokens=5, **given),
        {"prompt": "Tom has 3 app", **given},
    ]
    line, text, wrong = run(model, job, lines)
    expected = model.generate("Tom has 3 app", raw=True, max_new_tokens=5, **given)
    assert line["result"]["token_ids"] == list(expected.token_ids)
    kept = Healing(model.tokenizer, model.tokenizer.encode("Tom has 3 app"), True).prompt
    whole = model.tokenizer.decode([*kept, *expected.token_ids])
    assert "Tom has 3 app" + text["response"]["body"]["choices"][0]["text"] == whole
    assert "token_healing: expected a text that is fed unchanged" in wrong["error"]["message"]


def test_repeated_names_are_refused_with_both_lines(model, job):
    source, output = job([GOOD, {**GOOD, "custom_id": "same"}, "", chat_line("other", "x"), chat_line("same", "x")])
    with pytest.raises(ArgumentError, match=r'lines 2 and 5 have the same custom_id "same"'):
        run_file(model, source, output)


def test_a_name_that_looks_like_a_number_is_not_a_line(model, job):
    first, second = run(model, job, [{**GOOD, "custom_id": "2"}, GOOD])
    assert first["result"]["seed"] != second["result"]["seed"]


def test_a_byte_order_mark_and_line_ends(model, job):
    text = json.dumps(GOOD).encode()
    found = run(model, job, [b"\xef\xbb\xbf" + text + b"\r", b" \t\r", text])
    assert [each["line"] for each in found] == [1, 3]
    assert [each["error"] for each in found] == [None, None]


def test_a_line_that_is_too_long(model, job):
    found = run(model, job, [b'{"prompt": "' + b"a" * (2 * LONGEST) + b'"}', GOOD])
    assert f"expected a line of at most {LONGEST} bytes" in found[0]["error"]["message"]
    assert found[1]["error"] is None


def test_ids_and_times_depend_on_nothing_but_the_line(model, job):
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "maxProperties": 0}}}]
    forced = {"tools": tools, "tool_choice": "required", "max_tokens": 64}
    lines = [
        chat_line("a", "hi", reasoning_effort="none", **forced),
        with_url(
            "/v1/responses",
            "b",
            input="hi",
            think=False,
            tools=[{"type": "function", **tools[0]["function"]}],
            tool_choice="required",
        ),
        {"prompt": "hi", "thinking": False, **forced},
    ]
    chat, reply, plain = run(model, job, lines)
    body = chat["response"]["body"]
    assert body["created"] == 0
    assert body["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    calls = body["choices"][0]["message"]["tool_calls"]
    assert calls[0]["id"].startswith("call_")
    output = reply["response"]["body"]["output"]
    assert reply["response"]["body"]["created_at"] == 0
    assert output[-1]["type"] == "function_call"
    assert len({chat["id"], reply["id"], plain["id"], calls[0]["id"], output[-1]["id"], output[-1]["call_id"]}) == 6
    assert "timings" not in plain["result"]
    assert plain["result"]["tool_calls"][0]["id"].startswith("call_")
    (source, path) = job(lines)
    before = path.read_bytes()
    run_file(model, source, path, restart=True)
    assert path.read_bytes() == before


def test_vectors(embedding_model, job):
    texts = [f"text number {number}" for number in range(300)]
    lines = [
        with_url("/v1/embeddings", "one", input="the sky"),
        with_url("/v1/embeddings", "many", input=texts, dimensions=32, encoding_format="base64"),
        with_url("/v1/embeddings", "wrong", input=[]),
        with_url("/v1/chat/completions", "chat", messages=[]),
        GOOD,
        *(with_url("/v1/embeddings", text, input=text) for text in texts),
    ]
    one, many, wrong, chat, plain, *rest = run(embedding_model, job, lines)
    expected = embedding_model.embed(["the sky", *texts])
    assert one["response"]["body"]["data"][0]["embedding"] == expected[0].tolist()
    found = [base64.b64decode(each["embedding"]) for each in many["response"]["body"]["data"]]
    short = embedding_model.embed(texts, dimensions=32)
    assert (np.array([np.frombuffer(each, "<f4") for each in found]) == short).all()
    assert wrong["response"]["status_code"] == chat["response"]["status_code"] == 400
    assert plain["error"]["code"] == "missing_required_parameter"
    assert [each["response"]["body"]["data"][0]["embedding"] for each in rest] == expected[1:].tolist()


def test_lines_that_begin_alike_stand_side_by_side(job):
    beginnings = ["a" * 3000, "b" * 3000, "a" * 600]
    lines = [chat_line(str(number), beginnings[number % 3] + f"{number}") for number in range(9)]
    source, _ = job(lines)
    file = InputFile(source)
    # Those of the first beginning come first, and the third shares 512 characters with it.
    assert file.order.tolist() == [0, 3, 6, 2, 5, 8, 1, 4, 7]
    file.close()


def test_many_thousand_lines_take_little_memory(tmp_path):
    import tracemalloc

    path = tmp_path / "in.jsonl"
    path.write_text("".join(f'{{"prompt": "{"word " * 20}{number}"}}\n' for number in range(10_000)))
    tracemalloc.start()
    file = InputFile(path)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(file) == 10_000
    assert kept < 10_000 * 64
    assert peak < 10_000 * 400
    file.close()
