"""GET /openapi.json: it is valid, has every route, and describes bodies and responses correctly."""

import json

import jsonschema
import pytest
from starlette.routing import Route
from support.scripts import script_module

from qwen3cpu._version import VERSION
from qwen3cpu.server.openapi.document import document, plain_path
from qwen3cpu.server.openapi.fields import DESCRIPTIONS
from qwen3cpu.server.openapi.operations import OPERATIONS

QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]
CALLS = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
SHORT = {"max_tokens": 4}
ANSWERED = [
    ("/v1/chat/completions", {"messages": QUESTION, **SHORT, "temperature": 0.5, "seed": -1, "top_k": -1}),
    (
        "/v1/chat/completions",
        {"messages": QUESTION, **SHORT, "logprobs": True, "top_logprobs": 2, "n": 2, "user": "me"},
    ),
    ("/v1/chat/completions", {"messages": QUESTION, **SHORT, "guided_choice": ["a", "b"], "think": False}),
    (
        "/v1/chat/completions",
        {"messages": QUESTION, **SHORT, "logit_bias": [[5, False]], "thinking": {"type": "disabled"}},
    ),
    ("/v1/chat/completions", {"messages": QUESTION, "n_predict": 4, "response_format": {"type": "json_object"}}),
    ("/v1/chat/completions", {"messages": QUESTION, **SHORT, "functions": [{"name": "f", "parameters": CALLS}]}),
    ("/v1/chat/completions", {"messages": QUESTION, **SHORT, "format": CALLS, "reasoning": {"effort": "low"}}),
    ("/v1/chat/completions", {"messages": QUESTION, **SHORT, "nonsense": 1, "metadata": None, "stop": ["x"]}),
    ("/v1/completions", {"prompt": "Once", **SHORT, "echo": True, "logprobs": 1, "suffix": ""}),
    ("/v1/completions", {"prompt": [[1, 2], [3]], **SHORT, "echo": None, "repeat_penalty": 1.1}),
    ("/v1/responses", {"input": "hello", "max_output_tokens": 4, "truncation": "auto", "metadata": {"a": "b"}}),
    ("/v1/responses", {"input": QUESTION, "max_tokens": 4, "text": {"format": {"type": "text"}}, "store": False}),
    ("/v1/messages", {"messages": QUESTION, **SHORT, "system": [{"type": "text", "text": "Be short."}]}),
    ("/v1/messages", {"messages": QUESTION, "max_tokens": 9, "thinking": {"type": "enabled", "budget_tokens": 2}}),
    ("/v1/messages", {"messages": QUESTION, **SHORT, "tools": [{"name": "f", "input_schema": CALLS}], "metadata": {}}),
    (
        "/v1/messages",
        {
            "messages": QUESTION,
            "max_tokens": 99,
            "tool_choice": {"type": "any"},
            "tools": [{"name": "f", "input_schema": CALLS}],
        },
    ),
    ("/v1/messages/count_tokens", {"messages": QUESTION, "stop_sequences": ["x"]}),
    ("/api/chat", {"messages": QUESTION, "stream": False, "options": {"num_predict": 4}, "keep_alive": "5m"}),
    ("/api/chat", {"messages": QUESTION, "stream": False, **SHORT, "logprobs": True, "think": True}),
    ("/api/chat", {"model": "tiny", "keep_alive": -1}),
    (
        "/api/generate",
        {"prompt": "hello", "stream": False, "num_predict": 4, "images": [], "template": "", "suffix": ""},
    ),
    ("/api/generate", {"model": "tiny:latest"}),
    ("/api/show", {"model": "tiny", "verbose": True}),
    ("/api/show", {"name": "tiny"}),
    ("/tokenize", {"prompt": "hello", "return_token_strs": True}),
    ("/tokenize", {"messages": QUESTION}),
    ("/detokenize", {"tokens": [5, 6]}),
    ("/apply-template", {"messages": QUESTION, "chat_template_kwargs": {"enable_thinking": False}}),
]
"""Bodies that the language model answers."""
VECTORS = [
    ("/v1/embeddings", {"input": "hello", "encoding_format": "base64"}),
    ("/v1/embeddings", {"inputs": ["a", "b"], "prompt_name": "query", "dimensions": 32, "truncate": "END"}),
    ("/v1/embeddings", {"input": [5, 6], "user": "me"}),
    ("/api/embed", {"input": ["a", "b"], "truncate": True, "options": {"num_ctx": 5}, "keep_alive": 5}),
    ("/api/embed", {"model": "tiny-embedding"}),
    ("/api/embeddings", {"prompt": "hello"}),
]
"""Bodies that an embedding model answers."""
STREAMING = {each.path for each in OPERATIONS if each.stream is not None and each.stream[0] == "text/event-stream"}
REFUSED = [
    ("/v1/chat/completions", {}),
    ("/v1/chat/completions", {"messages": "hello"}),
    ("/v1/chat/completions", {"messages": QUESTION, "temperature": "0.5"}),
    ("/v1/chat/completions", {"messages": QUESTION, "max_tokens": 1.5}),
    ("/v1/chat/completions", {"messages": QUESTION, "response_format": {"type": "xml"}}),
    ("/v1/completions", {"prompt": {"a": 1}}),
    ("/v1/completions", {"prompt": "a", "suffix": "b"}),
    ("/v1/responses", {"input": "a", "previous_response_id": "resp_1"}),
    ("/v1/messages", {"messages": QUESTION, "max_tokens": 5, "thinking": {"type": "perhaps"}}),
    ("/v1/messages", {"messages": QUESTION, "max_tokens": 5, "tool_choice": "auto"}),
    ("/api/chat", {"messages": QUESTION, "options": 5}),
    ("/api/generate", {"prompt": "hello", "images": ["abc"]}),
    ("/tokenize", {"prompt": "hello", "nonsense": 1}),
    ("/tokenize", {}),
    ("/detokenize", {"tokens": "abc"}),
]
"""Bodies that the schemas and the server refuse."""


