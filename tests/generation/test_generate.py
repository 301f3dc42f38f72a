"""Answers: what is said, what ends them, what is reported, and that nothing is left behind."""

import json
import threading

import checkpoint_texts
import checkpoints
import pytest
from scripted_models import script, token, write_scripted

import qwen3cpu
from qwen3cpu.generation.answer import BUDGET_SPENT, Answer
from qwen3cpu.generation.batch import Batch


@pytest.fixture(scope="module")
def random_model(tmp_path_factory):
    """A small model with random weights, whose answers are long and different for every seed."""
    folder = checkpoints.write_checkpoint(tmp_path_factory.mktemp("random")).folder
    return qwen3cpu.load(folder, quant="f32", context=200, threads=1, prefix_cache=0)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """After "Q" it thinks "abcd" and answers "XY-Z!"; an answer to messages begins at once."""
    follows = script(
        ["Q", "<think>", "a", "b", "c", "d", "</think>", "\n", "X", "Y", "-", "Z", "!", "<|im_end|>"],
        ["T", "<tool_call>", "{", "}", "</tool_call>", "<|endoftext|>"],
    )
    folder = write_scripted(tmp_path_factory.mktemp("spoken"), follows)
    return qwen3cpu.load(folder, quant="f32", threads=1)


def greedy(model, prompt, **options):
    return model.generate(prompt, temperature=0, **options)


# What is said


def test_reasoning_and_answer_are_separated(spoken):
    result = greedy(spoken, "Q", raw=True)
    assert (result.reasoning, result.text) == ("abcd", "XY-Z!")
    assert (result.finish_reason, result.stopped_by, result.stop) == ("stop", "eos", token("<|im_end|>"))
    assert result.usage.prompt_tokens == 1
    assert result.usage.completion_tokens == len(result.token_ids) == 13
    assert result.usage.reasoning_tokens == 6


def test_text_is_a_user_message_unless_it_is_raw(spoken):
    assert greedy(spoken, "Q").text == "XY-Z!"
    message = [{"role": "user", "content": "Q"}]
    assert greedy(spoken, "Q").usage == greedy(spoken, message).usage
    rendered = spoken.render(message)
    assert greedy(spoken, rendered, raw=True).usage == greedy(spoken, message).usage
    assert greedy(spoken, spoken.tokenizer.encode(rendered, control_tokens=True)).text == "XY-Z!"


def test_text_is_raw_where_there_is_no_template(tmp_path):
    folder = write_scripted(tmp_path, script(["Q", "X", "<|im_end|>"]), chat_template=None)
    model = qwen3cpu.load(folder, quant="f32")
    assert model.generate("Q", temperature=0).usage.prompt_tokens == 1
    with pytest.raises(qwen3cpu.Qwen3CpuError, match="no chat template"):
        model.generate([{"role": "user", "content": "Q"}])
    with pytest.raises(qwen3cpu.Qwen3CpuError, match="no chat template"):
        model.render([{"role": "user", "content": "Q"}])


def test_what_is_no_call_is_text(spoken):
    chunks = list(spoken.stream("T", raw=True, temperature=0))
    result = chunks[-1].result
    assert (result.text, result.tool_calls) == ("<tool_call>\n{}\n</tool_call>", ())
    assert "name: expected the function's name" in result.malformed_calls[0].reason


def test_chunks_add_up_to_the_result(random_model):
    chunks = list(random_model.stream("hello", seed=5, max_new_tokens=60, logprobs=2))
    result = chunks[-1].result
    assert all(chunk.result is None and chunk.finish_reason is None for chunk in chunks[:-1])
    assert chunks[-1].finish_reason == result.finish_reason
    assert "".join(chunk.text for chunk in chunks) == result.text != ""
    assert "".join(chunk.reasoning for chunk in chunks) == result.reasoning
    assert tuple(token for chunk in chunks for token in chunk.token_ids) == result.token_ids
    assert tuple(entry for chunk in chunks for entry in chunk.logprobs) == result.logprobs
    assert all(len(chunk.token_ids) == 1 for chunk in chunks)


