"""DRY, XTC, top_n_sigma and typical_p in whole answers: tokens by definition, and the same ones in any batch."""

from __future__ import annotations

import checkpoints
import numpy as np
import pytest
import sampling_oracle as oracle
from drafters import timeless

import qwen3cpu
from qwen3cpu.engine.sampling import SamplingParams
from qwen3cpu.generation.answer import Answer
from qwen3cpu.generation.batch import Batch

MESSAGES = [
    {"role": "user", "content": "the sky: the sky: hello world"},
    {"role": "assistant", "content": "hello world and hello world"},
    {"role": "user", "content": "hello world and"},
]
OPTIONS = [
    {"top_n_sigma": 1.5, "temperature": 1.5},
    {"typical_p": 0.6, "temperature": 0.7},
    {"xtc_probability": 0.5, "xtc_threshold": 0.004, "temperature": 1.2, "top_k": 0, "top_p": 1.0},
    {"dry_multiplier": 2.0, "dry_allowed_length": 1, "temperature": 0.2},
    {"top_n_sigma": 2.5, "typical_p": 0.9, "xtc_probability": 0.3, "xtc_threshold": 0.01, "dry_multiplier": 0.8},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = checkpoints.write_checkpoint(tmp_path_factory.mktemp("model")).folder
    return qwen3cpu.load(folder, quant="f32", context=600, threads=1, prefix_cache=0)


def by_the_oracle(model, ids, params, most):
    """The tokens of an answer to these ids, each chosen by the oracle from the logits of everything before it."""
    said: list[int] = []
    limit = min(model.tokenizer.size, model.config.vocab_size)
    for _ in range(most):
        row = model.logits([*ids, *said])[-1]
        asked = {"prompt": ids, "answer": said, "token_limit": limit, "seed": params.seed, "texts": model.tokenizer}
        said.append(oracle.choose(row, params, **asked))
    return said


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_answers_to_chats_equal_the_oracle(model, options):
    """DRY also looks for repetitions in the template's text."""
    options = {"top_k": 0, "top_p": 1.0, **options}
    params = SamplingParams(**{"temperature": 0.7, **options, "seed": 3})
    ids = model.answerer.encode(MESSAGES, model.answerer.request(MESSAGES, thinking=False))
    options = {"temperature": 0.7, **options, "seed": 3, "thinking": False, "max_new_tokens": 40, "ignore_eos": True}
    result = model.generate(MESSAGES, loop_detection=False, **options)
    assert list(result.token_ids) == by_the_oracle(model, ids, params, 40)


def test_each_of_them_changes_the_answer(model):
    plain = model.generate(MESSAGES, seed=3, max_new_tokens=40, ignore_eos=True, top_k=0, top_p=1.0).token_ids
    for name, value in (("top_n_sigma", 0.5), ("typical_p", 0.3), ("dry_multiplier", 50.0)):
        options = {"dry_allowed_length": 0} if name == "dry_multiplier" else {}
        changed = model.generate(
            MESSAGES, seed=3, max_new_tokens=40, ignore_eos=True, top_k=0, top_p=1.0, **{name: value}, **options
        )
        assert changed.token_ids != plain, name


def test_greedy_dry_ends_what_the_model_repeats(model):
    """Tokens of the prompt count, and control tokens are never penalised."""
    options = {"temperature": 0, "max_new_tokens": 60, "ignore_eos": True, "thinking": False}
    plain = model.generate(MESSAGES, **options).token_ids
    dry = {"dry_multiplier": 5.0, "dry_allowed_length": 1, "dry_sequence_breakers": []}
    found = model.generate(MESSAGES, **options, **dry).token_ids
    assert found != plain
    ids = model.answerer.encode(MESSAGES, model.answerer.request(MESSAGES, thinking=False))
    params = SamplingParams(temperature=0, **dry)
    control = set(model.tokenizer.control_tokens.values())
    for place in range(len(found)):
        costs = oracle.repeats(params, [*ids, *found[:place]], model.tokenizer)
        assert control.isdisjoint(costs)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_answers_are_the_same_in_any_company(model, options):
    options = {"seed": 8, "max_new_tokens": 30, "ignore_eos": True, "logprobs": 1, **options}
    prompts = ["hello world", MESSAGES, "the sky is blue and you are hello", [5, 9, 200]]
    alone = [timeless(model.generate(prompt, **options)) for prompt in prompts]
    for most in (1, 4):
        together = model.generate_batch(prompts, most_running=most, **options)
        assert [each.token_ids for each in together] == [each.token_ids for each in alone]
        assert [each.logprobs for each in together] == [each.logprobs for each in alone]
    streamed = [token for chunk in model.stream(prompts[0], **options) for token in chunk.token_ids]
    assert tuple(streamed) == alone[0].token_ids
    several = model.generate(prompts[0], n=3, **options)
    assert several[0].token_ids == alone[0].token_ids
    assert len({each.token_ids for each in several}) == 3


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_preempted_answers_go_on(model, options):
    options = {"seed": 8, "max_new_tokens": 30, "ignore_eos": True, **options}
    prompts = [[5] * 20, [6, 7, 6, 7]]
    alone = [model.generate(prompt, **options).token_ids for prompt in prompts]
    answers = [Answer(model.answerer.surroundings, each, model.answerer.request(**options)) for each in prompts]
    batch = Batch(model.engine, chunk=16)
    for each in answers:
        batch.add(each)
    steps = 0
    while len(batch):
        for each in answers:
            if each in batch.running and steps % 7 == 3:
                each.preempt()
        batch.step()
        steps += 1
    assert [each.result.token_ids for each in answers] == alone


def test_aliases_and_forms(model):
    """Tokens that a processor or a form bans are not counted."""
    options = {"seed": 2, "max_new_tokens": 20, "ignore_eos": True, "temperature": 1.5}
    assert (
        model.generate("hello", typ_p=0.5, **options).token_ids
        == model.generate("hello", typical_p=0.5, **options).token_ids
    )

    def even(ids, logits):
        logits[1::2] = -np.inf

    for more in OPTIONS:
        result = model.generate("hello", processors=[even], **{**options, **more})
        assert all(token % 2 == 0 for token in result.token_ids)
    pytest.importorskip("llguidance")
    for more in OPTIONS:
        found = model.generate("hello", regex="[a-c]{5}", **{"seed": 2, "thinking": False, **more})
        assert set(found.text) <= set("abc")
