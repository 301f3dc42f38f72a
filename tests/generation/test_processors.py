"""Logits processors: they see their own answer's ids and logits, change nothing else, and end only their answer."""

import asyncio

import numpy as np
import pytest
from drafters import KINDS, drafting, timeless

import qwen3cpu

PROMPTS = ["What is 17 + 25?", "What is 1 + 1?", "Is 3 more than 2?"]


@pytest.fixture(scope="module")
def tiny():
    return qwen3cpu.load("tiny", threads=1, prefix_cache=0)


def no_even(ids, logits):
    logits[::2] = -np.inf


def stubborn(ids, logits):
    """A processor that depends on all ids so far."""
    logits[sum(ids) % 3 :: 3] -= 20


def test_what_they_get(random_model):
    seen = []

    def note(ids, logits):
        assert (logits.dtype, logits.shape, logits.flags.writeable) == (
            np.float32,
            (random_model.config.vocab_size,),
            True,
        )
        seen.append((ids, logits.copy()))
        logits[:] = 0
        logits[7] = 30
        return logits

    prompt = random_model.tokenizer.encode("Q")
    result = random_model.generate(prompt, processors=[note], temperature=0, max_new_tokens=5, logprobs=0)
    assert result.token_ids == (7,) * 5
    assert [ids for ids, _ in seen] == [[*prompt, *[7] * count] for count in range(5)]
    scored = random_model.score([*prompt, *result.token_ids])[len(prompt) - 1 :]
    assert list(result.logprobs) == scored, "log-probabilities are the model's own"


def test_they_come_one_after_the_other_and_before_the_rest(random_model):
    def first(ids, logits):
        logits[:] = 0

    def second(ids, logits):
        assert not logits.any()
        logits[[3, 5]] = [9, 8]

    options = {"temperature": 0, "max_new_tokens": 3, "raw": True}
    assert random_model.generate("Q", processors=[first, second], **options).token_ids == (3, 3, 3)
    biased = random_model.generate("Q", processors=(first, second), logit_bias={3: -50.0}, **options)
    assert biased.token_ids == (5, 5, 5)


@pytest.mark.parametrize("processor", [no_even, stubborn])
def test_company_and_drafts_change_nothing(tiny, processor):
    options = {"processors": [processor], "seed": 3, "max_new_tokens": 30}
    alone = [tiny.generate(prompt, **options) for prompt in PROMPTS]
    assert alone[0].token_ids != tiny.generate(PROMPTS[0], seed=3, max_new_tokens=30).token_ids
    together = tiny.generate_batch(PROMPTS, **options)
    assert [each.token_ids for each in together] == [each.token_ids for each in alone]
    assert tiny.generate(PROMPTS[0], n=3, **options)[0].token_ids == alone[0].token_ids
    assert asyncio.run(tiny.agenerate(PROMPTS[0], **options)).token_ids == alone[0].token_ids
    known = [[*tiny.answerer.encode(PROMPTS[0], tiny.answerer.request(PROMPTS[0])), *alone[0].token_ids]]
    for kind in KINDS:
        with drafting(tiny, kind(known)):
            assert timeless(tiny.generate(PROMPTS[0], **options)) == timeless(alone[0])


def test_a_schema_holds_whatever_they_do(tiny):
    pytest.importorskip("llguidance")

    def shout(ids, logits):
        logits[:] = np.linspace(0, 5, len(logits))

    options = {"processors": [shout], "thinking": False, "seed": 1}
    assert tiny.generate("1", choices=["yes", "no"], **options).text in ("yes", "no")


class BrokenError(Exception):
    pass


def failing_at(count, wanted):
    def fail(ids, logits):
        if ids[: len(wanted)] == wanted and len(ids) == len(wanted) + count:
            raise BrokenError(f"after {count}")

    return fail