def test_streaming_and_generating_are_the_same(random_model):
    result = random_model.generate("hello", seed=5, max_new_tokens=60)
    *_, last = random_model.stream("hello", seed=5, max_new_tokens=60)
    assert (last.result.text, last.result.token_ids) == (result.text, result.token_ids)


def test_a_character_is_shown_whole_or_not_at_all(tmp_path):
    first, second = "é".encode()
    vocab = checkpoint_texts.tokenizer_dict()["model"]["vocab"]
    one, two = (vocab[checkpoint_texts.byte_symbols()[byte]] for byte in (first, second))
    folder = write_scripted(tmp_path, {token("Q"): one, one: two})
    model = qwen3cpu.load(folder, quant="f32")
    chunks = list(model.stream("Q", raw=True, temperature=0))
    assert [chunk.text for chunk in chunks] == ["", "é", ""]
    assert greedy(model, "Q", raw=True, max_new_tokens=1).text == "�"


# What ends an answer


@pytest.mark.parametrize(
    ("stop", "text", "matched", "tokens"),
    [
        ("Y-Z", "X", "Y-Z", 11),
        (["nothing", "Z"], "XY-", "Z", 11),
        (["Z!!", "-Q"], "XY-Z!", None, 13),
        ("X", "", "X", 8),
        (["ab", "cd"], "XY-Z!", None, 13),
    ],
)
def test_stop_strings_end_the_answer_and_are_not_part_of_it(spoken, stop, text, matched, tokens):
    chunks = list(spoken.stream("Q", raw=True, temperature=0, stop=stop))
    result = chunks[-1].result
    assert result.text == "".join(chunk.text for chunk in chunks) == text
    assert result.reasoning == "abcd"
    assert len(result.token_ids) == tokens
    assert result.finish_reason == "stop"
    if matched is None:
        assert result.stopped_by == "eos"
    else:
        assert (result.stopped_by, result.stop) == ("stop_string", matched)


def test_a_newline_as_stop_string_ends_the_answer_at_once(tmp_path):
    model = qwen3cpu.load(write_scripted(tmp_path, script(["Q", "X", "\n", "Y"])), quant="f32")
    result = greedy(model, "Q", raw=True, stop="\n")
    assert (result.text, len(result.token_ids), result.stop) == ("X", 2, "\n")


def test_stop_ids_end_the_answer_and_are_not_text(spoken):
    result = greedy(spoken, "Q", raw=True, stop_token_ids=[token("Z"), token("!")])
    assert (result.text, result.stopped_by, result.stop) == ("XY-", "stop_token", token("Z"))
    assert result.token_ids[-1] == token("Z")


def test_ignore_eos_goes_on(spoken):
    result = greedy(spoken, "Q", raw=True, ignore_eos=True, max_new_tokens=20)
    assert len(result.token_ids) == 20
    assert (result.finish_reason, result.stopped_by, result.stop) == ("length", "max_new_tokens", None)


@pytest.mark.parametrize("name", ["max_new_tokens", "max_tokens"])
def test_the_limit_counts_reasoning_and_answer(spoken, name):
    result = greedy(spoken, "Q", raw=True, **{name: 9})
    assert (result.reasoning, result.text) == ("abcd", "XY")
    assert (result.finish_reason, result.stopped_by) == ("length", "max_new_tokens")
    assert result.usage.completion_tokens == 9


def test_generation_config_may_limit(tmp_path):
    folder = write_scripted(tmp_path, {}, generation_config={"max_new_tokens": 4, "do_sample": False})
    model = qwen3cpu.load(folder, quant="f32")
    assert model.generate("Q", raw=True, ignore_eos=True).usage.completion_tokens == 4
    assert model.generate("Q", raw=True, ignore_eos=True, max_new_tokens=6).usage.completion_tokens == 6


def test_a_full_context_ends_an_answer_and_says_so(random_model):
    ids = [7] * 190
    result = random_model.generate(ids, ignore_eos=True, max_new_tokens=100)
    assert result.usage.completion_tokens == 10
    assert (result.finish_reason, result.stopped_by) == ("length", "context")
    exact = random_model.generate(ids, ignore_eos=True, max_new_tokens=10)
    assert exact.stopped_by == "max_new_tokens"


