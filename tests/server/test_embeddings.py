"""POST /v1/embeddings: the vectors of Model.embed, in OpenAI's form and with the fields of other servers."""

import base64

import numpy as np
import openai
import pytest
from retrieval_models import write_embedding_model

import qwen3cpu

PATH = "/v1/embeddings"
TEXTS = ["the sky is blue", "", "hello world " * 20, "世界 é 👋🏽", "<|im_end|>"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedding") / "model"
    write_embedding_model(folder, max_position_embeddings=512)
    return qwen3cpu.load(folder, quant="q8", threads=1)


@pytest.fixture(scope="module")
def server(model):
    from running import Running

    running = Running(model, model_name="vectors", max_texts=2000)
    yield running
    running.close()


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def vectors(reply):
    """The vectors of a reply, in the order of the texts."""
    assert [item["index"] for item in reply["data"]] == list(range(len(reply["data"])))
    return np.array([item["embedding"] for item in reply["data"]], np.float32)


def tokens(model, texts, before=""):
    """Tokens of texts with their end tokens."""
    return sum(len(model.tokenizer.encode(before + text)) + 1 for text in texts)


@pytest.mark.parametrize("form", ["float", "base64", None])
def test_openais_client_gets_the_vectors_of_embed(client, model, form):
    options = {} if form is None else {"encoding_format": form}
    reply = client.embeddings.create(model="vectors", input=TEXTS, **options)
    found = [item.embedding for item in reply.data]
    if form == "base64":
        found = [np.frombuffer(base64.b64decode(each), "<f4") for each in found]
    assert (np.array(found, np.float32) == model.embed(TEXTS)).all()
    assert reply.model == "vectors"
    assert reply.usage.prompt_tokens == reply.usage.total_tokens == tokens(model, TEXTS)
    one = client.embeddings.create(model="vectors", input=TEXTS[0], dimensions=20, user="me")
    assert (np.array(one.data[0].embedding, np.float32) == model.embed(TEXTS[0], dimensions=20)).all()


def test_token_ids(server, model):
    lists = [model.tokenizer.encode(text) for text in TEXTS if text]
    expected = model.embed([text for text in TEXTS if text])
    assert (vectors(server.ok(PATH, input=lists)) == expected).all()
    assert (vectors(server.ok(PATH, input=lists[0])) == expected[:1]).all()


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"kind": "query"}, {"kind": "query"}),
        ({"input_type": "search_query"}, {"kind": "query"}),
        ({"input_type": "search_document"}, {}),
        ({"task": "retrieval.query"}, {"kind": "query"}),
        ({"prompt_name": "query"}, {"kind": "query"}),
        ({"kind": "query", "instruction": "Find a colour"}, {"kind": "query", "instruction": "Find a colour"}),
        ({"normalize": False}, {"normalize": False}),
        ({"normalized": False, "output_dimension": 9}, {"normalize": False, "dimensions": 9}),
        ({"embedding_type": "float", "truncation": True, "late_chunking": False, "embd_normalize": 2}, {}),
        ({"dimensions": None, "user": None, "add_special_tokens": True, "output_dtype": "float"}, {}),
    ],
    ids=str,
)  # fmt: skip
def test_fields_of_ours_and_of_others(server, model, fields, options):
    response = server.post(PATH, {"input": TEXTS, **fields})
    assert response.status_code == 200, response.text
    assert "x-qwen3cpu-ignored" not in response.headers
    assert (vectors(response.json()) == model.embed(TEXTS, **options)).all()


@pytest.mark.parametrize("name", ["inputs", "texts", "content"])
def test_other_names_of_the_input(server, model, name):
    assert (vectors(server.ok(PATH, **{name: TEXTS})) == model.embed(TEXTS)).all()
    error = server.refused(PATH, {name: ["a", "number " * 5000]}, 400)
    assert error["param"] == f"{name}[1]"


@pytest.mark.parametrize("truncate", [True, "END", "right"])
def test_long_texts_are_cut_when_that_is_asked_for(server, model, truncate):
    texts = ["number " * 5000, "a"]
    expected = model.embed(texts, truncate=True)
    assert (vectors(server.ok(PATH, input=texts, truncate=truncate)) == expected).all()
    assert (vectors(server.ok(PATH, input=texts, truncate_prompt_tokens=-1)) == expected).all()
    assert server.refused(PATH, {"input": texts, "truncate": "NONE"}, 400)["code"] == "context_length_exceeded"


