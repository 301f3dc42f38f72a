"""Drafts change only how many tokens a step brings: every result equals the one without drafts."""

from dataclasses import replace

import pytest
from drafters import KINDS, Endings, Mixture, Oracle, Wrong, drafting, timeless, told
from scripted_models import script, token, write_scripted

import qwen3cpu
from qwen3cpu.engine.drafts import MOST_DRAFTED
from qwen3cpu.engine.sampling import Sampler
from qwen3cpu.generation import answer as answer_module
from qwen3cpu.generation.answer import Answer
from qwen3cpu.generation.batch import Batch
from qwen3cpu.server.scheduling.scored import ScoredAnswer

ENDING = ("<|im_end|>", "<|endoftext|>", "</think>", "</tool_call>", "Z")


@pytest.fixture(scope="module")
def model(random):
    """A model with long, meaningless answers, different for every seed."""
    return qwen3cpu.load(random, quant="f32", context=200, threads=1, prefix_cache=0)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """A model that after "Q" thinks "abcd" and answers "XY-Z!", and after "T" calls f twice, with text between."""
    follows = script(
        ["Q", "<think>", "a", "b", "c", "d", "</think>", "\n", "X", "Y", "-", "Z", "!", "<|im_end|>"],
        ["T", "<tool_call>", "{", "}", "</tool_call>", "x", "y", "z", "<tool_call>"],
        ["W", "u", "v", "<think>"],
    )
    return qwen3cpu.load(write_scripted(tmp_path_factory.mktemp("spoken"), follows), quant="f32", threads=1)


@pytest.fixture(scope="module")
def tiny():
    return qwen3cpu.load("tiny", threads=1, prefix_cache=0)


def passes(model):
    return model.engine.native.counters()["calls"]


def known_of(model, prompt, results, **options):
    """Prompt and answer of every result, for an Oracle."""
    ids = model.answerer.encode(prompt, model.answerer.request(prompt, **options))
    return [[*ids, *result.token_ids] for result in results]


def check(model, prompt, kinds=KINDS, **options):
    """Check that streams with drafters of all kinds equal the stream without one. Returns the result."""
    options.setdefault("seed", 7)
    before = passes(model)
    plain = list(model.stream(prompt, speculate=False, **options))
    alone = passes(model) - before
    results = [chunk.result for chunk in plain if chunk.result is not None]
    results.sort(key=lambda result: result.index)
    asked = {name: value for name, value in options.items() if name != "n"}
    known = known_of(model, prompt, results, **asked)
    for kind in kinds:
        before = passes(model)
        with drafting(model, kind(known, [token(each) for each in ENDING])):
            drafted = list(model.stream(prompt, **options))
        taken = passes(model) - before
        found = sorted((chunk.result for chunk in drafted if chunk.result is not None), key=lambda each: each.index)
        assert [timeless(each) for each in found] == [timeless(each) for each in results], kind
        for index in range(len(results)):
            mine, theirs = ([chunk for chunk in each if chunk.index == index] for each in (drafted, plain))
            assert told(mine) == told(theirs), kind
        assert taken <= alone
        if kind is Oracle and len(results[0].token_ids) > 4:
            assert taken < alone
    return results[0]


# Every way to choose a token


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0},
        {"temperature": 1.3, "top_k": 0, "top_p": 1.0},
        {"presence_penalty": 1.5, "frequency_penalty": 0.5, "repetition_penalty": 1.3},
        {"logit_bias": {5: 8.0, 9: -50.0}, "min_p": 0.1},
        {"top_n_sigma": 1.5, "typical_p": 0.9, "temperature": 1.5},
        {"xtc_probability": 0.5, "xtc_threshold": 0.01, "temperature": 1.2, "top_k": 0},
        {"dry_multiplier": 1.5, "dry_allowed_length": 1, "dry_base": 1.3, "temperature": 0.3},
        {"logprobs": 3, "temperature": 1.5},
        {"n": 3, "logprobs": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [1, 2])
def test_tokens_are_those_without_drafts(model, options, seed):
    check(model, "hello", seed=seed, max_new_tokens=60, ignore_eos=True, **options)
    assert model.engine.native.kv_blocks_in_use() == 0


def test_an_oracle_saves_almost_all_passes(model):
    options = {"seed": 3, "max_new_tokens": 66, "ignore_eos": True}
    result = model.generate("hello", **options)
    before = passes(model)
    with drafting(model, Oracle(known_of(model, "hello", [result]))):
        chunks = list(model.stream("hello", **options))
    # The prompt, a token and 32 more, a token and 31 more.
    assert [len(chunk.token_ids) for chunk in chunks] == [1, MOST_DRAFTED + 1, 32]
    assert passes(model) - before == 3


def test_a_full_context_ends_the_answer(model):
    result = check(model, [7] * 150, ignore_eos=True)
    assert (result.stopped_by, len(result.token_ids)) == ("context", 50)


