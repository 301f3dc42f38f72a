"""Continuous batching: answers are the same as alone, whichever jobs join, leave or are preempted meanwhile."""

import logging
import math

import pytest
from callers import Caller
from hypothesis import given, settings
from hypothesis import strategies as st

import qwen3cpu
from qwen3cpu._native import KV_BLOCK
from qwen3cpu.server.scheduling.jobs import QueueFullError, ShuttingDownError, TimeLimitError
from qwen3cpu.server.scheduling.pace import Pace

LEAST_BLOCKS = 500 // KV_BLOCK + 2
"""Blocks that a scheduler needs for one full context of `random_model`."""


def alone(model, prompt, **options):
    found = model.generate(list(prompt), **options)
    return found if isinstance(found, list) else [found]


def assert_same(results, expected):
    assert [(r.token_ids, r.text, r.logprobs, r.seed) for r in results] == [
        (r.token_ids, r.text, r.logprobs, r.seed) for r in expected
    ]


JOBS = [
    ([3, 4, 5], {"seed": 1, "max_new_tokens": 60, "logprobs": 2}),
    (range(300), {"seed": 2, "max_new_tokens": 20}),
    ([9] * 130, {"seed": 3, "max_new_tokens": 90, "n": 3, "ignore_eos": True}),
    ([7], {"temperature": 0.0, "max_new_tokens": 200, "ignore_eos": True, "seed": 0}),
    (range(200, 20, -1), {"seed": 5, "max_new_tokens": 1}),
    ([8, 8], {"seed": 6, "ignore_eos": True}),  # until the context is full
]


@pytest.mark.parametrize("blocks", [1000, LEAST_BLOCKS], ids=["plenty of memory", "one context"])
def test_answers_are_the_same_alone_and_together(caller, random_model, blocks):
    together = caller(blocks=blocks)
    jobs = [together.submit(prompt, **options) for prompt, options in JOBS]
    found = [together.results(job) for job in jobs]
    for results, (prompt, options) in zip(found, JOBS, strict=True):
        assert_same(results, alone(random_model, prompt, **options))
    assert together.most_blocks <= blocks
    assert (together.scheduler.stats.preemptions > 0) == (blocks == LEAST_BLOCKS)
    assert together.scheduler.stats.jobs == {"finished": len(JOBS)}


@settings(deadline=None, max_examples=15)
@given(st.data())
def test_any_mixture_under_little_memory(random_model, data):
    """Jobs arrive at any time, and some are cancelled. Every other one has the result that it has alone."""
    together = Caller(random_model, blocks=LEAST_BLOCKS + 2, parallel=5)
    try:
        jobs = []
        for seed in range(data.draw(st.integers(1, 8))):
            prompt = [seed + 1] * data.draw(st.integers(1, 400))
            options = {"seed": seed, "max_new_tokens": data.draw(st.integers(1, 90)), "ignore_eos": True}
            options["n"] = data.draw(st.sampled_from([None, 1, 2, 4]))
            jobs.append((together.submit(prompt, **options), prompt, options, data.draw(st.booleans())))
            if data.draw(st.booleans()):
                jobs[0][0].outcomes.get()
                jobs = jobs[1:]
        for job, _, _, cancelled in jobs:
            if cancelled:
                together.scheduler.cancel(job)
        found = [(together.results(job), prompt, options) for job, prompt, options, gone in jobs if not gone]
    finally:
        together.close()
    assert together.most_blocks <= LEAST_BLOCKS + 2
    for results, prompt, options in found:
        assert_same(results, alone(random_model, prompt, **options))


def test_a_new_job_joins_those_that_run(caller):
    together = caller()
    long = together.submit([1], max_new_tokens=400, ignore_eos=True)
    next(together.chunks(long))
    together.gate.clear()
    short = together.submit([2], max_new_tokens=3, ignore_eos=True)
    submitted = together.steps
    together.gate.set()
    together.results(short)
    first, *rest = together.chunk_steps[short]
    assert first <= submitted + 2, "the next step, or the one after it if that one was running"
    assert rest == [first + 1, first + 2]


def test_a_stream_goes_on_while_a_long_prompt_is_processed(caller):
    """With a share of 8 tokens a step, a prompt of 400 tokens takes 50 steps; in each the stream gets a token."""

    class Slow(Pace):
        def note(self, running, prompt_tokens, seconds):
            super().note(running, prompt_tokens, 10.0 if prompt_tokens else 0.01)

    together = caller()
    together.scheduler._pace = Slow()
    stream = together.submit([1], max_new_tokens=450, ignore_eos=True)
    next(together.chunks(stream))
    together.gate.clear()
    prompt = together.submit([2] * 400, max_new_tokens=1)
    submitted = together.steps
    together.gate.set()
    together.results(prompt)
    (done,) = together.chunk_steps[prompt]
    assert done - submitted >= 50
    assert set(range(submitted + 1, done)) <= set(together.chunk_steps[stream])