def test_ignored_fields_are_named(server):
    response = server.post(PATH, {"input": "a", "user": "me", "keep_alive": 5, "dimension": 3})
    assert response.headers["x-qwen3cpu-ignored"] == "user, keep_alive, dimension"
    assert response.headers["x-qwen3cpu-hint"] == "dimension: did you mean dimensions?"


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "input", "input: field required"),
        ({"input": []}, "input", "input: expected at least one text, found an empty list"),
        ({"input": 5}, "input", "input: expected a text, token ids, or a list of them, found 5"),
        ({"input": ["a", 5]}, "input[1]", "input[1]: expected a text or token ids, found 5"),
        ({"input": [[1], [2, "a"]]}, "input[1][1]", "input[1][1]: expected a token id from 0 to"),
        ({"input": [1, "a"]}, "input[1]", "input[1]: expected a token id from 0 to"),
        ({"input": [[1], {}]}, "input[1]", "input[1]: expected a text or token ids, found {}"),
        ({"input": [[1], [2, 99999]]}, "input[1][1]", "input[1][1]: expected a token id from 0 to"),
        ({"input": [1, -1]}, "input[1]", "input[1]: expected a token id from 0 to"),
        ({"input": ["a", "number " * 5000]}, "input[1]", "input[1]: expected at most 511 tokens, found"),
        ({"input": ["a"] * 2001}, "input", "input: expected at most 2000 texts, found 2001"),
        ({"input": "a", "dimensions": 65}, "dimensions", "dimensions: expected a number of dimensions from 1 to 64"),
        ({"input": "a", "output_dimension": 65}, "output_dimension", "output_dimension: expected a number of"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "encoding_format: input should be 'float' or"),
        ({"input": "a", "input_type": "clustering"}, "input_type", "input_type: expected one of query, search_query"),
        ({"input": "a", "instruction": "b"}, "instruction", "instruction: expected none with kind='document'"),
        ({"input": "a", "truncate": "START"}, "truncate", "truncate: expected true, false, END or NONE"),
        ({"input": "a", "embedding_types": ["int8"]}, "embedding_types", "embedding_types: not supported"),
        ({"messages": []}, "messages", "messages: not supported; expected input"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_errors_name_the_field_and_its_place(server, body, param, words):
    error = server.refused(PATH, body, 400)
    assert error["param"] == param
    assert words in error["message"]


def test_half_a_surrogate_pair_is_refused(server):
    headers = {"content-type": "application/json"}
    response = server.http.post(PATH, content=b'{"input": ["a", "\\ud800"]}', headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "input[1]"


def test_another_model(server):
    assert server.refused(PATH, {"input": "a", "model": "other"}, 404)["code"] == "model_not_found"


def test_a_text_far_over_the_context_is_refused_unencoded(server, model, monkeypatch):
    longest = []
    encode = type(model.tokenizer)._encode_plain
    monkeypatch.setattr(
        type(model.tokenizer), "_encode_plain", lambda self, text: longest.append(len(text)) or encode(self, text)
    )
    assert server.refused(PATH, {"input": ["a", "river " * 400_000]}, 400)["param"] == "input[1]"
    assert max(longest) < 100


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
        ("/v1/completions", {"prompt": "a"}),
        ("/v1/responses", {"input": "a"}),
        ("/v1/rerank", {"query": "a", "documents": ["b"]}),
    ],
)
def test_an_embedding_model_does_nothing_else(server, path, body):
    error = server.refused(path, body, 400)
    assert error["message"].startswith("vectors is an embedding model, not a ")
    assert error["message"].endswith("; expected a request to /v1/embeddings or /api/embed")
    assert error["param"] == "model"


def test_what_the_model_is_for_is_told(server, model):
    assert server.http.get("/health").json() == {"status": "ok", "task": "embedding"}
    (card,) = server.http.get("/v1/models").json()["data"]
    assert (card["task"], card["dimensions"]) == ("embedding", model.config.hidden_size)
    assert server.ok("/tokenize", prompt="hello")["tokens"] == model.tokenizer.encode("hello")


def test_a_model_that_writes_text_embeds_when_that_is_asked_for(serve):
    tiny = qwen3cpu.load("tiny", threads=1, task="embedding")
    found = serve(tiny).ok(PATH, input=TEXTS)
    assert (vectors(found) == tiny.embed(TEXTS)).all()


def test_many_texts_come_in_pieces(server, model, client):
    texts = [f"number {place} {'a ' * (place % 37)}" for place in range(1000)]
    expected = model.embed(texts)
    with server.http.stream("POST", PATH, json={"input": texts}) as response:
        assert "content-length" not in response.headers
        response.read()
    assert (vectors(response.json()) == expected).all()
    reply = client.embeddings.create(model="vectors", input=texts)
    assert (np.array([item.embedding for item in reply.data], np.float32) == expected).all()
    assert reply.usage.total_tokens == tokens(model, texts)
