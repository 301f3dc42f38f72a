"""Token healing: a raw prompt that ends inside a word, a character or a token continues as a whole text would."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import checkpoints
import numpy as np
import pytest
from drafters import KINDS, drafting, timeless, told
from hypothesis import given, settings
from hypothesis import strategies as st

import qwen3cpu
from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.healing import Healing, taken_back
from qwen3cpu.text.token_beginnings import TokenBeginnings
from qwen3cpu.text.tokenizer import Tokenizer

WORDS = "Tom has 3 apples and buys 4 more apples. How many"


@pytest.fixture(scope="module")
def tiny():
    return qwen3cpu.load("tiny", threads=1, prefix_cache=0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model with long, meaningless answers of tokens that are often parts of characters."""
    folder = checkpoints.write_checkpoint(tmp_path_factory.mktemp("model")).folder
    return qwen3cpu.load(folder, quant="f32", context=400, threads=1, prefix_cache=0)


def spellings(tokenizer):
    control = set(tokenizer.control_tokens.values())
    found = {token: tokenizer.token_bytes(token) for token in range(tokenizer.size) if token not in control}
    return {token: spelling for token, spelling in found.items() if spelling}


def taken_back_by_trying(tokenizer, prompt):
    """Tries every number of tokens at the end, and every token of the vocabulary."""
    known = spellings(tokenizer)
    best = (0, b"")
    for count in range(1, len(prompt)):
        if any(token not in known for token in prompt[-count:]):
            break
        tail = b"".join(known[token] for token in prompt[-count:])
        if any(len(each) > len(tail) and each.startswith(tail) for each in known.values()):
            best = (count, tail)
    return best


def greedy_by_trying(model, prompt, most):
    """The ids of a greedy answer: at each place the best of all tokens that fit the owed bytes."""
    known = spellings(model.tokenizer)
    count, owed = taken_back_by_trying(model.tokenizer, prompt)
    kept, said = list(prompt[: len(prompt) - count]), []
    for _ in range(most):
        row = model.logits([*kept, *said])[-1].astype(np.float64)
        allowed = [
            token
            for token in range(model.tokenizer.size)
            if not owed or (token in known and (known[token].startswith(owed) or owed.startswith(known[token])))
        ]
        token = max(allowed, key=lambda each: (row[each], -each))
        owed = owed[len(known.get(token, b"")) :] if owed else b""
        said.append(token)
    return kept, said


# What is taken back


@pytest.mark.parametrize("length", range(1, len(WORDS) + 1))
def test_as_much_as_may_be_the_beginning_of_a_token_is_taken_back(tiny, length):
    prompt = tiny.tokenizer.encode(WORDS[:length])
    assert taken_back(tiny.tokenizer, prompt) == taken_back_by_trying(tiny.tokenizer, prompt)


@given(text=st.text(alphabet="ab h\n17é世👋", min_size=1, max_size=12))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_any_text_is_taken_back_as_trying_says(tiny, text):
    tokenizer = tiny.tokenizer
    prompt = tokenizer.encode(text)
    assert taken_back(tokenizer, prompt) == taken_back_by_trying(tokenizer, prompt)


def test_several_tokens_may_be_taken_back(tiny):
    """The vocabulary has a token whose beginning is encoded as two tokens."""
    tokenizer = tiny.tokenizer
    found = [
        prompt
        for spelling in spellings(tokenizer).values()
        if spelling.isascii() and len(spelling) > 3
        for prompt in [tokenizer.encode("1" + spelling[:-1].decode())]
        if taken_back(tokenizer, prompt)[0] > 1
    ]
    assert found
    for prompt in found[:20]:
        assert taken_back(tokenizer, prompt) == taken_back_by_trying(tokenizer, prompt)


def test_the_first_token_and_control_tokens_stay(tiny):
    tokenizer = tiny.tokenizer
    (one,) = tokenizer.encode("a")
    assert tokenizer.beginnings.has_longer(b"a")
    assert taken_back(tokenizer, [one]) == (0, b"")
    assert taken_back(tokenizer, [one, one])[0] == 1
    assert taken_back(tokenizer, [one, tokenizer.im_end]) == (0, b"")
    assert taken_back(tokenizer, [one, tokenizer.im_end, one])[0] == 1


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("The capital of Fra", (1, b" Fra")),
        ("This is an interna", (2, b" interna")),
        ("http:", (1, b":")),
        ("Hello ", (1, b" ")),
        ("I like 👋", (1, b"\x8b")),
        ("1, 2", (0, b"")),
        ("The", (0, b"")),
    ],
)
def test_what_the_released_models_take_back(text, taken):
    folder = os.environ.get("QWEN3CPU_QWEN3_TOKENIZER")
    if not folder:
        pytest.skip("QWEN3CPU_QWEN3_TOKENIZER names no folder")
    tokenizer = Tokenizer((Path(folder) / "tokenizer.json").read_bytes(), {}, source="released")
    assert taken_back(tokenizer, tokenizer.encode(text)) == taken