def test_a_short_prompt_does_not_wait_for_a_long_one(caller):
    together = caller()
    together.scheduler._pace.chunk = lambda running, shared: 20
    together.gate.clear()
    long, short = together.submit([1] * 400, max_new_tokens=1), together.submit([2] * 40, max_new_tokens=1)
    together.gate.set()
    together.results(long)
    assert together.chunk_steps[short][0] <= 6 < 20 <= together.chunk_steps[long][0]


def test_jobs_begin_in_the_order_in_which_they_came(caller):
    together = caller(parallel=1)
    together.gate.clear()
    jobs = [together.submit([5 + i], max_new_tokens=3) for i in range(6)]
    together.gate.set()
    for job in jobs:
        together.results(job)
    begun = [together.chunk_steps[job][0] for job in jobs]
    assert begun == sorted(begun)
    assert sum(together.scheduler.stats.queue_seconds.counts) == 6


def test_requests_take_turns(caller):
    """A request with many prompts does not hold back a later one, and has one place in the queue."""
    together = caller(parallel=1, queue=2)
    together.gate.clear()
    first = together.submit([4], max_new_tokens=2)
    while together.scheduler.queued:
        pass
    many, few = (together.submit_all([[5 + i] for i in range(count)], max_new_tokens=3) for count in (5, 2))
    assert together.scheduler.queued == 2
    together.gate.set()
    for job in (first, *many, *few):
        together.results(job)
    order = sorted((*many, *few), key=lambda job: together.chunk_steps[job][0])
    assert order == [many[0], few[0], many[1], few[1], *many[2:]]


def test_cancelled_jobs_leave_at_once(caller, random_model):
    together = caller(parallel=2)
    together.gate.clear()
    jobs = [together.submit([i + 1], max_new_tokens=400, ignore_eos=True) for i in range(5)]
    for job in (jobs[0], jobs[2], jobs[4]):
        together.scheduler.cancel(job)
    together.gate.set()
    for index in (1, 3):
        expected = alone(random_model, [index + 1], seed=1, max_new_tokens=400, ignore_eos=True)
        assert_same(together.results(jobs[index]), expected)
    assert len(together.chunk_steps.get(jobs[0], [])) <= 1
    assert jobs[2] not in together.chunk_steps
    together.results(together.submit([1], max_new_tokens=1))
    assert together.scheduler.queued == 0
    assert together.scheduler.stats.jobs == {"finished": 3, "cancelled": 3}


def test_a_job_that_takes_too_long_ends(caller):
    together = caller(parallel=1)
    together.gate.clear()
    running = together.submit([1], max_new_tokens=400, ignore_eos=True)
    waiting = together.submit([2])
    running.timeout = waiting.timeout = 0.0
    together.gate.set()
    for job in (waiting, running):
        with pytest.raises(TimeLimitError, match="longer than 0 seconds"):
            together.results(job)
    assert together.scheduler.stats.jobs == {"failed": 2}
    assert together.results(together.submit([3], max_new_tokens=1))


def test_a_full_queue_refuses(caller):
    together = caller(parallel=1, queue=2)
    running = together.submit([1], max_new_tokens=400, ignore_eos=True)
    next(together.chunks(running))
    together.gate.clear()
    waiting = [together.submit([2], max_new_tokens=1) for _ in range(2)]
    with pytest.raises(QueueFullError, match="2 requests are waiting") as refusal:
        together.submit([3])
    assert 1 <= refusal.value.retry_after <= 60
    with pytest.raises(qwen3cpu.ArgumentError, match="at most 1 answers, found 2"):
        together.submit([3], n=2)
    together.scheduler.cancel(running)
    together.gate.set()
    for job in waiting:
        together.results(job)


def test_stopping_lets_jobs_finish_within_the_grace(caller):
    together = caller(parallel=1)
    together.gate.clear()
    jobs = [together.submit([1], max_new_tokens=30, ignore_eos=True) for _ in range(3)]
    together.scheduler.stop(grace=600.0)
    together.gate.set()
    with pytest.raises(ShuttingDownError):
        together.submit([1])
    assert all(len(together.results(job)) == 1 for job in jobs)
    together.scheduler.join()