@pytest.fixture(scope="module")
def described(server):
    return server.http.get("/openapi.json").json()


@pytest.fixture(scope="module")
def vectors_server(request):
    from running import Running

    import qwen3cpu

    running = Running(qwen3cpu.load("tiny-embedding", threads=1), model_name="tiny-embedding")
    yield running
    running.close()


def validator(described, schema):
    """A validator of values by a schema. References are resolved in the document."""
    return jsonschema.Draft202012Validator({**schema, "components": described["components"]})


def operation(described, path, method="post"):
    return described["paths"][path][method]


def body_schema(described, path):
    return operation(described, path)["requestBody"]["content"]["application/json"]["schema"]


def check_reply(described, path, response, method="post"):
    """Check that the document describes the response."""
    told = operation(described, path, method)["responses"][str(response.status_code)]
    schema = told["content"][response.headers["content-type"].partition(";")[0]]["schema"]
    if "$ref" in schema:
        validator(described, schema).validate(response.json())


@pytest.mark.parametrize("needs_key", [False, True])
def test_the_document_is_valid(needs_key):
    validating = pytest.importorskip("openapi_spec_validator")
    validating.validate(json.loads(json.dumps(document(needs_key=needs_key))))


def test_the_document_is_served(server, serve, tiny, described):
    assert described == document(needs_key=False)
    assert described["info"]["version"] == VERSION
    assert {} in described["security"]
    closed = serve(tiny, api_key="s3cret")
    assert closed.http.get("/openapi.json").status_code == 401
    found = closed.http.get("/openapi.json", headers={"x-api-key": "s3cret"}).json()
    assert found == document(needs_key=True)
    assert found["security"] == [{"bearer": []}, {"apiKey": []}]
    for path in found["paths"]:
        for method, told in found["paths"][path].items():
            concrete = path.replace("{model}", "tiny")
            status = closed.http.request(method, concrete).status_code
            assert (status == 401) == (told.get("security") != []), path


def test_every_route_is_in_the_document(server, described):
    routes = {
        (method.lower(), plain_path(route.path))
        for route in server.app.routes
        if isinstance(route, Route)
        for method in route.methods - {"HEAD"}
    }
    assert len(server.app.routes) == len(OPERATIONS)
    assert routes == {(method, path) for path in described["paths"] for method in described["paths"][path]}


def test_every_schema_is_used(described):
    text = json.dumps(described)
    for name in described["components"]["schemas"]:
        assert f"#/components/schemas/{name}" in text, name


def test_every_description_is_of_a_field():
    schemas = document(needs_key=False)["components"]["schemas"]
    bodies = [schemas[each.body.__name__] for each in OPERATIONS if each.body is not None]
    told = {(name, each["description"]) for body in bodies for name, each in body["properties"].items()}
    assert set(DESCRIPTIONS.items()) - told == set()


def check_answered(server, described, path, body):
    """Check that the document allows the body, the server answers it, and the document describes the reply."""
    validator(described, body_schema(described, path)).validate(body)
    response = server.post(path, body)
    assert response.status_code == 200, response.text
    check_reply(described, path, response)


@pytest.mark.parametrize(("path", "body"), ANSWERED)
def test_bodies_of_answers(server, described, path, body):
    check_answered(server, described, path, body)


@pytest.mark.parametrize(("path", "body"), VECTORS)
def test_bodies_of_vectors(vectors_server, described, path, body):
    check_answered(vectors_server, described, path, body)


@pytest.mark.parametrize(("path", "body"), REFUSED)
def test_bodies_that_are_refused(server, described, path, body):
    assert not validator(described, body_schema(described, path)).is_valid(body)
    response = server.post(path, body)
    assert response.status_code == 400, response.text
    check_reply(described, path, response)


@pytest.mark.parametrize(("path", "body"), [each for each in ANSWERED if each[0] in STREAMING])
def test_events_are_of_the_form(server, described, path, body):
    streams = operation(described, path)["responses"]["200"]["content"]["text/event-stream"]
    schema = {"$ref": streams["schema"]["description"].split()[-1]}
    for event in server.events(path, **body)[0]:
        validator(described, schema).validate(event)


def test_what_is_asked_with_get(server, described):
    for each in OPERATIONS:
        if each.method == "GET":
            response = server.http.get(each.path.replace("{model:path}", "tiny").replace("{name}", "app.js"))
            assert response.status_code == 200, each.path
            check_reply(described, plain_path(each.path), response, "get")
    missing = server.http.get("/v1/models/nobody")
    check_reply(described, "/v1/models/{model}", missing, "get")
    check_reply(described, "/api/pull", server.post("/api/pull", {"model": "a/b"}))


def test_scores(serve_folder, described):
    server = serve_folder()
    for body in ({"query": "a", "documents": ["b"], "top_k": 1}, {"query": "a", "texts": ["b"], "return_text": True}):
        body["model"] = "scores-reranker"
        validator(described, body_schema(described, "/v1/rerank")).validate(body)
        response = server.post("/v1/rerank", body)
        assert response.status_code == 200, response.text
        check_reply(described, "/v1/rerank", response)
    assert not validator(described, body_schema(described, "/v1/rerank")).is_valid({"query": "a"})


def test_the_page_of_the_documentation():
    tool = script_module("tools/http_api.py")
    assert tool.PAGE.read_text("utf-8") == tool.page(), "run `python tools/http_api.py`"