@pytest.mark.parametrize("most", [1, 2, 3, 10])
def test_a_limit_ends_the_answer(model, most):
    assert len(check(model, "hello", max_new_tokens=most, ignore_eos=True).token_ids) == most


def test_schemas_are_followed(tiny):
    pytest.importorskip("llguidance", reason="schemas need the extra [schema]")
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    for thinking in (True, False):
        check(tiny, "What is 17 + 25?", schema=schema, thinking=thinking, max_new_tokens=250)


# Every way to end, to think and to call


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"thinking_budget": 0},
        {"thinking_budget": 2, "logprobs": 0},
        {"thinking_budget": 5},
        {"thinking_budget": 2, "max_new_tokens": 4},
        {"stop": "Y-Z"},
        {"stop": ["-", "Z!"]},
        {"stop_token_ids": [token("Y"), token("!")]},
        {"ignore_eos": True, "max_new_tokens": 30},
        {"max_new_tokens": 9},
    ],
    ids=str,
)
def test_answers_end_where_they_end_without_drafts(spoken, options):
    check(spoken, "Q", raw=True, temperature=0, **options)


@pytest.mark.parametrize("budget", range(8))
def test_budgets_close_random_thinking(model, budget):
    result = check(model, [token("<think>")], thinking_budget=budget, max_new_tokens=170, ignore_eos=True)
    assert result.thinking_budget_spent or result.usage.reasoning_tokens < budget + 2


def test_loops_are_closed(tmp_path):
    looping = qwen3cpu.load(
        write_scripted(tmp_path, script(["Q", "<think>", "A", "B", "A"])), quant="f32", threads=1, context=2000
    )
    result = check(looping, "Q", raw=True, temperature=0, max_new_tokens=700)
    assert result.thinking_closed_by == "loop"


def test_calls_and_the_text_between_them_keep_their_order(spoken):
    """A chunk has at most one call, and nothing after it."""
    options = {"raw": True, "temperature": 0, "max_new_tokens": 24}
    result = check(spoken, "T", **options)
    assert len(result.malformed_calls) > 1
    with drafting(spoken, Oracle(known_of(spoken, "T", [result], raw=True))):
        chunks = list(spoken.stream("T", **options))
    assert sum(chunk.malformed_call is not None for chunk in chunks) == len(result.malformed_calls)
    assert all(chunk.text.endswith(chunk.malformed_call.text) for chunk in chunks if chunk.malformed_call)


def test_reasoning_does_not_come_before_the_text_that_it_follows(spoken):
    options = {"raw": True, "temperature": 0, "max_new_tokens": 12}
    result = check(spoken, "W", **options)
    assert (result.text, result.reasoning) == ("uvXY-", "abcd")
    with drafting(spoken, Oracle(known_of(spoken, "W", [result], raw=True))):
        chunks = list(spoken.stream("W", **options))
    assert "".join(chunk.reasoning + chunk.text for chunk in chunks) == "uvabcdXY-"


@pytest.mark.parametrize("seconds", [10, 25, 60, 119, 500])
def test_deadlines_count_every_token(model, monkeypatch, seconds):
    """The clock advances by a second with every chosen token."""
    now = [0.0]

    class Ticking(Sampler):
        def sample(self, logits):
            now[0] += 1
            return super().sample(logits)

    monkeypatch.setattr(answer_module, "Sampler", Ticking)
    monkeypatch.setattr(
        model.answerer, "surroundings", replace(model.answerer.surroundings, clock=lambda: now[0]), raising=True
    )
    result = check(model, [token("<think>")], deadline=seconds, max_new_tokens=170, ignore_eos=True)
    assert seconds > 170 or result.thinking_closed_by == "deadline" or result.stopped_by == "deadline"


# Among others


