"""A reranker orders the passages that the index finds, and a chat model gets them with their places."""

import pytest
from retrieval_models import write_scoring_model

import qwen3cpu
from qwen3cpu.search import Hit, SearchIndex, answer_messages, sources

pytest.importorskip("sqlite_vec")


@pytest.fixture(scope="module")
def reranker(tmp_path_factory):
    path = tmp_path_factory.mktemp("reranker") / "model"
    write_scoring_model(path, (3, 4), max_position_embeddings=2048)
    return qwen3cpu.load(path, quant="q8", threads=1)


@pytest.fixture
def index(model, tmp_path):
    for number in range(40):
        (tmp_path / f"{number:02}.txt").write_text(f"number {number} is blue")
    with SearchIndex(tmp_path, model) as index:
        index.update()
        yield index


def test_a_reranker_orders_the_nearest_passages(index, reranker):
    near = index.search("blue", top_n=20)
    expected = reranker.rerank("blue", [hit.text for hit in near], top_n=3)
    found = index.search("blue", top_n=3, reranker=reranker)
    assert [(hit.file, hit.score) for hit in found] == [(near[place].file, score) for place, score in expected]
    other = index.search("blue", top_n=3, reranker=reranker, instruction="Find a number")
    near = index.search("blue", top_n=20, instruction="Find a number")
    expected = reranker.rerank("blue", [hit.text for hit in near], top_n=3, instruction="Find a number")
    assert [(hit.file, hit.score) for hit in other] == [(near[place].file, score) for place, score in expected]


def test_an_empty_index_has_nothing_to_rerank(model, reranker, tmp_path):
    (tmp_path / "folder").mkdir()
    with SearchIndex(tmp_path / "folder", model) as index:
        index.update()
        assert index.search("blue") == index.search("blue", reranker=reranker) == []


def test_a_chat_model_gets_question_passages_and_places():
    hits = [Hit("a.txt", 3, None, 0.5, "one"), Hit("b.pdf", 1, 7, 0.4, "two\nthree")]
    (message,) = answer_messages("why?", hits)
    assert message["role"] == "user"
    assert message["content"].endswith("\n\n[1] a.txt:3\none\n\n[2] b.pdf: page 7\ntwo\nthree\n\nQuestion: why?")
    assert sources(hits) == "[1] a.txt:3\n[2] b.pdf: page 7"
    assert hits[1].to_dict() == {"file": "b.pdf", "line": 1, "page": 7, "score": 0.4, "text": "two\nthree"}
