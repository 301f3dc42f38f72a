"""Scores of continuations equal those of `Model.score`, whatever else is scored at the same time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from checkpoints import write_checkpoint

import qwen3cpu
from qwen3cpu.errors import ArgumentError, ContextLengthError
from qwen3cpu.evaluation.continuations import score_continuations


@pytest.fixture(scope="module", params=["f32", "q4"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> qwen3cpu.Model:
    folder: Path = write_checkpoint(tmp_path_factory.mktemp("model")).folder
    return qwen3cpu.load(folder, quant=request.param, threads=2)


def alone(model: qwen3cpu.Model, beginning: list[int], continuation: list[int]) -> tuple[float, bool]:
    """Score one text alone with `Model.score`."""
    scores = model.score([*beginning, *continuation], top=1)[-len(continuation) :]
    total = 0.0
    for score in scores:
        assert score.logprob is not None
        total += score.logprob
    return total, all(score.top[0].token_id == score.token_id for score in scores)


def test_scores_do_not_depend_on_what_is_beside_them(model: qwen3cpu.Model) -> None:
    """Shared beginnings, beginnings of one token, pieces longer than a pass: all scores are equal bit for bit."""
    chance = np.random.default_rng(0)
    pairs = []
    for length in (1, 2, 63, 64, 65, 300):
        beginning = chance.integers(0, 256, length).tolist()
        pairs += [(beginning, chance.integers(0, 256, n).tolist()) for n in (1, 3, 7)]
    pairs.append(([5], chance.integers(0, 256, 511).tolist()))
    best = int(model.logits(pairs[0][0])[-1].argmax())
    pairs.append((pairs[0][0], [best]))
    expected = [alone(model, *pair) for pair in pairs]
    assert expected[-1][1], "greedy"
    assert not all(greedy for _, greedy in expected)
    for order in (list(range(len(pairs))), chance.permutation(len(pairs)).tolist()):
        for most_running in (1, 3, 100):
            found = dict(score_continuations(model, [pairs[i] for i in order], most_running=most_running))
            assert [(found[at].logprob, found[at].greedy) for at in range(len(order))] == [expected[i] for i in order]
    assert model.engine.memory()["kv_bytes_in_use"] == model.engine.memory()["prefix_cache_bytes"]


def test_shared_beginnings_are_processed_once(model: qwen3cpu.Model) -> None:
    beginning = [7] * 100
    before = model.engine.native.counters()["tokens"]
    assert len(list(score_continuations(model, [(beginning, [i, i]) for i in range(10)]))) == 10
    assert model.engine.native.counters()["tokens"] - before == 99 + 10 * 2


def test_what_cannot_be_scored(model: qwen3cpu.Model) -> None:
    for pair in (([], [1]), ([1], [])):
        with pytest.raises(ArgumentError, match=r"pairs\[1\].*at least one token"):
            score_continuations(model, [([1], [1]), pair])
    with pytest.raises(ArgumentError, match=r"pairs\[0\]: beginning\[0\]"):
        score_continuations(model, [([1 << 20], [1])])
    with pytest.raises(ContextLengthError):
        list(score_continuations(model, [([1] * 512, [1, 1])]))
    before = model.engine.memory()["kv_blocks_in_use"]
    scores = score_continuations(model, [([1] * 200, [1]), ([2] * 200, [1])])
    next(scores)
    scores.close()
    assert model.engine.memory()["kv_blocks_in_use"] == before, "a caller that stops keeps no memory"
