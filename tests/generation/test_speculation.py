"""Answers with the drafts that every model makes: fewer passes, the same answer, and right timings."""

import pytest
from drafters import Free, timeless
from scripted_models import script, write_scripted

import qwen3cpu
from qwen3cpu.engine.drafts import Draft
from qwen3cpu.generation.speculation import Speculation

SCHEMA = {
    "type": "object",
    "properties": {"first_name": {"type": "string", "maxLength": 4}, "favourite_colour": {"enum": ["red", "blue"]}},
    "required": ["first_name", "favourite_colour"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def model(random):
    return qwen3cpu.load(random, quant="f32", context=400, threads=1, prefix_cache=0)


@pytest.fixture(scope="module")
def repeating(tmp_path_factory):
    """A model that repeats "abcdefgh"."""
    follows = script([*"abcdefgh", "a"])
    return qwen3cpu.load(write_scripted(tmp_path_factory.mktemp("repeating"), follows), quant="f32", threads=1)


@pytest.fixture(scope="module")
def tiny():
    return qwen3cpu.load("tiny", threads=1)


@pytest.fixture(autouse=True)
def free(request, monkeypatch):
    """Makes more tokens in a pass cost nothing, so that all drafted tokens are fed."""
    for name in {"model", "repeating", "tiny"} & set(request.fixturenames):
        monkeypatch.setattr(request.getfixturevalue(name).engine, "pass_times", Free())


def passes(model):
    return model.engine.native.counters()["calls"]


def both(model, prompt, **options):
    """Check that drafts do not change the result; return it, and the passes with and without drafts."""
    options.setdefault("seed", 5)
    start = passes(model)
    plain = model.generate(prompt, speculate=False, **options)
    middle = passes(model)
    drafted = model.generate(prompt, **options)
    many = isinstance(plain, list)
    for one, other in zip(plain if many else [plain], drafted if many else [drafted], strict=True):
        assert timeless(one) == timeless(other)
        assert (one.timings.drafted, one.timings.accepted) == (0, 0)
    return drafted, middle - start, passes(model) - middle


def test_what_repeats_itself_takes_few_passes(repeating):
    options = {"raw": True, "temperature": 0, "max_new_tokens": 120, "ignore_eos": True, "loop_detection": False}
    result, plain, drafted = both(repeating, "a", **options)
    assert result.text == ("bcdefgha" * 15)
    assert plain == 120
    assert drafted < 20
    timings = result.timings
    assert drafted == 120 - timings.accepted
    assert timings.accepted <= timings.drafted


@pytest.mark.parametrize("options", [{"temperature": 0}, {"temperature": 0.7}, {"temperature": 0.7, "n": 3}], ids=str)
def test_answers_are_those_without_drafts(model, options):
    pattern = [3, 4, 5, 6, 7, 8] * 12
    both(model, pattern, seed=4, max_new_tokens=150, ignore_eos=True, **options)


def test_a_schema_is_drafted_from(tiny):
    pytest.importorskip("llguidance", reason="schemas need the extra [schema]")
    result, plain, drafted = both(tiny, "2 + 2?", schema=SCHEMA, thinking=False, temperature=0, max_new_tokens=150)
    assert result.schema_errors == ()
    assert drafted < 0.7 * plain


def test_forced_text_is_drafted(tiny):
    pytest.importorskip("llguidance", reason="grammars need the extra [schema]")
    text = "The one and only answer to this question, word for word."
    result, plain, drafted = both(tiny, "2 + 2?", choices=[text], thinking=False)
    assert result.text == text
    assert drafted < plain / 3


def test_a_batch_of_drafted_answers(model):
    prompts = [[n, n + 1, n + 2] * 20 for n in range(3, 9)]
    options = {"seed": 3, "max_new_tokens": 60, "ignore_eos": True}
    alone = [model.generate(prompt, speculate=False, **options) for prompt in prompts]
    together = model.generate_batch(prompts, **options)
    assert [each.token_ids for each in together] == [each.token_ids for each in alone]


class Fixed:
    """A drafter with always the same draft."""

    def __init__(self, ids, chance):
        self.ids, self.chance = ids, chance
        self.text, self.judged = [], []

    def extend(self, ids):
        self.text += ids

    def draft(self, most, found=0):
        return Draft(self.ids, [self.chance] * len(self.ids))

    def judge(self, tested, right):
        self.judged.append((tested, right))


def test_the_draft_that_promises_most_is_taken():
    doubtful, sure = Fixed([1, 2, 3, 4], 0.5), Fixed([5, 6], 0.9)
    speculation = Speculation([doubtful, sure], 100, [[7, 7]], [8, 9])
    assert list(speculation.propose([10], 8, None).ids) == [5, 6]
    speculation.judge(2, 1)
    assert (doubtful.judged, sure.judged) == ([], [(2, 1)])
    sure.chance = 0.1
    assert list(speculation.propose([10, 5, 11], 3, None).ids) == [1, 2, 3]
    speculation.judge(1, 1)
    assert (doubtful.judged, sure.judged) == ([(1, 1)], [(2, 1)])
    assert doubtful.text == sure.text == [7, 7, 8, 9, 10, 5, 11]
    assert speculation.propose([10, 5, 11, 12], 0, None).ids == ()


def test_an_id_outside_the_vocabulary_is_refused():
    with pytest.raises(qwen3cpu.ArgumentError, match=r"draft\[1\]"):
        Speculation([Fixed([1, 100], 1.0)], 100, [], [1]).propose([], 5, None)


@pytest.mark.parametrize("value", ["no", 1, 0.5])
def test_speculate_is_yes_or_no(model, value):
    with pytest.raises(qwen3cpu.ArgumentError, match="speculate: expected True or False"):
        model.generate([1, 2], speculate=value)
