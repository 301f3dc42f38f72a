"""Soft switches, the mode's sampling, deadlines and loops."""

import dataclasses
import random
import warnings

import checkpoints
import pytest
from dictation import dictate
from hypothesis import given
from hypothesis import strategies as st

import qwen3cpu
from qwen3cpu.engine.sampling import NON_THINKING, THINKING
from qwen3cpu.generation.loops import IN_THINKING, LoopDetector, period
from qwen3cpu.generation.thinking import BUDGET_SPENT
from qwen3cpu.text.soft_switch import latest_switch


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = checkpoints.write_checkpoint(tmp_path_factory.mktemp("model"), max_position_embeddings=4096).folder
    return qwen3cpu.load(folder, quant="f32", threads=1)


@pytest.fixture(scope="module")
def tiny():
    return qwen3cpu.load("tiny")


def said(role, content, **more):
    return {"role": role, "content": content, **more}


# Soft switches


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("What is 2 + 2?", None),
        ("What is 2 + 2? /no_think", False),
        ("/think\nWhat is 2 + 2?", True),
        ("/think What? /no_think", False),
        ("/no_think What?\t/think", True),
        ("See /etc/think, /thinking, a/think, /no_think/x, /Think and /think-tank.", None),
        ([said("system", "/no_think"), said("user", "x")], False),
        ([said("system", "/no_think"), said("user", "x /think")], True),
        ([said("user", "x /no_think"), said("assistant", "/think"), said("user", "y")], False),
        ([said("user", "x /no_think"), said("assistant", "a"), said("system", "/think"), said("user", "y")], True),
        ([said("user", "x"), said("assistant", "a"), said("tool", "/no_think")], None),
        ([said("user", [{"type": "text", "text": "x "}, {"type": "text", "text": "/no_think"}])], False),
        ([said("user", None), "not a message", said("user", 7)], None),
        ([1, 2, 3], None),
        (None, None),
    ],
    ids=str,
)
def test_latest_switch(prompt, expected):
    assert latest_switch(prompt) is expected


@pytest.mark.parametrize(
    ("given_thinking", "text", "thinks"),
    [
        ({}, "x", True),
        ({}, "x /no_think", False),
        ({"thinking": "auto"}, "x /no_think", False),
        ({"thinking": None}, "x /no_think", False),
        ({"thinking": True}, "x /no_think", True),
        ({"thinking": False}, "x /think", False),
        ({"enable_thinking": False}, "x", False),
        ({"enable_thinking": "auto"}, "x /no_think", False),
        ({"thinking_budget": 0}, "x /think", False),
    ],
)
def test_the_mode_decides_prompt_and_sampling(model, given_thinking, text, thinks):
    messages = [said("user", text)]
    for prompt in (text, messages):
        request = model.answerer.request(prompt, **given_thinking)
        assert request.thinking is thinks
        preset = THINKING if thinks else NON_THINKING
        assert (request.sampling.temperature, request.sampling.top_p) == (preset.temperature, preset.top_p)
        assert model.answerer.request(prompt, **given_thinking, temperature=0.3).sampling.temperature == 0.3
        block = model.tokenizer.decode(model.answerer.encode(prompt, request)).endswith("<think>\n\n</think>\n\n")
        assert block is not thinks
        result = model.generate(prompt, **given_thinking, seed=4, max_new_tokens=3)
        alone = model.generate(messages, thinking=thinks, seed=4, max_new_tokens=3)
        assert (result.token_ids, result.usage.prompt_tokens) == (alone.token_ids, alone.usage.prompt_tokens)


def test_what_is_not_rendered_has_no_switches(model):
    assert model.answerer.request("x /no_think", raw=True).thinking
    assert model.answerer.request([1, 2]).thinking


