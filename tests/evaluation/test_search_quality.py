"""What formats cost models for search: the definitions of the numbers, the command, and the receipt."""

import itertools
import json

import numpy as np
import pytest
from cli_runs import run
from retrieval_models import write_embedding_model, write_scoring_model

import qwen3cpu
from qwen3cpu.errors import ArgumentError
from qwen3cpu.evaluation.measuring import measure

TEXT = " ".join(
    f"The {colour} {thing} {verb} {place}."
    for colour, thing, verb, place in itertools.product(
        ("blue", "red", "old"), ("sky", "fox", "house"), ("is", "sleeps", "was"), ("here", "far away", "in the town")
    )
)
SIZES = {"windows": 24, "window": 16}


@pytest.fixture(scope="module")
def embedding(tmp_path_factory):
    return write_embedding_model(tmp_path_factory.mktemp("embedding") / "model").folder


@pytest.fixture(scope="module")
def scoring(tmp_path_factory):
    return write_scoring_model(tmp_path_factory.mktemp("scoring") / "model", (300, 40)).folder


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "fox.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def pieces(model, length):
    """Return texts of `length` tokens each."""
    ids = model.tokenizer.encode(TEXT)[: SIZES["windows"] * SIZES["window"]]
    return [model.tokenizer.decode(ids[at : at + length]) for at in range(0, len(ids), length)]


def test_vectors_turn_and_neighbours_change(embedding):
    reference, model = (qwen3cpu.load(embedding, quant, threads=1) for quant in ("bf16", "q4"))
    (found,) = measure({"q4": model}, reference, TEXT, **SIZES)
    own, other = (each.embed(pieces(reference, 16)).astype(float) for each in (reference, model))
    cosines = [float(a @ b) for a, b in zip(own, other, strict=True)]
    assert found.mean_cosine == pytest.approx(np.mean(cosines))
    assert found.cosine_1 == pytest.approx(np.quantile(cosines, 0.01))
    nearest = []
    for vectors in (own, other):
        nearest.append(
            [
                sorted((place for place in range(24) if place != own_place), key=lambda p, v=vector: -(vectors[p] @ v))
                for own_place, vector in enumerate(vectors)
            ]
        )
    assert found.same_nearest == np.mean([a[0] == b[0] for a, b in zip(*nearest, strict=True)])
    assert found.same_neighbours == pytest.approx(
        np.mean([len({*a[:10]} & {*b[:10]}) / 10 for a, b in zip(*nearest, strict=True)])
    )
    assert 0.5 < found.mean_cosine < 1
    assert (found.passages, found.window, found.weight_bytes) == (24, 16, model.weight_bytes)


def test_scores_move_and_orders_change(scoring):
    reference, model = (qwen3cpu.load(scoring, quant, threads=1) for quant in ("bf16", "q4"))
    (found,) = measure({"q4": model}, reference, TEXT, **SIZES)
    halves = pieces(reference, 8)
    questions, documents = halves[0::2][:20], halves[1::2]
    own, other = (
        np.stack([each.rerank(question, documents).scores for question in questions]) for each in (reference, model)
    )
    assert found.mean_difference == pytest.approx(np.abs(own - other).mean())
    assert found.difference_99 == pytest.approx(np.quantile(np.abs(own - other), 0.99))
    assert found.same_first == (own.argmax(1) == other.argmax(1)).mean()
    pairs = list(itertools.combinations(range(24), 2))
    agree = [
        np.mean([1 if a[i] - a[j] == b[i] - b[j] == 0 else np.sign((a[i] - a[j]) * (b[i] - b[j])) for i, j in pairs])
        for a, b in zip(own, other, strict=True)
    ]
    assert found.rank_correlation == pytest.approx(np.mean(agree))
    assert 0 < found.rank_correlation < 1
    assert (found.questions, found.passages) == (20, 24)


def test_a_model_agrees_with_itself(embedding, scoring):
    for folder, expected in ((embedding, (1, 1, 1, 1)), (scoring, (0, 0, 1, 1))):
        model = qwen3cpu.load(folder, "bf16", threads=1)
        (found,) = measure({"bf16": model}, model, TEXT, **SIZES)
        assert tuple(found.to_dict().values())[-4:] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "title", "line"),
    [
        ("embedding", "mean cosine", "cosine with bf16 0."),
        ("scoring", "Kendall's tau", "scores differ from bf16 by "),
    ],
)
def test_a_packed_file_keeps_its_receipt(kind, title, line, text, tmp_path, request):
    qwen3cpu.pack(request.getfixturevalue(kind), tmp_path / "model.qwen3", "q4")
    done = run("eval", tmp_path / "model.qwen3", "--text", text, "--windows", "24", "--window", "16")
    assert (done.returncode, done.stderr) == (0, "")
    assert title in done.stdout
    assert [row.split()[0] for row in done.stdout.splitlines()[1:3]] == ["bf16", "q4"]
    shown = next(row for row in run("inspect", tmp_path / "model.qwen3").stdout.splitlines() if row[:7] == "quality")
    assert line in shown
    assert shown.endswith("of fox.txt")
    receipt = json.loads(run("inspect", tmp_path / "model.qwen3", "--json").stdout)["quality"]
    assert receipt["text"] == "fox.txt"
    assert receipt["passages"] == 24


def test_a_plot(embedding, text, tmp_path):
    pytest.importorskip("matplotlib")
    sizes = ("--windows", "24", "--window", "16")
    done = run("eval", embedding, "--text", text, "--quant", "q8,q4", *sizes, "--plot", tmp_path / "q.svg")
    assert done.returncode == 0, done.stderr
    assert "<svg" in (tmp_path / "q.svg").read_text()


@pytest.mark.parametrize("sizes", [{"windows": 1}, {"window": 7}, {"window": 100_000}])
def test_too_little_to_compare(embedding, scoring, sizes):
    for folder in (embedding, scoring):
        model = qwen3cpu.load(folder, "bf16", threads=1)
        with pytest.raises(ArgumentError, match=r"expected (at least|an even number)"):
            measure({"bf16": model}, model, TEXT, **sizes)


def test_models_with_other_dimensions(embedding, tmp_path):
    wide = write_embedding_model(tmp_path / "wide", hidden_size=96).folder
    models = {"wide": qwen3cpu.load(wide, "q8", threads=1)}
    with pytest.raises(ArgumentError, match="wide: its tokens or dimensions are not those of the reference"):
        measure(models, qwen3cpu.load(embedding, "bf16", threads=1), TEXT, **SIZES)