def test_beginnings():
    found = TokenBeginnings(
        [(0, b"a"), (1, b"ab"), (2, b"abc"), (3, b"b"), (4, b""), (5, b"\xff"), (6, b"\xff\xff"), (7, b"ab")]
    )
    assert sorted(found.along(b"ab").tolist()) == [0, 1, 2, 7]
    assert sorted(found.along(b"abcd").tolist()) == [0, 1, 2, 7]
    assert sorted(found.along(b"\xff").tolist()) == [5, 6]
    assert found.along(b"x").tolist() == []
    assert [found.has_longer(each) for each in (b"a", b"ab", b"abc", b"b", b"\xff", b"\xff\xff", b"x")] == [
        True,
        True,
        False,
        False,
        True,
        False,
        False,
    ]
    assert TokenBeginnings([]).has_longer(b"") is False


# What an answer begins with


def test_a_cut_word_goes_on_as_the_whole_one(tiny):
    """If a prompt is cut inside one of the answer's own tokens, the answer begins with this token."""
    question = [{"role": "user", "content": "Tom has 3 apples and buys 4 more. How many?"}]
    text = tiny.render(question, thinking=False)
    whole = tiny.generate(text, raw=True, temperature=0, max_new_tokens=30)
    assert whole.text == "7 apples."
    before = tiny.tokenizer.encode(text, control_tokens=True)
    compared = 0
    for place, token in enumerate(whole.token_ids):
        spelling = tiny.tokenizer.token_bytes(token)
        said = tiny.tokenizer.decode(whole.token_ids[:place], skip_special_tokens=False)
        if token in tiny.tokenizer.control_tokens.values() or not spelling.isascii():
            continue
        for length in range(1, len(spelling)):
            cut = text + said + spelling[:length].decode()
            kept = Healing(tiny.tokenizer, tiny.tokenizer.encode(cut, control_tokens=True), True).prompt
            if kept != (*before, *whole.token_ids[:place]):
                continue  # the tokens before the cut differ too
            healed = tiny.generate(cut, raw=True, temperature=0, token_healing=True, max_new_tokens=30 - place)
            assert healed.token_ids[: 30 - place] == whole.token_ids[place:]
            assert cut + healed.text == text + whole.text
            compared += 1
    assert compared > 0


@pytest.mark.parametrize("length", [9, 13, 17, 22, 29, 36, 44, 47])
def test_greedy_answers_equal_trying(tiny, length):
    text = WORDS[:length]
    kept, said = greedy_by_trying(tiny, tiny.tokenizer.encode(text), 4)
    result = tiny.generate(
        text, raw=True, temperature=0, token_healing=True, max_new_tokens=4, ignore_eos=True, thinking=False
    )
    assert list(result.token_ids) == said
    assert result.usage.prompt_tokens == len(kept)


@given(text=st.text(alphabet="ab h\n17é世👋🏽", min_size=1, max_size=10), seed=st.integers(0, 9))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_prompt_and_answer_make_one_text(model, text, seed):
    """Whatever tokens and characters are cut, nothing is missing or repeated."""
    options = {"raw": True, "token_healing": True, "seed": seed, "temperature": 1.5, "top_k": 0, "top_p": 1.0}
    text = model.tokenizer.decode(model.tokenizer.encode(text))
    kept = Healing(model.tokenizer, model.tokenizer.encode(text), True).prompt
    control = list(model.tokenizer.control_tokens.values())
    bans = dict.fromkeys(control, float("-inf"))
    result = model.generate(text, max_new_tokens=12, ignore_eos=True, logit_bias=bans, logprobs=0, **options)
    assert text + result.text == model.tokenizer.decode([*kept, *result.token_ids])
    # Each token has the log-probability that it has in that text.
    scores = model.score([*kept, *result.token_ids])[len(kept) - 1 :]
    assert [each.logprob for each in result.logprobs] == [each.logprob for each in scores]
    assert [each.token_id for each in result.logprobs] == list(result.token_ids)


@pytest.mark.parametrize("prompt", ["<|im_end|>", "a<|im_end|>", "a"])
def test_prompts_of_which_nothing_is_taken_back(model, prompt):
    options = {"raw": True, "seed": 3, "max_new_tokens": 10, "ignore_eos": True}
    assert timeless(model.generate(prompt, token_healing=True, **options)) == timeless(
        model.generate(prompt, **options)
    )