def test_stopping_cuts_what_outlasts_the_grace(caller):
    together = caller(parallel=1)
    jobs = [together.submit([1], max_new_tokens=400, ignore_eos=True) for _ in range(2)]
    next(together.chunks(jobs[0]))
    together.gate.clear()
    together.scheduler.stop(grace=0.0)
    together.gate.set()
    for job in jobs:
        with pytest.raises(ShuttingDownError, match="cut off"):
            together.results(job)
    together.scheduler.join()
    assert not together.scheduler.alive


def test_an_error_of_one_job_is_its_own(caller, random_model):
    together = caller()
    good = together.submit([1], max_new_tokens=50, ignore_eos=True)
    bad = together.submit([2], n=3, logit_bias=dict.fromkeys(range(random_model.tokenizer.size), -math.inf))
    with pytest.raises(qwen3cpu.ArgumentError, match="no token can be drawn"):
        together.results(bad)
    assert_same(together.results(good), alone(random_model, [1], seed=1, max_new_tokens=50, ignore_eos=True))
    assert together.scheduler.stats.jobs == {"finished": 1, "failed": 1}


def test_a_failed_pass_fails_its_jobs_and_no_later_ones(caller, random_model, monkeypatch):
    together = caller()
    forward = random_model.engine.forward

    def fail(batch):
        monkeypatch.setattr(random_model.engine, "forward", forward)
        raise qwen3cpu.EngineError("out of memory")

    monkeypatch.setattr(random_model.engine, "forward", fail)
    with pytest.raises(qwen3cpu.EngineError, match="out of memory"):
        together.results(together.submit([1], n=2))
    assert_same(
        together.results(together.submit([1], max_new_tokens=9)), alone(random_model, [1], seed=1, max_new_tokens=9)
    )


def test_a_dead_scheduler_tells_everybody(caller, monkeypatch, caplog):
    together = caller(parallel=1)
    together.gate.clear()
    jobs = [together.submit([1], max_new_tokens=400, ignore_eos=True) for _ in range(2)]

    def fail():
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR):
        monkeypatch.setattr(together.scheduler, "_admit", fail)
        together.gate.set()
        for job in jobs:
            with pytest.raises(ZeroDivisionError):
                together.results(job)
        together.scheduler.join()
    assert "the scheduler has failed" in caplog.text
    with pytest.raises(ShuttingDownError):
        together.submit([1])


@pytest.mark.parametrize("blocks", [1000, LEAST_BLOCKS], ids=["plenty of memory", "one context"])
def test_scores_of_a_prompt(caller, random_model, blocks):
    together = caller(blocks=blocks)
    others = [together.submit([4] * 90, seed=i, max_new_tokens=80, ignore_eos=True) for i in range(3)]
    prompts = [list(range(3, 303)), [5, 6]]
    scored = [together.submit(prompt, score_prompt=True, logprobs=3, sample=False) for prompt in prompts]
    both = together.submit(prompts[0], score_prompt=True, logprobs=1, n=2, max_new_tokens=4, ignore_eos=True)
    for job, prompt in zip(scored, prompts, strict=True):
        (result,) = together.results(job)
        assert job.prompt_scores == random_model.score(prompt, top=3)
        assert (result.token_ids, result.finish_reason, result.usage.completion_tokens) == ((), "length", 0)
    expected = alone(random_model, prompts[0], seed=1, logprobs=1, n=2, max_new_tokens=4, ignore_eos=True)
    assert_same(together.results(both), expected)
    assert both.prompt_scores == random_model.score(prompts[0], top=1)
    for job in others:
        together.results(job)


def test_too_little_memory_for_one_context(caller):
    with pytest.raises(qwen3cpu.ArgumentError, match="a context of 500 positions needs"):
        caller(blocks=LEAST_BLOCKS - 1)


def test_a_beginning_that_prompts_share_is_processed_once(caller, random_model):
    together = caller()
    beginning = list(range(150))
    together.results(together.submit([*beginning, 1], max_new_tokens=2, seed=1))
    (result,) = together.results(together.submit([*beginning, 2, 3], max_new_tokens=9, seed=2))
    assert result.usage.cached_tokens == 128
    assert_same([result], alone(random_model, [*beginning, 2, 3], max_new_tokens=9, seed=2))


def test_the_prefix_cache_gives_way_before_answers_do(caller, random_model):
    together = caller(blocks=LEAST_BLOCKS)
    for seed in range(6):
        together.results(together.submit([seed] * 300, max_new_tokens=2, seed=1))
    assert together.scheduler.stats.preemptions == 0
    assert together.most_blocks <= LEAST_BLOCKS
