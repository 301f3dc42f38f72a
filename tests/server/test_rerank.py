"""POST /v1/rerank, /v2/rerank and /rerank: the scores of Model.rerank in the forms of Cohere, Jina and TEI."""

import math

import httpx
import pytest
from retrieval_models import write_scoring_model

import qwen3cpu

PATHS = ["/v1/rerank", "/v2/rerank", "/rerank"]
QUERY = "what colour is the sky?"
DOCUMENTS = ["bread is made of flour", "the sky is blue", "", "hello world " * 20, "世界 é"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scoring") / "model"
    write_scoring_model(folder, (300, 40), max_position_embeddings=1024)
    return qwen3cpu.load(folder, quant="q8", threads=1)


@pytest.fixture(scope="module")
def server(model):
    from running import Running

    running = Running(model, model_name="scores", max_texts=2000)
    yield running
    running.close()


@pytest.mark.parametrize("path", PATHS)
def test_cohere_and_jina(server, model, path):
    expected = model.rerank(QUERY, DOCUMENTS)
    reply = server.ok(path, model="scores", query=QUERY, documents=DOCUMENTS)
    assert [(item["index"], item["relevance_score"]) for item in reply["results"]] == list(expected)
    assert all(set(item) == {"index", "relevance_score"} for item in reply["results"])
    assert reply["model"] == "scores"
    assert reply["id"]
    usage = reply["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] == reply["meta"]["tokens"]["input_tokens"] > 5 * 50
    best = server.ok(path, query=QUERY, documents=DOCUMENTS, top_n=2, return_documents=True)
    assert [(item["index"], item["document"]["text"]) for item in best["results"]] == [
        (place, DOCUMENTS[place]) for place in expected.order[:2]
    ]


def test_tei(server, model):
    expected = model.rerank(QUERY, DOCUMENTS)
    found = server.ok("/rerank", query=QUERY, texts=DOCUMENTS)
    assert [(item["index"], item["score"]) for item in found] == list(expected)
    assert all(set(item) == {"index", "score"} for item in found)
    raw = server.ok("/rerank", query=QUERY, texts=DOCUMENTS, raw_scores=True, return_text=True, truncate=False)
    assert [item["index"] for item in raw] == expected.order
    assert [item["text"] for item in raw] == [DOCUMENTS[place] for place in expected.order]
    for item, (_, score) in zip(raw, expected, strict=True):
        assert 1 / (1 + math.exp(-item["score"])) == pytest.approx(score, rel=1e-12)


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"instruction": "Find a colour"}, {"instruction": "Find a colour"}),
        ({"max_tokens_per_doc": 2}, {"max_tokens_per_doc": 2}),
        ({"top_k": 3}, {"top_n": 3}),
        ({"top_n": 100, "rank_fields": ["text"], "truncation": True}, {}),
        ({"documents": [{"text": text} for text in DOCUMENTS]}, {}),
        ({"return_documents": None, "truncation_direction": "Right", "priority": 0}, {}),
    ],
    ids=str,
)
def test_fields_of_ours_and_of_others(server, model, fields, options):
    response = server.post("/v2/rerank", {"query": QUERY, "documents": DOCUMENTS, **fields})
    assert response.status_code == 200, response.text
    assert "x-qwen3cpu-ignored" not in response.headers
    found = [(item["index"], item["relevance_score"]) for item in response.json()["results"]]
    assert found == list(model.rerank(QUERY, DOCUMENTS, **options))


def test_long_documents_are_cut_when_that_is_asked_for(server, model):
    documents = ["number " * 5000, "a"]
    expected = model.rerank(QUERY, documents, truncate=True)
    found = server.ok("/rerank", query=QUERY, texts=documents, truncate=True)
    assert [(item["index"], item["score"]) for item in found] == list(expected)


def test_ignored_fields_are_named(server):
    documents = [{"text": "a", "title": "b"}, "c", {"text": "d", "url": "e"}]
    response = server.post("/v1/rerank", {"query": "a", "documents": documents, "max_chunks_per_doc": 3})
    assert response.headers["x-qwen3cpu-ignored"] == "max_chunks_per_doc, documents[0].title, documents[2].url"


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"query": "a"}, "documents", "documents: field required"),
        ({"documents": ["a"]}, "query", "query: field required"),
        ({"query": 5, "documents": ["a"]}, "query", "query: input should be a valid string"),
        ({"query": "a", "documents": []}, "documents", "documents: expected at least one text"),
        ({"query": "a", "texts": []}, "texts", "texts: expected at least one text"),
        ({"query": "a", "texts": ["b"], "documents": ["b"]}, "texts", "texts: expected either documents or texts"),
        ({"query": "a", "documents": ["b", 5]}, "documents[1]", "documents[1]: expected a text, or an object"),
        ({"query": "a", "documents": [{"title": "b"}]}, "documents[0]", "documents[0]: expected a text, or an object"),
        ({"query": "a", "texts": ["b", "number " * 5000]}, "texts[1]", "texts[1]: expected at most"),
        ({"query": "number " * 5000, "documents": ["b"]}, "query", "query: expected at most"),
        ({"query": "a", "documents": ["b"] * 2001}, "documents", "documents: expected at most 2000 texts"),
        ({"query": "a", "documents": ["b"], "top_n": 0}, "top_n", "top_n: expected a number of documents"),
        ({"query": "a", "documents": ["b"], "top_k": 0}, "top_k", "top_k: expected a number of documents"),
        ({"query": "a", "documents": ["b"], "max_tokens_per_doc": 0}, "max_tokens_per_doc", "max_tokens_per_doc: "),
        ({"query": "a", "documents": ["b"], "rank_fields": ["x"]}, "rank_fields", "rank_fields: not supported"),
        ({"query": "a", "documents": ["b"], "use_activation": False}, "use_activation", "expected raw_scores"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_errors_name_the_field_and_its_place(server, body, param, words):
    error = server.refused("/rerank", body, 400)
    assert error["param"] == param
    assert words in error["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
        ("/v1/completions", {"prompt": "a"}),
        ("/v1/embeddings", {"input": "a"}),
    ],
)
def test_a_reranker_does_nothing_else(server, path, body):
    error = server.refused(path, body, 400)
    assert error["message"].startswith("scores is a reranker, not a")
    assert error["message"].endswith("; expected a request to /v1/rerank, /v2/rerank or /rerank")


def test_what_the_model_is_for_is_told(server):
    assert server.http.get("/health").json() == {"status": "ok", "task": "reranking"}
    (card,) = server.http.get("/v1/models").json()["data"]
    assert card["task"] == "reranking"


@pytest.mark.parametrize("path", PATHS)
def test_a_model_that_writes_text_scores_nothing(serve, tiny, path):
    error = serve(tiny).refused(path, {"query": "a", "documents": ["b"]}, 400)
    assert error["code"] == "not_a_reranker"
    assert error["message"].startswith("tiny is a language model, not a reranker")


def test_cohere_s_client(server, model):
    cohere = pytest.importorskip("cohere", reason="cohere is not installed (extra [clients])")
    expected = list(model.rerank(QUERY, DOCUMENTS, top_n=3))
    with httpx.Client() as http:  # the library does not close a client of its own
        for kind in (cohere.ClientV2, cohere.Client):
            client = kind(api_key="none", base_url=server.url, httpx_client=http)
            reply = client.rerank(model="scores", query=QUERY, documents=DOCUMENTS, top_n=3)
            assert [(item.index, item.relevance_score) for item in reply.results] == expected
            assert reply.id