def test_render_follows_switches_too(model):
    messages = [said("user", "x /no_think")]
    assert model.render(messages) == model.render(messages, thinking=False)
    assert model.render(messages, thinking=True) == model.render(messages, thinking=False).removesuffix(
        "<think>\n\n</think>\n\n"
    )


def test_prompts_of_a_batch_have_a_mode_each(model):
    prompts = ["x", "x /no_think", "x /think"]
    together = model.generate_batch(prompts, seed=1, max_new_tokens=6)
    assert [result.token_ids for result in together] == [
        model.generate(prompt, seed=1, max_new_tokens=6).token_ids for prompt in prompts
    ]


def test_a_switch_in_a_conversation_lasts(model):
    chat = model.chat(max_new_tokens=2)
    modes = []
    for text in ("a", "b /no_think", "c", "d /think", "e"):
        chat.send(text)
        modes.append(model.answerer.request(chat.messages).thinking)
    assert modes == [True, False, False, True, True]


@pytest.mark.parametrize("value", ["on", 1, "Auto", []])
def test_no_other_values(model, value):
    with pytest.raises(qwen3cpu.ArgumentError, match='thinking: expected True, False or "auto", found'):
        model.generate("x", thinking=value)


def test_greedy_thinking_warns_once(tmp_path):
    greedy = {"temperature": 0, "max_new_tokens": 1}
    model = qwen3cpu.load(checkpoints.write_checkpoint(tmp_path / "a").folder, quant="f32", threads=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.generate("x", thinking=False, **greedy)
        model.generate("x /no_think", **greedy)
        model.generate("x", raw=True, **greedy)
        model.generate([1, 2], **greedy)
        model.generate("x", max_new_tokens=1)
    with pytest.warns(qwen3cpu.Qwen3CpuWarning, match="greedy thinking") as caught:
        model.generate("x", **greedy)
    assert [each.filename for each in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.generate("x", **greedy)
        list(model.stream("x", do_sample=False, max_new_tokens=1))
        model.generate_batch(["x"], **greedy)
    folder = checkpoints.write_checkpoint(tmp_path / "b", generation_config={"do_sample": False}).folder
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        qwen3cpu.load(folder, quant="f32", threads=1).generate("x", max_new_tokens=1)


# Loops


@pytest.mark.parametrize("length", [1, 2, 3, 17, 100, 128, 129, 500, 1000])
def test_a_loop_is_found_and_not_before_it_is_one(length):
    rng = random.Random(length)
    before = [rng.randrange(1000) for _ in range(700)]
    piece = [rng.randrange(1000) for _ in range(length)]
    detector = LoopDetector()
    found = None
    for count, token in enumerate(before + piece * 6000):
        if detector.push(token):
            found = count + 1 - len(before)
            break
    needed = max(IN_THINKING.span, IN_THINKING.repeats * length)
    assert found is not None
    assert needed <= found < needed + 70


@given(st.lists(st.integers(0, 1), max_size=60), st.lists(st.integers(0, 1), min_size=1, max_size=40))
def test_period_against_its_definition(before, piece):
    """The definition: the shortest period of all ends that are long enough, tried one by one."""
    tokens = before + piece * (600 // len(piece))
    shortest = next(
        (
            p
            for p in range(1, 200)
            if len(tokens) >= (span := max(IN_THINKING.span, IN_THINKING.repeats * p))
            and all(tokens[-i] == tokens[-i - p] for i in range(1, span - p + 1))
        ),
        None,
    )
    assert period(tokens) == shortest


def texts_without_a_loop():
    rng = random.Random(3)
    words = [
        "so",
        "the",
        "sum",
        "of",
        "two",
        "and",
        "three",
        "is",
        "five",
        "but",
        "wait",
        "let",
        "me",
        "check",
        "that",
        "again",
    ]
    yield "numbers", " ".join(str(n) for n in range(900))
    yield "one counter", "".join(f"Step {n}: add 7 to the result and write it down.\n" for n in range(150))
    yield "table", "".join(f"| {n} | {n * n} | {'yes' if n % 3 else 'no'} |\n" for n in range(200))
    yield "csv", "".join(f"{rng.random():.3f},0,0,0\n" for _ in range(200))
    yield "zeros of a 10 x 10 matrix", ("0 " * 9 + "0\n") * 10 + "Now fill it in: "
    yield "equal rows", "| x | 0 | 0 |\n" * 12 + "and so on."
    yield "code", "".join(f"    if x == {n}:\n        return {n % 7}\n" for n in range(100))
    yield "refrain", "".join(f"{v} green bottles hanging on the wall,\n" * 2 + "And if one\n" for v in range(60))
    yield "words", " ".join(rng.choice(words) for _ in range(3000))
    yield "rule", "-" * 300 + "\n" + "=" * 300
    yield "binary counting", " ".join(f"{n:010b}" for n in range(300))
    yield "Thue-Morse", "".join("ab"[n.bit_count() % 2] for n in range(4096))
    yield "self-corrections", "".join(f"Wait, no. {rng.choice(words)} {rng.choice(words)}. " * 2 for _ in range(200))


@pytest.mark.parametrize(("name", "text"), list(texts_without_a_loop()), ids=lambda value: value[:20])
@pytest.mark.parametrize("bytewise", [True, False])
def test_no_false_alarms(tiny, name, text, bytewise):
    detector = LoopDetector()
    tokens = list(text.encode()) if bytewise else tiny.tokenizer.encode(text)
    assert not any(detector.push(token) for token in tokens)


@pytest.mark.parametrize("different", [2, 50, 50_000])
def test_searching_takes_a_constant_number_of_steps_per_token(different):
    """The test counts comparisons."""
    compared = 0

    class Token(int):
        __hash__ = int.__hash__

        def __eq__(self, other):
            nonlocal compared
            compared += 1
            return int(self) == int(other)

        def __ne__(self, other):
            return not self == other

    detector = LoopDetector()
    rng = random.Random(1)
    count = 5_000
    assert not any(detector.push(Token(rng.randrange(different))) for _ in range(count))
    assert 0 < compared < 70 * count


def test_a_loop_in_the_thinking_is_closed(monkeypatch, model):
    dictate(monkeypatch, model, "<think>\n" + "Wait, no. " * 300)
    result = model.generate("x", seed=1, max_new_tokens=2000)
    assert result.thinking_closed_by == "loop"
    assert not result.thinking_budget_spent
    assert result.reasoning.endswith(BUDGET_SPENT.removesuffix("\n</think>\n\n"))
    assert IN_THINKING.span < result.usage.reasoning_tokens < IN_THINKING.span + 200
    assert result.text.startswith("Wait, no.") or " no. Wait," in result.text, "the dictation continues"


def test_loops_may_be_wanted(monkeypatch, model):
    dictate(monkeypatch, model, "<think>\n" + "Wait, no. " * 100 + "</think>\n\nDone.")
    result = model.generate("x", seed=1, loop_detection=False)
    assert (result.thinking_closed_by, result.text) == (None, "Done.")


# Deadlines


@pytest.fixture
def timed(model, monkeypatch):
    """The model with a clock that advances by a tenth of a second for every processed token."""
    start = model.engine.native.counters()["tokens"]
    surroundings = dataclasses.replace(
        model.answerer.surroundings,
        clock=lambda: (model.engine.native.counters()["tokens"] - start) / 10,
        make_drafters=None,
    )
    monkeypatch.setattr(model.answerer, "surroundings", surroundings)
    model.engine.prefix_cache.clear()
    return model


THOUGHTS = "".join(f"{n} and {n + 1} are {2 * n + 1}. " for n in range(1000))
CLOSING = BUDGET_SPENT.removesuffix("\n</think>\n\n")


@pytest.mark.parametrize("deadline", [40, 100, 200])
def test_the_thinking_leaves_time_for_an_answer(monkeypatch, timed, deadline):
    dictate(monkeypatch, timed, "<think>\n" + THOUGHTS)
    result = timed.generate("x", seed=1, deadline=deadline)
    assert result.thinking_closed_by == "deadline"
    assert result.reasoning.endswith(CLOSING)
    assert (result.finish_reason, result.stopped_by) == ("length", "deadline")
    seconds = result.timings.total_seconds
    assert deadline - 0.2 <= seconds <= deadline
    left = deadline - result.timings.prompt_seconds
    # The answer gets a quarter of the time, but at least 25.6 seconds (256 tokens), and at most half.
    reserve = min(left / 2, max(left / 4, 25.6))
    closing = len(timed.tokenizer.encode(BUDGET_SPENT, control_tokens=True)) / 10
    assert left - result.usage.reasoning_tokens / 10 == pytest.approx(reserve - closing, abs=1)


def test_an_answer_in_time_is_complete(monkeypatch, timed):
    dictate(monkeypatch, timed, "<think>\nhm\n</think>\n\nDone.")
    result = timed.generate("x", seed=1, deadline=60)
    assert (result.text, result.stopped_by, result.thinking_closed_by) == ("Done.", "eos", None)


@pytest.mark.parametrize("n", [1, 3])
def test_a_deadline_may_pass_in_the_prompt(timed, n):
    results = timed.generate("a long prompt " * 200, n=n, deadline=40)
    for result in results:
        assert (result.stopped_by, result.finish_reason) == ("deadline", "length")
        assert (result.text, result.token_ids) == ("", ())
    assert timed.engine.native.counters()["tokens"] > 0
    timed.engine.prefix_cache.clear()
    assert timed.engine.native.kv_blocks_in_use() == 0


def test_a_deadline_changes_no_other_answer(timed):
    options = {"seed": 3, "max_new_tokens": 20}
    assert timed.generate("x", **options).token_ids == timed.generate("x", **options, deadline=1e6).token_ids


@pytest.mark.parametrize("value", [0, -1, True, "1", float("nan"), float("inf")])
def test_a_deadline_is_a_number_of_seconds(model, value):
    with pytest.raises(qwen3cpu.ArgumentError, match="deadline: expected a number of seconds above 0"):
        model.generate("x", deadline=value)


# The embedded model, with real answers

QUESTION = "What is 17 + 25?"


def test_both_modes_of_the_embedded_model(tiny):
    thought, direct = tiny.generate(QUESTION, seed=1), tiny.generate(f"{QUESTION} /no_think", seed=1)
    assert thought.reasoning
    assert thought.text.strip()
    assert direct.reasoning == ""
    assert direct.text.strip()
    assert direct.usage.reasoning_tokens == 0


@pytest.mark.parametrize("budget", [1, 5, 10])
def test_a_budget_cuts_the_embedded_model_off_and_it_answers(tiny, budget):
    result = tiny.generate(QUESTION, seed=1, thinking_budget=budget)
    assert result.thinking_closed_by == "budget"
    assert result.reasoning.endswith(CLOSING.strip())
    assert result.text.strip()
    assert result.stopped_by == "eos"


def test_the_embedded_model_in_a_loop(tiny):
    """With only <think> and two digits allowed, it has to repeat these in its thinking."""
    digits = [tiny.tokenizer.encode(digit)[0] for digit in "79"]
    bias = {token: float("inf") for token in (tiny.tokenizer.think, *digits)}
    options = {"logit_bias": bias, "temperature": 0, "max_new_tokens": 900}
    result = tiny.generate(QUESTION, **options)
    assert result.thinking_closed_by == "loop"
    assert CLOSING in result.reasoning
    free = tiny.generate(QUESTION, **options, loop_detection=False)
    assert free.thinking_closed_by is None
    assert free.stopped_by == "max_new_tokens"
    assert free.text == ""