PROMPTS = ["hello world", "the sky is blue and you are hello", [5, 9, 200], "user"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("most_running", [1, 3, 16])
def test_batches(model, kind, most_running):
    options = {"seed": 11, "max_new_tokens": 40, "logprobs": 2, "ignore_eos": True}
    plain = model.generate_batch(PROMPTS, **options)
    known = [each for prompt, result in zip(PROMPTS, plain, strict=True) for each in known_of(model, prompt, [result])]
    # Some answers have drafts, others have none.
    with drafting(model, kind(known[:3])):
        drafted = model.generate_batch(PROMPTS, most_running=most_running, **options)
    assert [timeless(each) for each in drafted] == [timeless(each) for each in plain]
    assert model.engine.native.kv_blocks_in_use() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_preempted_answers_go_on(model, kind):
    prompts = [[5] * 30, [6, 7], [8] * 50]
    options = {"max_new_tokens": 40, "ignore_eos": True, "logprobs": 2}
    plain = [model.generate(prompt, seed=seed, **options) for seed, prompt in enumerate(prompts)]
    known = [[*prompt, *result.token_ids] for prompt, result in zip(prompts, plain, strict=True)]
    with drafting(model, kind(known)):
        answers = [
            Answer(model.answerer.surroundings, prompt, model.answerer.request(seed=seed, **options), index=seed)
            for seed, prompt in enumerate(prompts)
        ]
        batch = Batch(model.engine, chunk=16)
        for each in answers:
            batch.add(each)
        steps = 0
        while len(batch):
            for each in answers:
                if each in batch.running and steps in (1, 3, 4 + each.index, 9, 20):
                    each.preempt()
            batch.step()
            steps += 1
    assert [timeless(replace(each.result, index=0)) for each in answers] == [timeless(each) for each in plain]
    assert model.engine.native.kv_blocks_in_use() == 0


@pytest.mark.parametrize("kind", [Oracle, Wrong, Mixture])
def test_prompts_are_scored_beside_drafts(model, kind):
    request = model.answerer.request(seed=1, max_new_tokens=30, ignore_eos=True, logprobs=2)

    def run():
        scored = ScoredAnswer(model.answerer.surroundings, list(range(40)), request)
        batch = Batch(model.engine, chunk=16)
        batch.add(scored)
        while len(batch):
            batch.step()
        return scored.prompt_scores, timeless(scored.result)

    scores, result = run()
    with drafting(model, kind([[*range(40), *result.token_ids]])):
        assert run() == (scores, result)


@pytest.mark.parametrize("kind", KINDS)
def test_conversations_keep_the_same_positions(random, kind):
    model = qwen3cpu.load(random, quant="f32", context=600, threads=1, prefix_cache=0)

    def talk(known):
        chat = model.chat(seed=4, max_new_tokens=50)
        turns = []
        for text in ("hello", "the sky is blue", "you"):
            with drafting(model, kind(known, [token(each) for each in ENDING])):
                result = chat.send(text)
            turns.append((timeless(result), chat.cached_tokens, list(chat.messages)))
        chat.close()
        return turns

    plain = talk([])
    known, messages = [], []
    for (result, _, history), text in zip(plain, ("hello", "the sky is blue", "you"), strict=True):
        messages.append({"role": "user", "content": text})
        known += known_of(model, list(messages), [result])
        messages = list(history)
    assert talk(known) == plain


@pytest.mark.parametrize("kind", KINDS)
def test_the_prefix_cache_holds_the_same(random, kind):
    model = qwen3cpu.load(random, quant="f32", context=600, threads=1, prefix_cache=1 << 30)
    cache = model.engine.prefix_cache

    def run():
        cache.clear()
        found = []
        for seed in (1, 2):
            for prompt in ([7] * 130, [7] * 200, list(range(140))):
                result = model.generate(prompt, seed=seed, max_new_tokens=150, ignore_eos=True)
                found.append((timeless(result), cache.size, cache.cached([*prompt, *result.token_ids])))
        return found

    plain = run()
    prompts = ([7] * 130, [7] * 200, list(range(140))) * 2
    known = [[*prompt, *result.token_ids] for prompt, (result, _, _) in zip(prompts, plain, strict=True)]
    with drafting(model, kind(known)):
        assert run() == plain


# What may go wrong


def test_an_error_comes_after_the_tokens_before_it(model, monkeypatch):
    error = qwen3cpu.ArgumentError("no token can be drawn")

    class Failing(Sampler):
        def sample(self, logits):
            if self.drawn == 5:
                raise error
            self.drawn += 1
            return super().sample(logits)

        drawn = 0

    known = known_of(model, "hello", [model.generate("hello", seed=1, max_new_tokens=20, ignore_eos=True)])
    monkeypatch.setattr(answer_module, "Sampler", Failing)
    said = []
    with drafting(model, Oracle(known)):
        chunks = model.stream("hello", seed=1, max_new_tokens=20, ignore_eos=True)
        for _ in range(2):
            said += next(chunks).token_ids
        with pytest.raises(qwen3cpu.ArgumentError, match="no token can be drawn"):
            next(chunks)
    assert said == known[0][-20:-15]
    assert model.engine.native.kv_blocks_in_use() == 0


def test_a_draft_has_to_consist_of_ids(model):
    class Broken:
        def draft(self, tokens, most):
            return [model.config.vocab_size]

    with drafting(model, Broken()), pytest.raises(qwen3cpu.ArgumentError, match=r"draft\[0\]: expected an id"):
        model.generate("hello")
    assert model.engine.native.kv_blocks_in_use() == 0


def test_nobody_asks_for_a_draft_that_has_no_room(model):
    drafter = Endings([], [])
    with drafting(model, drafter):
        model.generate("hello", seed=1, max_new_tokens=3, ignore_eos=True)
    # After the first token there is room for one drafted token and the one that follows it.
    assert drafter.calls == 1
