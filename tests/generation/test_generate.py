"""Answers: their text, their ends, their reports, and that they leave nothing behind."""

import json
import threading
from dataclasses import asdict, replace

import checkpoint_texts
import pytest
from scripted_models import script, token, write_scripted

import qwen3cpu
from qwen3cpu.errors import ArgumentError
from qwen3cpu.text.tool_calls import MalformedCall, ToolCall


def greedy(model, prompt, **options):
    return model.generate(prompt, temperature=0, **options)


# Text and reasoning


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
    chunks = list(random_model.stream("hello", seed=5, max_new_tokens=60, logprobs=2, speculate=False))
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


def test_a_result_as_a_dictionary_has_every_field(random_model):
    result = random_model.generate("hello", seed=6, max_new_tokens=3, logprobs=1)
    call = ToolCall("f", {"a": [1]})
    result = replace(result, tool_calls=(call,), malformed_calls=(MalformedCall("text", "reason"),))
    expected = asdict(result)
    del expected["error"]
    expected["usage"]["total_tokens"] = result.usage.total_tokens
    assert result.to_dict() == expected


def test_options_that_differ_in_their_seed_are_checked_as_well(random_model):
    request = random_model.answerer.request
    first = request("hello", seed=1, max_new_tokens=1, temperature=0.5)
    second = request("hello", seed=2, max_new_tokens=1, temperature=0.5)
    assert second == replace(first, sampling=first.sampling.replace(seed=2))
    assert request("hello", seed=2, max_new_tokens=2, temperature=0.5).max_new_tokens == 2
    for wrong in ({"max_new_tokens": True}, {"seed": -1}, {"seed": 1 << 64}, {"seed": True}, {"seed": 1.0}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            request("hello", **{"seed": 3, "max_new_tokens": 1, "temperature": 0.5, **wrong})


def test_spare_rows_of_the_head_are_never_drawn(random_model):
    result = random_model.generate("hello", seed=6, max_new_tokens=150, temperature=50.0, top_k=0, top_p=1.0)
    assert max(result.token_ids) < random_model.tokenizer.size < random_model.config.vocab_size
