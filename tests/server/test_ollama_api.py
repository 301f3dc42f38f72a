"""Ollama's API over plain HTTP: the forms of bodies, lines and errors, what is ignored, and Open WebUI's requests."""

import json

import pytest

from qwen3cpu.server.api.ollama.durations import keep_alive_seconds

CHAT, GENERATE = "/api/chat", "/api/generate"
TEXT = "What is 17 + 25?"
QUESTION = [{"role": "user", "content": TEXT}]
TOOL = {"function": {"name": "walk", "parameters": {"type": "object", "properties": {"fast": {"type": "boolean"}}}}}
END = ["total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"]


def lines(server, path, **body):
    """The lines of a streamed answer."""
    response = server.post(path, body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.text.endswith("\n")
    return [json.loads(line) for line in response.text.splitlines()]


def whole(server, path, **body):
    """An answer in one piece."""
    return server.ok(path, **body, stream=False)


def refused(server, path, body, status=400):
    """The message of an error, which has no other fields."""
    response = server.post(path, body)
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    return response.json()["error"]


def test_streaming_is_the_default(server, tiny):
    expected = tiny.generate(TEXT, seed=1)
    found = lines(server, CHAT, messages=QUESTION, options={"seed": 1})
    assert "".join(line["message"]["content"] for line in found) == expected.text
    assert all(list(line) == ["model", "created_at", "message", "done"] for line in found[:-1])
    assert list(found[-1]) == ["model", "created_at", "message", "done", "done_reason", *END, "seed"]
    assert found[-1]["message"] == {"role": "assistant", "content": ""}
    assert found[-1]["seed"] == 1
    found = lines(server, GENERATE, prompt=TEXT, options={"seed": 1}, model="tiny:latest")
    assert "".join(line["response"] for line in found) == expected.text
    assert {line["model"] for line in found} == {"tiny:latest"}
    assert list(found[-1]) == ["model", "created_at", "response", "done", "done_reason", "context", *END, "seed"]


def test_the_seed_repeats_an_answer(server):
    first = whole(server, CHAT, messages=QUESTION, options={"temperature": 2.0})
    again = whole(server, CHAT, messages=QUESTION, options={"temperature": 2.0, "seed": first["seed"]})
    assert again["message"] == first["message"]


def test_tools_without_a_type(server):
    body = {"messages": QUESTION, "tools": [TOOL], "tool_choice": "required", "options": {"seed": 1}}
    reply = whole(server, CHAT, **body)
    calls = reply["message"]["tool_calls"]
    assert [call["function"]["index"] for call in calls] == list(range(len(calls)))
    assert {call["function"]["name"] for call in calls} == {"walk"}
    streamed = [call for line in lines(server, CHAT, **body) for call in line["message"].get("tool_calls", ())]
    assert [call["function"] for call in streamed] == [call["function"] for call in calls]


def test_messages_may_lack_content_and_images(server):
    messages = [{"role": "system"}, {**QUESTION[0], "images": []}]
    own = [{"role": "system", "content": ""}, *QUESTION]
    options = {"seed": 1}
    assert (
        whole(server, CHAT, messages=messages, options=options)["message"]
        == whole(server, CHAT, messages=own, options=options)["message"]
    )


def test_an_answer_goes_on_with_the_assistants_last_message(server, tiny):
    expected = tiny.generate(TEXT, thinking=False, temperature=0).text
    messages = [*QUESTION, {"role": "assistant", "content": expected[:1]}]
    assert whole(server, CHAT, messages=messages, options={"temperature": 0})["message"] == {
        "role": "assistant",
        "content": expected[1:],
    }


def test_what_a_grammar_does_not_enforce_is_named(server):
    schema = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    for stream in (True, False):
        body = {"messages": QUESTION, "format": schema, "stream": stream, "options": {"num_predict": 3}}
        response = server.post(CHAT, body)
        assert response.headers["x-schema-unenforced"] == "/properties/a/uniqueItems"


@pytest.mark.parametrize(
    ("fields", "ignored"),
    [
        ({}, None),
        ({"keep_alive": -1, "options": {"num_ctx": 4096, "num_predict": 1}}, None),
        ({"keep_alive": "-1m"}, None),
        ({"keep_alive": "5m"}, "keep_alive"),
        ({"keep_alive": 0}, "keep_alive"),
        ({"options": {"num_ctx": 4097}}, "options.num_ctx"),
        ({"options": {"mirostat": 0, "num_gpu": 1, "num_predict": 1}}, "options.mirostat, options.num_gpu"),
        ({"options": {"num_batch": None}, "shift": True, "n": 3}, "shift, n"),
    ],
    ids=str,
)
@pytest.mark.parametrize(("path", "prompt"), [(CHAT, {"messages": QUESTION}), (GENERATE, {"prompt": TEXT})])
def test_what_has_no_meaning_is_ignored_and_named(server, path, prompt, fields, ignored):
    response = server.post(path, {**prompt, **fields, "stream": False})
    assert response.status_code == 200, response.text
    assert response.headers.get("x-qwen3cpu-ignored") == ignored
    assert "x-qwen3cpu-hint" not in response.headers


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(5, 5.0), (-1, -1.0), (0.5, 0.5), ("300", 300.0), ("5m", 300.0), ("1h30m", 5400.0), ("-1m", -60.0), ("1.5s", 1.5),
     ("250ms", 0.25), (".5h", 1800.0), ("-1", -1.0)],
)  # fmt: skip
def test_durations(value, seconds):
    assert keep_alive_seconds(value) == seconds


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (CHAT, {"messages": "hello"}, "messages: input should be a valid list"),
        (CHAT, {"messages": [5]}, "messages[0]: input should be"),
        (
            CHAT,
            {"messages": [{"role": "robot"}]},
            "messages[0].role: expected one of system, developer, user, assistant, tool, function, found",
        ),
        (CHAT, {"messages": [{"role": "user", "content": 5}]}, "messages[0].content: expected"),
        (
            CHAT,
            {"messages": QUESTION, "tools": [{"type": "function"}]},
            "tools[0].function: expected an object, found null",
        ),
        (CHAT, {"messages": QUESTION, "format": "xml"}, 'format: expected "json" or a JSON schema, found'),
        (CHAT, {"messages": QUESTION, "format": {"type": "foo"}}, "format: "),
        (CHAT, {"messages": QUESTION, "think": "wow"}, "think: expected one of none, minimal, low"),
        (
            CHAT,
            {"messages": QUESTION, "think": 5},
            "think: expected true or false, or a word for the effort such as none, low or high, found 5",
        ),
        (CHAT, {"messages": QUESTION, "options": [1]}, "options: expected an object, found a list"),
        (CHAT, {"messages": QUESTION, "options": {"num_predict": "9"}}, "options.num_predict: input should be"),
        (CHAT, {"messages": QUESTION, "options": {"num_predict": -9}}, "options.num_predict: expected a whole number"),
        (CHAT, {"messages": QUESTION, "options": {"repeat_penalty": -1}}, "options.repeat_penalty must be"),
        (CHAT, {"messages": QUESTION, "options": {"stop": [5]}}, "options.stop"),
        (CHAT, {"messages": QUESTION, "keep_alive": "soon"}, "keep_alive: expected seconds, or a duration such as 5m"),
        (CHAT, {"messages": QUESTION, "top_logprobs": 2}, "top_logprobs: expected logprobs to be true"),
        (CHAT, {"messages": QUESTION, "logprobs": True, "top_logprobs": 21}, "top_logprobs: expected 0 to 20"),
        (CHAT, {"messages": [{**QUESTION[0], "images": ["aGk="]}]}, "messages[0].images: not supported"),
        (CHAT, {"messages": [{"role": "user", "content": "a" * 9000}]}, "messages: the prompt has"),
        (GENERATE, {"prompt": 5}, "prompt: input should be a valid string"),
        (GENERATE, {"prompt": "a" * 9000}, "prompt: the prompt has"),
        (GENERATE, {"prompt": "a" * 9000, "raw": True}, "prompt: the prompt has"),
        (GENERATE, {"prompt": "a", "images": ["aGk="]}, "images: not supported"),
        (GENERATE, {"prompt": "a", "suffix": "b"}, "suffix: not supported"),
        (GENERATE, {"prompt": "a", "template": "{{ .Prompt }}"}, "template: not supported"),
        (GENERATE, {"prompt": "a", "raw": True, "system": "b"}, "system: expected none beside raw"),
        (GENERATE, {"prompt": "a", "raw": True, "context": [1]}, "context: expected none beside raw"),
        (GENERATE, {"prompt": "a", "context": [1, 99999]}, "context[1]: expected an id"),
        (GENERATE, {"prompt": "a", "context": ["b"]}, "context[0]: input should be"),
        (GENERATE, {"prompt": "a", "system": 5}, "system: input should be"),
        (GENERATE, {"prompt": "\ud800"}, "prompt"),
        ("/api/show", {"model": 5}, "model: input should be"),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_errors_name_the_clients_field(server, path, body, words):
    headers = {"content-type": "application/json"}
    response = server.http.post(path, content=json.dumps(body), headers=headers)
    assert response.status_code == 400, response.text
    assert list(response.json()) == ["error"]
    assert response.json()["error"].startswith(words)


