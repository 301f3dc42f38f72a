"""Several answers at once: to one prompt, to many, preempted, removed, and failing."""

import pytest

import qwen3cpu
from qwen3cpu.generation.answer import Answer
from qwen3cpu.generation.batch import Batch


def test_answers_to_one_prompt_share_it_and_differ(random_model):
    before = random_model.engine.native.counters()["tokens"]
    results = random_model.generate("hello", n=4, seed=3, max_new_tokens=12, ignore_eos=True, speculate=False)
    processed = random_model.engine.native.counters()["tokens"] - before
    prompt = results[0].usage.prompt_tokens
    assert [result.index for result in results] == [0, 1, 2, 3]
    assert len({result.token_ids for result in results}) == 4
    assert processed == prompt + 4 * 11
    assert [result.usage.cached_tokens for result in results] == [0, prompt, prompt, prompt]
    alone = random_model.generate("hello", seed=3, max_new_tokens=12, ignore_eos=True)
    assert results[0].token_ids == alone.token_ids
    assert random_model.generate("hello", n=1, seed=3, max_new_tokens=12)[0].token_ids == alone.token_ids
    assert random_model.generate("hello", num_return_sequences=2, seed=3, max_new_tokens=2)[1].index == 1


def test_the_reported_seed_repeats_all_answers(random_model):
    first = random_model.generate("hello", n=3, max_new_tokens=12)
    assert len({result.seed for result in first}) == 1
    again = random_model.generate("hello", n=3, max_new_tokens=12, seed=first[0].seed)
    assert [result.token_ids for result in first] == [result.token_ids for result in again]
    assert random_model.generate("hello", max_new_tokens=12).seed != first[0].seed


PROMPTS = [
    "hello world",
    "the sky is blue and you are hello",
    [5, 9, 200],
    "user",
    [{"role": "user", "content": "x" * 90}],
]


@pytest.mark.parametrize("most_running", [1, 2, 3, 16])
def test_a_batch_gives_what_each_prompt_gives_alone(random_model, most_running):
    options = {"seed": 11, "max_new_tokens": 25, "logprobs": 3, "repetition_penalty": 1.1}
    together = random_model.generate_batch(PROMPTS, most_running=most_running, **options)
    for index, (prompt, result) in enumerate(zip(PROMPTS, together, strict=True)):
        alone = random_model.generate(prompt, **options)
        assert result.index == index
        assert (result.text, result.token_ids, result.logprobs) == (alone.text, alone.token_ids, alone.logprobs)
        assert (result.usage, result.stopped_by, result.seed) == (alone.usage, alone.stopped_by, alone.seed)
    assert random_model.engine.native.kv_blocks_in_use() == 0


def test_a_prompt_takes_the_place_of_a_finished_answer_at_once(spoken):
    prompts = ["Q", "Z", "Y", "d", "!", "a"]
    before = spoken.engine.native.counters()["calls"]
    results = spoken.generate_batch(prompts, raw=True, temperature=0, most_running=2)
    calls = spoken.engine.native.counters()["calls"] - before
    lengths = [result.usage.completion_tokens for result in results]
    assert lengths == [13, 2, 4, 8, 1, 11]
    # An answer takes as many passes as it has tokens: Z, Y and d run next to Q, then ! and a next to the rest of d.
    lanes = [0, 0]
    for length in lengths:
        lanes[lanes.index(min(lanes))] += length
    assert calls == max(lanes)


def test_no_prompts_no_results(random_model):
    assert random_model.generate_batch([]) == []


def test_a_long_prompt_joins_while_others_run(random_model):
    """A prompt of several pieces together with short ones, with pieces of 16 tokens."""
    prompts = [[3, 4], list(range(100)), [8] * 40]
    request = random_model.answerer.request(seed=2, max_new_tokens=20)
    batch = Batch(random_model.engine, chunk=16)
    for index, prompt in enumerate(prompts):
        batch.add(Answer(random_model.answerer.surroundings, prompt, request, index=index))
    results = {}
    first_tokens = []
    while len(batch):
        for chunk in batch.step():
            if chunk.index not in first_tokens:
                first_tokens.append(chunk.index)
            if chunk.result is not None:
                results[chunk.index] = chunk.result
    assert first_tokens == [0, 2, 1], "prompts share the pieces evenly: a short one does not wait"
    for index, prompt in enumerate(prompts):
        assert results[index].token_ids == random_model.generate(prompt, seed=2, max_new_tokens=20).token_ids


def batch_of(model, prompts, chunk=16, **options):
    """A batch and its answers; the seed of each is its index."""
    answers = [
        Answer(model.answerer.surroundings, prompt, model.answerer.request(seed=seed, **options), index=seed)
        for seed, prompt in enumerate(prompts)
    ]
    batch = Batch(model.engine, chunk=chunk)
    for answer in answers:
        batch.add(answer)
    return batch, answers


def test_a_preempted_answer_goes_on_as_if_nothing_had_happened(random_model):
    prompts = [[5] * 30, [6, 7], [8] * 50]
    batch, answers = batch_of(random_model, prompts, max_new_tokens=40, ignore_eos=True, logprobs=2)
    steps = 0
    while len(batch):
        for answer in answers:
            # At different places: in the prompt, after the first token, while catching up, late.
            if answer in batch.running and steps in (1, 3, 9 + answer.index, 30):
                before = random_model.engine.native.kv_blocks_in_use()
                answer.preempt()
                assert random_model.engine.native.kv_blocks_in_use() <= before
        batch.step()
        steps += 1
    for seed, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        alone = random_model.generate(prompt, seed=seed, max_new_tokens=40, ignore_eos=True, logprobs=2)
        assert answer.result.token_ids == alone.token_ids
        assert answer.result.logprobs == alone.logprobs
        assert answer.result.usage == alone.usage
    assert random_model.engine.native.kv_blocks_in_use() == 0


def test_an_answer_can_be_taken_out(random_model):
    batch, (first, second) = batch_of(random_model, [[1, 2, 3], [4] * 40], max_new_tokens=20, ignore_eos=True)
    batch.step()
    assert not batch.remove(second)
    assert len(batch) == 1
    while len(batch):
        batch.step()
    assert second.result is None
    expected = random_model.generate([1, 2, 3], seed=0, max_new_tokens=20, ignore_eos=True)
    assert first.result.token_ids == expected.token_ids
    assert random_model.engine.native.kv_blocks_in_use() == 0


def test_answers_that_wait_for_a_prompt_leave_with_it(random_model):
    request = random_model.answerer.request(seed=1, max_new_tokens=5)
    first, *others = (
        Answer(random_model.answerer.surroundings, [1] * 40, request, index=i, stream=i) for i in range(3)
    )
    batch = Batch(random_model.engine, chunk=16)
    batch.add(first, *others)
    batch.step()
    assert list(batch.remove(first)) == others
    assert len(batch) == 0
    assert random_model.engine.native.kv_blocks_in_use() == 0


def test_an_error_of_one_answer_does_not_stop_the_others(random_model):
    batch, (good, bad) = batch_of(random_model, [[1, 2], [3, 4]], max_new_tokens=6, ignore_eos=True)
    error = qwen3cpu.ArgumentError("no token can be drawn")

    def fail(logits):
        raise error

    bad._sampler.sample = fail
    assert [outcome for answer, outcome in batch.advance() if answer is bad] == [error]
    assert batch.running == [good]
    while len(batch):
        batch.step()
    assert good.result.token_ids == random_model.generate([1, 2], seed=0, max_new_tokens=6, ignore_eos=True).token_ids
    assert random_model.engine.native.kv_blocks_in_use() == 0