@pytest.mark.parametrize("length", [200, 201, 5000])
def test_a_prompt_that_does_not_fit_names_both_counts(random_model, length):
    with pytest.raises(qwen3cpu.ContextLengthError, match=rf"\b{length}\b.*\b200\b"):
        random_model.generate([7] * length)
    assert random_model.generate([7] * 199, ignore_eos=True).usage.completion_tokens == 1


# Thinking budget


def test_a_spent_budget_closes_the_thinking_and_an_answer_follows(spoken):
    result = greedy(spoken, "Q", raw=True, thinking_budget=2)
    assert result.reasoning == "ab" + BUDGET_SPENT.removesuffix("\n</think>\n\n")
    assert result.text == "XY-Z!"
    assert result.thinking_budget_spent
    closing = spoken.tokenizer.encode(BUDGET_SPENT, control_tokens=True)
    assert list(result.token_ids[3 : 3 + len(closing)]) == closing
    assert result.usage.completion_tokens == len(result.token_ids)
    # <think>, "a", "b", the sentence with </think>, but not the two newlines after it
    assert result.usage.reasoning_tokens == 3 + len(closing) - 2


def test_an_answer_after_a_spent_budget_goes_on_as_if_the_text_had_been_the_prompt(random_model):
    start = [token("<think>")]
    result = random_model.generate(start, thinking_budget=3, seed=1, temperature=0, max_new_tokens=180)
    assert result.thinking_budget_spent
    closing = random_model.tokenizer.encode(BUDGET_SPENT, control_tokens=True)
    at = result.token_ids.index(closing[0]) if closing[0] in result.token_ids else -1
    known = 3 + len(closing)
    assert at >= 0
    assert list(result.token_ids[3:known]) == closing
    rest = random_model.generate([*start, *result.token_ids[:known]], temperature=0, max_new_tokens=180 - known)
    assert result.token_ids[known:] == rest.token_ids


def test_a_budget_that_is_not_reached_changes_nothing(spoken):
    free, limited = greedy(spoken, "Q", raw=True), greedy(spoken, "Q", raw=True, thinking_budget=4)
    assert limited.thinking_budget_spent
    wide = greedy(spoken, "Q", raw=True, thinking_budget=5)
    assert not wide.thinking_budget_spent
    assert wide.token_ids == free.token_ids


def test_a_budget_of_zero_is_an_empty_block(spoken):
    result = greedy(spoken, "Q", raw=True, thinking_budget=0)
    assert (result.reasoning, result.text) == ("", "XY-Z!")
    assert spoken.tokenizer.decode(result.token_ids).startswith("<think>\n\n</think>\n\nXY")
    opened = greedy(spoken, "<think>\n", raw=True, thinking_budget=0)
    assert (opened.reasoning, opened.text) == ("", "XY-Z!")
    message = [{"role": "user", "content": "Q"}]
    asked = greedy(spoken, message, thinking_budget=0)
    assert asked.usage.prompt_tokens == greedy(spoken, message, thinking=False).usage.prompt_tokens


def test_a_budget_that_leaves_no_room_for_an_answer_is_cut_by_the_limit(spoken):
    result = greedy(spoken, "Q", raw=True, thinking_budget=2, max_new_tokens=4)
    assert (result.reasoning, result.text, result.stopped_by) == ("abc", "", "max_new_tokens")
    assert len(result.token_ids) == 4


def test_forced_tokens_have_no_logprob(spoken):
    result = greedy(spoken, "Q", raw=True, thinking_budget=2, logprobs=0)
    closing = len(spoken.tokenizer.encode(BUDGET_SPENT, control_tokens=True))
    assert [entry.token_id for entry in result.logprobs] == list(result.token_ids)
    missing = [i for i, entry in enumerate(result.logprobs) if entry.logprob is None]
    assert missing == list(range(3, 3 + closing))


# Several answers


def test_answers_to_one_prompt_share_it_and_differ(random_model):
    before = random_model.engine.native.counters()["tokens"]
    results = random_model.generate("hello", n=4, seed=3, max_new_tokens=12, ignore_eos=True)
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
    # An answer takes as many passes as it has tokens: Z, Y and d beside Q, then ! and a beside what is left of d.
    lanes = [0, 0]
    for length in lengths:
        lanes[lanes.index(min(lanes))] += length
    assert calls == max(lanes)