def test_errors_of_all_kinds_have_ollamas_form(serve, tiny):
    server = serve(tiny, api_key="k", max_body=100)
    assert server.http.get("/api/tags").json()["error"].startswith("expected the API key")
    server.http.headers["authorization"] = "Bearer k"
    assert server.http.get("/api/tags").status_code == 200
    for method, path, status in (
        ("GET", "/api/nothing", 404),
        ("GET", CHAT, 405),
        ("DELETE", "/api/delete", 403),
        ("POST", "/api/pull", 403),
    ):
        response = server.http.request(method, path)
        assert (response.status_code, list(response.json())) == (status, ["error"])
    assert "not JSON" in server.http.post(CHAT, content=b"{").json()["error"]
    assert "too large" in refused(server, CHAT, {"messages": [{"role": "user", "content": "a" * 100}]}, 413)
    assert "is not here" in refused(server, "/api/show", {"name": "gpt"}, 404)
    assert "is not here" in refused(server, CHAT, {"model": "gpt", "messages": []}, 404)


def test_a_full_queue(serve, tiny):
    server = serve(tiny, queue=0, parallel=1)
    server.held.preparing = 1
    try:
        assert refused(server, CHAT, {"messages": QUESTION}, 429).startswith("the queue is full")
    finally:
        server.held.preparing = 0


