"""Drafts from a smaller model: the answer is the same, and passes are saved where both models agree."""

import checkpoints
import numpy as np
import pytest
from drafters import Free, timeless

import qwen3cpu
from qwen3cpu.engine.model_drafts import PIECE, DraftModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkpoints.write_checkpoint(tmp_path_factory.mktemp("large"), max_position_embeddings=400).folder


@pytest.fixture(scope="module")
def another(tmp_path_factory):
    """A smaller model with the same tokenizer, which gives other answers."""
    return checkpoints.write_checkpoint(tmp_path_factory.mktemp("small"), num_hidden_layers=1, hidden_size=32).folder


def load(folder, **options):
    model = qwen3cpu.load(folder, quant="f32", threads=1, prefix_cache=0, **options)
    model.engine.pass_times = Free()
    return model


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    """Passes of the small model cost nothing, so that it always drafts."""
    monkeypatch.setattr(DraftModel, "least_chance", property(lambda self: 0.0))


def passes(model):
    return model.engine.native.counters()["calls"]


PROMPTS = ["hello world", [5, 6, 7] * 40, "the sky"]


@pytest.mark.parametrize("options", [{"temperature": 0}, {"temperature": 0.9}, {"temperature": 0.9, "n": 2}], ids=str)
@pytest.mark.parametrize("prompt", PROMPTS, ids=str)
def test_answers_are_those_without(folder, another, prompt, options):
    plain, drafted = load(folder), load(folder, draft=another)
    options = {**options, "seed": 3, "max_new_tokens": 60, "ignore_eos": True}
    expected, found = plain.generate(prompt, speculate=False, **options), drafted.generate(prompt, **options)
    for one, other in zip(*([each] if options.get("n") is None else each for each in (expected, found)), strict=True):
        assert timeless(one) == timeless(other)


def test_a_model_that_says_the_same_saves_most_passes(folder):
    model = load(folder, draft=folder)
    before = passes(model)
    result = model.generate([5, 9, 7], temperature=0, max_new_tokens=100, ignore_eos=True)
    assert result.timings.accepted > 50
    assert passes(model) - before == 100 - result.timings.accepted


def test_batches_have_no_drafts_of_a_model_and_the_same_answers(folder, another):
    plain, drafted = load(folder), load(folder, draft=another)
    prompts = [[n, n + 1] for n in range(3, 8)]
    options = {"seed": 3, "max_new_tokens": 30, "ignore_eos": True}
    small = drafted.draft_model
    assert [each.token_ids for each in drafted.generate_batch(prompts, **options)] == [
        plain.generate(prompt, **options).token_ids for prompt in prompts
    ]
    assert small is not None
    assert small.engine.native.kv_blocks_in_use() == 0


def test_a_long_prompt_is_read_in_pieces(folder):
    engine = load(folder).engine
    model = DraftModel(engine, engine, 200)
    drafter = model.drafter()
    drafter.extend([n % 200 for n in range(3 * PIECE + 5)])
    for held in (PIECE, 2 * PIECE, 3 * PIECE):
        assert drafter.draft(5).ids == ()
        assert engine.native.counters()["tokens"] == held
    assert len(drafter.draft(5).ids) == 5


def test_it_is_not_asked_where_a_draft_is_there_that_promises_more_than_it_usually_brings(folder):
    engine = load(folder).engine
    model = DraftModel(engine, engine, 200)
    drafter = model.drafter()
    drafter.extend([3, 4, 5])
    assert drafter.draft(8, found=7 / 3).ids == ()  # seven of ten first tokens were right: 0.7 + 0.49 + ... more
    assert engine.native.counters()["calls"] == 0
    assert len(drafter.draft(8, found=2.3).ids) == 8
    for _ in range(20):
        drafter.judge(1, 0)
    assert drafter.draft(8, found=2.3).ids == ()
    model.first = 1.0
    assert len(drafter.draft(8, found=7.9).ids) == 8


def test_it_stops_where_a_token_is_not_worth_its_pass(folder, monkeypatch):
    monkeypatch.undo()
    engine = load(folder).engine
    model = DraftModel(engine, engine, 200)
    drafter = model.drafter()
    drafter.extend([3, 4, 5])
    for _ in range(400):  # the drafts are never right
        drafter.draft(8)
        drafter.judge(1, 0)
    assert len(drafter.draft(8).ids) <= 1


def test_what_does_not_pay_is_tried_ever_more_seldom(folder, monkeypatch):
    monkeypatch.setattr(DraftModel, "least_chance", property(lambda self: 1.1))
    engine = load(folder).engine
    drafter = DraftModel(engine, engine, 200).drafter()
    tried, read = [], []
    for step in range(1, 390):
        drafter.extend([step % 200])
        before = engine.native.counters()["tokens"]
        if len(drafter.draft(8).ids):
            tried.append(step)
        if engine.native.counters()["tokens"] > before:
            read.append(step)
    first, second = tried
    assert 64 <= first < 64 + 64 // PIECE + 1
    assert 4 * 64 <= second - first < 4 * 64 + 4 * 64 // PIECE + 1
    assert not {step for step in read if first < step < first + 4 * 64}  # nothing is read between the tries


def test_wrong_tokens_leave_the_sequence(folder):
    engine = load(folder).engine
    model = DraftModel(engine, engine, 200)
    drafter = model.drafter()
    drafter.extend([3, 4, 5])
    first = list(drafter.draft(6).ids)
    other = (first[2] + 1) % 200
    drafter.judge(6, 2)
    drafter.extend([*first[:2], other])
    again = drafter.draft(6).ids
    alone = model.drafter()
    alone.extend([3, 4, 5, *first[:2], other])
    assert list(alone.draft(6).ids) == list(again)


def test_one_text_is_held_at_a_time(folder):
    engine = load(folder).engine
    model = DraftModel(engine, engine, 200)
    first, second = model.drafter(), model.drafter()
    first.extend([3, 4, 5])
    second.extend([7, 8])
    found = first.draft(4).ids
    for _ in range(2):
        blocks = engine.native.kv_blocks_in_use()
        second.draft(4)
        assert engine.native.kv_blocks_in_use() == blocks == 1
        assert first.draft(4).ids == found


def test_a_draft_ends_when_somebody_waits(folder):
    engine = load(folder).engine
    model = DraftModel(engine, engine, 200)
    drafter = model.drafter()
    drafter.extend([3, 4, 5])
    answers = iter([False, False, False, True, True])
    with engine.traffic.asking(lambda: next(answers)):
        assert len(drafter.draft(8).ids) == 3
        assert drafter.draft(8).ids == ()
    assert len(drafter.draft(8).ids) == 8


def test_another_tokenizer_is_refused(folder, tmp_path):
    with pytest.raises(
        qwen3cpu.ArgumentError, match=r"draft: expected a model with the tokenizer of .*, found another in"
    ):
        load(folder, draft="tiny")


def test_a_model_that_writes_no_text_is_refused(folder):
    with pytest.raises(qwen3cpu.ArgumentError, match="expected a model that writes text"):
        load(folder, draft="tiny-embedding")


def test_the_probability_is_among_the_logits_that_are_there():
    from qwen3cpu.engine.model_drafts import _likeliest

    row = np.array([-np.inf, 1.0, 1.0 + np.log(3.0), -np.inf], np.float32)
    token, probability = _likeliest(row)
    assert token == 2
    assert probability == pytest.approx(0.75)