@pytest.mark.parametrize("count", [0, 3])
def test_an_error_ends_its_answer_only(tiny, count):
    wanted = tiny.answerer.encode(PROMPTS[1], tiny.answerer.request(PROMPTS[1]))
    options = {"seed": 3, "max_new_tokens": 12}
    plain = [tiny.generate(prompt, **options) for prompt in PROMPTS]
    options["processors"] = [failing_at(count, wanted)]
    found = tiny.generate_batch(PROMPTS, **options)
    assert [found[place].token_ids for place in (0, 2)] == [plain[place].token_ids for place in (0, 2)]
    assert found[0].error is found[2].error is None
    broken = found[1]
    assert (broken.stopped_by, broken.finish_reason, type(broken.error)) == ("error", "length", BrokenError)
    assert broken.token_ids == plain[1].token_ids[:count]
    assert broken.to_dict()["error"] == f"BrokenError: after {count}"
    assert "error" not in found[0].to_dict()
    chunks = []
    with pytest.raises(BrokenError, match=f"after {count}"):
        chunks.extend(tiny.stream(PROMPTS[1], **options))
    with pytest.raises(BrokenError):
        tiny.generate(PROMPTS[1], **options)
    with pytest.raises(BrokenError):
        asyncio.run(tiny.agenerate(PROMPTS[1], **options))
    assert timeless(tiny.generate(PROMPTS[0], **options)) == timeless(plain[0])
    assert tiny.engine.native.kv_blocks_in_use() == 0


def test_an_error_behind_a_draft(tiny):
    wanted = tiny.answerer.encode(PROMPTS[1], tiny.answerer.request(PROMPTS[1]))
    options = {"seed": 3, "max_new_tokens": 12}
    plain = tiny.generate(PROMPTS[1], **options)
    for kind in KINDS:
        with drafting(tiny, kind([[*wanted, *plain.token_ids]])):
            (found,) = tiny.generate_batch([PROMPTS[1]], processors=[failing_at(4, wanted)], **options)
        assert (found.token_ids, type(found.error)) == (plain.token_ids[:4], BrokenError)


def test_a_processor_that_fails_once_ends_its_answer_and_is_not_called_again(tiny):
    wanted = tiny.answerer.encode(PROMPTS[1], tiny.answerer.request(PROMPTS[1]))
    options = {"seed": 3, "max_new_tokens": 12}
    plain = tiny.generate(PROMPTS[1], **options)
    lengths = []

    def fail_once(ids, logits):
        lengths.append(len(ids) - len(wanted))
        if lengths[-1] == 4 and lengths.count(4) == 1:
            raise BrokenError("once")

    for kind in KINDS:
        lengths.clear()
        with drafting(tiny, kind([[*wanted, *plain.token_ids]])):
            (found,) = tiny.generate_batch([PROMPTS[1]], processors=[fail_once], **options)
        assert (found.token_ids, type(found.error)) == (plain.token_ids[:4], BrokenError)
        assert lengths == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("processors", "words"),
    [
        (no_even, "processors: expected a list of functions, found function"),
        ([no_even, 5], r"processors\[1\]: expected a function, found int"),
        ([lambda ids, logits: logits * 2], r"processors\[0\]: expected a function that changes .* found ndarray"),
        ([lambda ids, logits: logits.fill(np.nan)], r"processors\[0\]: expected numbers or -inf, found nan for"),
        ([lambda ids, logits: logits.fill(np.inf)], "found inf for token 0"),
        ([lambda ids, logits: logits.fill(-np.inf)], "banned|token"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tiny, processors, words):
    with pytest.raises(qwen3cpu.ArgumentError, match=words):
        tiny.generate("1", processors=processors, max_new_tokens=2)


@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration])
def test_the_end_of_an_iterator_is_an_error_of_the_package(tiny, kind):
    """A generator cannot raise these errors: Python would make them a RuntimeError."""

    def ended(ids, logits):
        raise kind

    message = f"processors: expected an error that streams raise, found {kind.__name__}"
    with pytest.raises(qwen3cpu.ArgumentError, match=message) as raised:
        tiny.generate("a", processors=[ended])
    assert isinstance(raised.value.__cause__, kind)
    (result,) = tiny.generate("a", processors=[ended], n=1)
    assert str(result.error) == message