def test_show_by_the_old_name(server):
    old, new = (server.ok("/api/show", **{field: "tiny"}) for field in ("name", "model"))
    assert old == new
    response = server.post("/api/show", {"model": "tiny", "verbose": True})
    assert response.headers["x-qwen3cpu-ignored"] == "verbose"
    assert "temperature" in response.json()["parameters"]


def test_the_requests_of_open_webui(server, tiny):
    """A chat with a title, as documented for Open WebUI's backend, from the list of models on."""
    assert tuple(map(int, server.http.get("/api/version").json()["version"].split("."))) > (0, 6, 4)
    (listed,) = server.http.get("/api/tags").json()["models"]
    assert set(listed) >= {"name", "model", "modified_at", "size", "digest", "details"}
    (running,) = server.http.get("/api/ps").json()["models"]
    assert running["model"] == listed["model"]
    shown = server.ok("/api/show", name=listed["model"])
    assert "completion" in shown["capabilities"]
    chat = {
        "model": listed["model"],
        "messages": [{"role": "system", "content": "Be brief."}, *QUESTION],
        "options": {"seed": 1, "num_ctx": 2048},
        "keep_alive": "5m",
        "stream": True,
    }
    found = lines(server, CHAT, **chat)
    text = "".join(line["message"]["content"] for line in found)
    expected = tiny.generate(chat["messages"], seed=1)
    assert text == expected.text
    assert found[-1]["eval_count"] / found[-1]["eval_duration"] > 0
    # Open WebUI sends the answer back without the reasoning, and the next question.
    chat["messages"] += [{"role": "assistant", "content": text}, {"role": "user", "content": "What is 1 + 2?"}]
    found = lines(server, CHAT, **chat)
    assert "".join(line["message"]["content"] for line in found) == tiny.generate(chat["messages"], seed=1).text
    # The title is made beside it, as JSON.
    title = {"type": "object", "properties": {"title": {"enum": ["Sums", "Cities"]}}, "required": ["title"]}
    asked = [{"role": "user", "content": "Give this chat a title."}]
    reply = whole(server, CHAT, model=listed["model"], messages=asked, format=title, options={"num_predict": 1000})
    assert json.loads(reply["message"]["content"])["title"] in ("Sums", "Cities")
    # Unloading is a prompt without text.
    assert server.ok(GENERATE, model=listed["model"], prompt="", keep_alive=0)["done_reason"] == "load"
