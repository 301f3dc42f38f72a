"""The embedding model inside the package finds the right one of 200 texts by meaning alone.

tiny_search.json has texts about facts of the little world, and questions with one right text each. The training data
has none of their wordings. It has the facts about who owns what in no wording at all (tools/tiny/facts.py).
"""

import json
import random
from pathlib import Path

import numpy as np
import pytest

import qwen3cpu
from qwen3cpu.search import SearchIndex, database

ASKED = json.loads((Path(__file__).parents[1] / "support" / "tiny_search.json").read_text(encoding="utf-8"))
TEXTS = ASKED["texts"]
QUESTIONS = [each["question"] for each in ASKED["questions"]]
RIGHT = [each["text"] for each in ASKED["questions"]]


@pytest.fixture(scope="module")
def model():
    return qwen3cpu.load("tiny-embedding", threads=1)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "texts"
    for place, text in enumerate(TEXTS):
        file = path / str(place % 7) / f"{place}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return path


def right_ones(index):
    """Count the questions whose first hit is the text that answers them."""
    return sum(
        index.search(question, top_n=1)[0].text == TEXTS[place]
        for question, place in zip(QUESTIONS, RIGHT, strict=True)
    )


def test_there_are_200_texts_and_20_questions():
    assert len(TEXTS) == len(set(TEXTS)) == 200
    assert len(QUESTIONS) == len(set(QUESTIONS)) == len(set(RIGHT)) == 20


def test_search_finds_the_right_text_first(folder, model):
    pytest.importorskip("sqlite_vec")
    with SearchIndex(folder, model) as index:
        assert index.update().added == 200
        assert right_ones(index) >= 17


def test_a_shuffled_index_finds_nothing(folder, model):
    pytest.importorskip("sqlite_vec")
    with SearchIndex(folder, model) as index:
        index.update()
        before = right_ones(index)
        path = index.path
    with database.connect(path) as connection:
        rows = connection.execute("select rowid, vector from vectors").fetchall()
        vectors = [vector for _, vector in rows]
        random.Random(1).shuffle(vectors)
        connection.executemany(
            "update vectors set vector = ? where rowid = ?",
            [(vector, id_) for (id_, _), vector in zip(rows, vectors, strict=True)],
        )
    connection.close()
    with SearchIndex(folder, model) as index:
        assert index.update().unchanged == 200
        assert right_ones(index) < 3 <= before


@pytest.mark.parametrize("quant", ["f32", "bf16", "q8", "q4"])
@pytest.mark.parametrize("dimensions", [128, 64, 32])
def test_all_formats_and_fewer_dimensions_find_it_too(quant, dimensions):
    model = qwen3cpu.load("tiny-embedding", quant=quant, threads=1)
    cosines = model.embed(QUESTIONS, kind="query", dimensions=dimensions) @ model.embed(TEXTS, dimensions=dimensions).T
    assert (cosines.argmax(1) == RIGHT).sum() >= 17


def test_a_query_without_its_instruction_is_another_vector(model):
    assert (model.embed(QUESTIONS) != model.embed(QUESTIONS, kind="query")).any(1).all()


def test_vectors_are_those_of_sentence_transformers():
    pytest.importorskip("torch")
    library = pytest.importorskip("sentence_transformers")
    path = Path(qwen3cpu.__file__).parent / "assets" / "tiny-embedding"
    theirs = library.SentenceTransformer(str(path), device="cpu", model_kwargs={"dtype": "float32"})
    ours = qwen3cpu.load("tiny-embedding", quant="f32", kv="f32", threads=1)
    for texts, kind in ((TEXTS, "document"), (QUESTIONS, "query")):
        found, expected = ours.embed(texts, kind=kind), theirs.encode(texts, prompt_name=kind)
        assert np.abs(found - expected).max() < 1e-5  # both compute in float32; values are at most 1


def test_the_package_grows_by_little():
    path = Path(qwen3cpu.__file__).parent / "assets" / "tiny-embedding"
    assert sum(file.stat().st_size for file in path.rglob("*")) < 1_500_000