def test_a_prompt_whose_last_token_has_no_longer_continuation(tiny):
    tokenizer = tiny.tokenizer
    longest = max(
        (
            each
            for each in spellings(tokenizer).values()
            if each.isascii() and not tokenizer.beginnings.has_longer(each)
        ),
        key=len,
    )
    text = "1 " + longest.decode()
    if taken_back(tokenizer, tokenizer.encode(text)) != (0, b""):
        pytest.skip("here the longest token of the vocabulary is encoded differently")
    options = {"raw": True, "seed": 3, "max_new_tokens": 10}
    assert timeless(tiny.generate(text, token_healing=True, **options)) == timeless(tiny.generate(text, **options))


def test_thinking_that_is_open(model):
    """A raw prompt may end inside a think block, and inside a word."""
    for budget in (None, 0, 1, 3):
        options = {"raw": True, "seed": 5, "max_new_tokens": 200, "ignore_eos": True, "thinking_budget": budget}
        text = "<think>\nhello wor"
        count, owed = taken_back(model.tokenizer, model.tokenizer.encode(text, control_tokens=True))
        assert count
        bans = {model.tokenizer.end_think: float("-inf")}
        result = model.generate(text, token_healing=True, logit_bias=bans, **options)
        said = b"".join(model.tokenizer.token_bytes(token) for token in result.token_ids)
        assert said.startswith(owed)
        if budget is not None:
            assert result.thinking_closed_by == "budget"


# In batches, streams and with drafts


def test_streams_several_answers_and_batches(model):
    options = {"raw": True, "token_healing": True, "max_new_tokens": 12, "ignore_eos": True, "logprobs": 1}
    texts = ["hello wor", "the sky is bl", "a", "the the th"]
    alone = [model.generate(text, seed=4, **options) for text in texts]
    for text, result in zip(texts, alone, strict=True):
        chunks = list(model.stream(text, seed=4, **options))
        assert "".join(chunk.text for chunk in chunks) == result.text
        assert [token for chunk in chunks for token in chunk.token_ids] == list(result.token_ids)
        assert [entry for chunk in chunks for entry in chunk.logprobs] == list(result.logprobs)
    for most in (1, 4):
        together = model.generate_batch(texts, seed=4, most_running=most, **options)
        assert [timeless(replace(each, index=0)) for each in together] == [timeless(each) for each in alone]
    several = model.generate(texts[0], n=3, seed=4, **options)
    assert timeless(several[0]) == timeless(alone[0])
    assert len({each.token_ids for each in several}) > 1
    assert model.engine.native.kv_blocks_in_use() == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["hello wor", "the sky is bl"])
def test_drafts_change_nothing(model, kind, text):
    options = {"raw": True, "token_healing": True, "max_new_tokens": 30, "ignore_eos": True, "seed": 2, "logprobs": 1}
    plain = list(model.stream(text, **options))
    kept = Healing(model.tokenizer, model.tokenizer.encode(text), True).prompt
    with drafting(model, kind([[*kept, *plain[-1].result.token_ids]], [])):
        drafted = list(model.stream(text, **options))
    assert timeless(drafted[-1].result) == timeless(plain[-1].result)
    assert told(drafted) == told(plain)


def test_stop_strings_look_at_what_is_new(model):
    options = {"raw": True, "seed": 6, "token_healing": True, "max_new_tokens": 12, "ignore_eos": True}
    plain = model.generate("hello wor", **options)
    assert len(plain.text) > 3
    assert timeless(model.generate("hello wor", stop="r" + plain.text[0], **options)) == timeless(plain)
    assert (
        model.generate("hello wor", stop=plain.text[1:3], **options).text
        == plain.text[: plain.text.index(plain.text[1:3])]
    )


# What is refused


@pytest.mark.parametrize(
    ("prompt", "options", "found"),
    [
        ([{"role": "user", "content": "a"}], {}, "found messages"),
        ("hello", {}, "found a message"),
        ([5, 6], {}, "found token ids"),
        ([5, 6], {"raw": True}, "found token ids"),
        ("hello", {"raw": True, "regex": "a+"}, "cannot be used with schema, regex, choices or grammar"),
        ("hello", {"raw": True, "schema": {"type": "integer"}}, "cannot be used with schema"),
    ],
    ids=str,
)
def test_it_is_for_raw_text_alone(tiny, prompt, options, found):
    pytest.importorskip("llguidance")
    for call in (
        lambda: tiny.generate(prompt, token_healing=True, **options),
        lambda: tiny.stream(prompt, token_healing=True, **options),
        lambda: tiny.generate_batch([prompt], token_healing=True, **options),
    ):
        with pytest.raises(ArgumentError, match=rf"token_healing: .*{found}"):
            call()


def test_conversations_refuse_it(tiny):
    with pytest.raises(ArgumentError, match="token_healing: expected a text that is fed unchanged"):
        tiny.chat(token_healing=True).send("hello")
    with pytest.raises(ArgumentError, match="token_healing: expected True or False, found 1"):
        tiny.generate("hello", raw=True, token_healing=1)