def test_no_prompts_no_results(random_model):
    assert random_model.generate_batch([]) == []


def test_a_long_prompt_joins_while_others_run(random_model):
    """A prompt of several pieces beside short ones, with pieces of 16 tokens."""
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
    """A batch, and its answers; each has its place as its seed."""
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


# Nothing is left behind


def test_closing_a_stream_frees_its_sequence_at_once(random_model):
    native = random_model.engine.native
    stream = random_model.stream("hello", max_new_tokens=100, ignore_eos=True, n=3)
    for _ in range(10):
        next(stream)
    assert native.kv_blocks_in_use() > 0
    calls = native.counters()["calls"]
    stream.close()
    assert native.kv_blocks_in_use() == 0
    assert native.counters()["calls"] == calls


def test_ctrl_c_stops_within_one_step_and_frees_the_sequence(random_model, monkeypatch):
    engine, forward = random_model.engine, random_model.engine.forward
    calls = []

    def interrupted(batch):
        calls.append(batch)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return forward(batch)

    monkeypatch.setattr(engine, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        random_model.generate("hello", max_new_tokens=100, ignore_eos=True)
    assert len(calls) == 4
    assert engine.native.kv_blocks_in_use() == 0


def test_finished_answers_hold_no_memory(random_model):
    stream = random_model.stream("hello", max_new_tokens=5)
    list(stream)
    random_model.score("hello world")
    random_model.logits(range(100))
    assert random_model.engine.native.kv_blocks_in_use() == 0


def test_two_threads_use_one_model(random_model):
    prompts = ["hello world", "the sky is blue"]
    expected = [random_model.generate(prompt, seed=4, max_new_tokens=60).token_ids for prompt in prompts]
    found = [[], []]

    def work(which):
        for _ in range(5):
            found[which].append(random_model.generate(prompts[which], seed=4, max_new_tokens=60).token_ids)

    threads = [threading.Thread(target=work, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[expected[0]] * 5, [expected[1]] * 5]


# What is reported


def test_logprobs_are_those_of_score(random_model):
    prompt = random_model.tokenizer.encode("hello world")
    result = random_model.generate(prompt, seed=6, max_new_tokens=20, logprobs=4, temperature=1.5, ignore_eos=True)
    scored = random_model.score([*prompt, *result.token_ids], top=4)
    assert result.logprobs == tuple(scored[len(prompt) - 1 :])
    assert all(len(entry.top) == 4 for entry in result.logprobs)
    assert [entry.token_id for entry in result.logprobs] == list(result.token_ids)


def test_logprobs_true_is_the_chosen_tokens_alone(random_model):
    chosen = random_model.generate("hello", seed=6, max_new_tokens=3, logprobs=True)
    assert [entry.top for entry in chosen.logprobs] == [(), (), ()]
    assert chosen.logprobs == random_model.generate("hello", seed=6, max_new_tokens=3, logprobs=0).logprobs
    assert random_model.generate("hello", seed=6, max_new_tokens=3, logprobs=False).logprobs is None


def test_timings_fit_together(random_model):
    timings = random_model.generate("hello", seed=6, max_new_tokens=30, ignore_eos=True).timings
    assert 0 < timings.prompt_seconds <= timings.first_token_seconds < timings.total_seconds
    assert timings.first_token_seconds + timings.decode_seconds == pytest.approx(timings.total_seconds)
    assert timings.tokens_per_second == pytest.approx(29 / timings.decode_seconds)


def test_a_result_is_json(random_model):
    result = random_model.generate("hello", seed=6, max_new_tokens=3, logprobs=1)
    plain = json.loads(json.dumps(result.to_dict()))
    assert plain["token_ids"] == list(result.token_ids)
    assert plain["usage"]["total_tokens"] == result.usage.prompt_tokens + 3
    assert plain["logprobs"][0]["top"][0]["token_id"] == result.logprobs[0].top[0].token_id


def test_spare_rows_of_the_head_are_never_drawn(random_model):
    result = random_model.generate("hello", seed=6, max_new_tokens=150, temperature=50.0, top_k=0, top_p=1.0)
    assert max(result.token_ids) < random_model.tokenizer.size < random_model.config.vocab_size
