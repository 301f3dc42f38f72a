"""The scheduler of texts: turns, memory, ends of jobs, and that states do not depend on other jobs."""

import random
from time import sleep

import checkpoints
import pytest
from text_callers import TextCaller

import qwen3cpu
from qwen3cpu.engine.sequence import block_count
from qwen3cpu.errors import ArgumentError, EngineError
from qwen3cpu.retrieval.passes import last_states
from qwen3cpu.retrieval.window import LEAST_PIECE
from qwen3cpu.server.scheduling import text_scheduler
from qwen3cpu.server.scheduling.jobs import QueueFullError, ShuttingDownError, TimeLimitError
from qwen3cpu.server.scheduling.pace import TextPace

CONTEXT = 700


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = checkpoints.write_checkpoint(tmp_path_factory.mktemp("texts"), max_position_embeddings=CONTEXT).folder
    return qwen3cpu.load(folder, quant="f32", threads=1, prefix_cache=0).engine


@pytest.fixture
def caller(engine):
    """Makes callers and closes them."""
    made = []

    def make(**options):
        made.append(TextCaller(engine, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


class Fixed:
    """A pace that never changes."""

    def __init__(self, tokens):
        self.tokens = tokens

    def note(self, tokens, seconds):
        pass


def random_texts(seed, count, shared=0, longest=60):
    rng = random.Random(seed)
    beginning = [rng.randrange(200) for _ in range(shared)]
    return [beginning + [rng.randrange(200) for _ in range(1 + rng.randrange(longest))] for _ in range(count)]


def expected(engine, texts):
    return [state for window in last_states(engine, texts) for state in window]


def check(found, wanted):
    assert all((mine == theirs).all() for mine, theirs in zip(found, wanted, strict=True))


def hold(caller):
    """Close the gate, with the scheduler before a pass over one text, which is returned as a job."""
    caller.gate.clear()
    return caller.submit([[1, 2, 3]])


def test_small_requests_share_passes(caller, engine):
    caller = caller(pace=Fixed(256))
    hold(caller)
    lists = [random_texts(seed, 1, longest=12) for seed in range(40)]
    jobs = [caller.submit(texts) for texts in lists]
    caller.gate.set()
    for job, texts in zip(jobs, lists, strict=True):
        check(caller.states(job), expected(engine, texts))
    tokens = 3 + sum(len(text) for texts in lists for text in texts)
    assert caller.passes <= 2 + tokens // 200


def test_a_small_request_is_done_after_a_few_passes_beside_large_ones(caller, engine):
    caller = caller(pace=Fixed(128))
    lists = [random_texts(seed, 300, shared=20, longest=500) for seed in range(6)]
    hold(caller)
    large = [caller.submit(texts) for texts in lists]
    caller.gate.set()
    for seed in range(5):
        texts = random_texts(seed, 1, longest=12)
        caller.gate.clear()
        before = caller.passes
        job = caller.submit(texts)
        caller.gate.set()
        check(caller.states(job), expected(engine, texts))
        # One pass may have begun already; then each of the large ones may have had a turn of 64 tokens, two in a pass.
        assert caller.ended_in[job] - before <= 1 + 3 + 1
    assert not any(job in caller.ended_in for job in large)
    shares = [len(job.states) for job in large]
    assert max(shares) - min(shares) <= 256
    for job, texts in zip(large[:2], lists, strict=False):
        check(caller.states(job), expected(engine, texts))
    for job in large:
        caller.scheduler.release(job)


def test_requests_of_one_size_end_together(caller):
    caller = caller(pace=Fixed(256))
    hold(caller)
    jobs = [caller.submit([[seed] * 100] * 20) for seed in range(4)]
    caller.gate.set()
    for job in jobs:
        caller.states(job)
    ends = [caller.ended_in[job] for job in jobs]
    assert max(ends) - min(ends) <= 4


@pytest.mark.parametrize("blocks", [block_count(CONTEXT) + 1, 30])
@pytest.mark.parametrize("seed", range(4))
def test_memory_is_kept_and_nobody_waits_for_ever(caller, engine, blocks, seed):
    """Long common beginnings, whole contexts and short texts, with little more memory than one text may need."""
    rng = random.Random(seed)
    caller = caller(blocks=blocks, pace=Fixed(rng.choice([64, 150, 256])))
    forward = engine.forward

    def watched(batch):
        rows = forward(batch)
        caller.most_blocks = max(caller.most_blocks, engine.kv_blocks_in_use)
        return rows

    engine.forward = watched
    try:
        lists = []
        for number in range(12):
            shared = rng.choice([0, 10, 64, 300, CONTEXT - 100])
            lists.append(random_texts(number, rng.randrange(1, 9), shared, longest=CONTEXT - shared))
        hold(caller)
        jobs = [caller.submit(texts) for texts in lists]
        caller.gate.set()
        found = [caller.states(job) for job in jobs]
    finally:
        del engine.forward
    assert caller.most_blocks <= blocks
    for states, texts in zip(found, lists, strict=True):
        check(states, expected(engine, texts))


def test_a_dropped_request_ends_within_a_pass(caller, engine):
    caller = caller(pace=Fixed(64))
    job = caller.submit(random_texts(0, 500, shared=30, longest=200))
    small = caller.submit([[1]])
    caller.states(small)
    caller.gate.clear()
    before = caller.passes
    caller.scheduler.release(job)
    caller.gate.set()
    while caller.scheduler.running or caller.scheduler.queued:
        sleep(0.001)
    assert caller.passes <= before + 1
    assert engine.kv_blocks_in_use == 0
    assert job.outcomes.empty()
    assert caller.scheduler.stats.jobs == {"finished": 1, "cancelled": 1}


def test_time_is_up(caller):
    caller = caller()
    hold(caller)
    late = caller.submit([[1]] * 600, timeout=0.0)
    caller.gate.set()
    with pytest.raises(TimeLimitError, match="the request took longer than 0 seconds"):
        caller.states(late)


def test_a_full_queue(caller):
    caller = caller(parallel=2, queue=3)
    hold(caller)
    jobs = [caller.submit([[1]]) for _ in range(4)]
    for call in (lambda: caller.submit([[1]]), lambda: caller.scheduler.check_room(0)):
        with pytest.raises(QueueFullError, match="5 requests are waiting"):
            call()
    caller.gate.set()
    for job in jobs:
        caller.states(job)
    caller.scheduler.check_room(4)
    with pytest.raises(QueueFullError):
        caller.scheduler.check_room(5)


def test_states_have_a_limit_of_memory(caller, monkeypatch):
    """A large request waits until the replies of others are sent; a small one does not."""
    monkeypatch.setattr(text_scheduler, "STATE_BYTES", 50_000)
    monkeypatch.setattr(text_scheduler, "SMALL", 1000)
    caller = caller()
    first = caller.submit([[1]] * 150)
    assert len(first.outcomes.get()) == 150
    second = caller.submit([[1]] * 100)
    small = caller.submit([[1]])
    caller.states(small)
    assert second.outcomes.empty()
    assert (caller.scheduler.queued, caller.scheduler.running) == (1, 0)
    caller.scheduler.release(first)
    assert len(caller.states(second)) == 100
    # One that is larger than the limit runs alone.
    assert len(caller.states(caller.submit([[1]] * 300))) == 300


def test_a_request_that_waits_for_memory_can_be_dropped_and_be_late(caller, monkeypatch):
    monkeypatch.setattr(text_scheduler, "STATE_BYTES", 1000)
    monkeypatch.setattr(text_scheduler, "SMALL", 0)
    caller = caller()
    first = caller.submit([[1]])
    first.outcomes.get()
    dropped, late = caller.submit([[1]] * 4), caller.submit([[1]] * 4, timeout=0.01)
    caller.scheduler.release(dropped)
    with pytest.raises(TimeLimitError):
        caller.states(late)
    assert caller.scheduler.queued == 0


def test_a_pass_that_fails_ends_the_requests_in_it(caller, engine):
    caller = caller()
    hold(caller)
    job = caller.submit(random_texts(0, 3))

    def fail(batch):
        del engine.forward
        raise EngineError("no")

    engine.forward = fail
    caller.gate.set()
    with pytest.raises(EngineError, match="no"):
        caller.states(job)
    texts = random_texts(1, 3)
    check(caller.states(caller.submit(texts)), expected(engine, texts))


def test_an_error_that_nobody_foresaw(caller, monkeypatch, caplog):
    caller = caller()
    hold(caller)
    jobs = [caller.submit([[1]] * 200) for _ in range(3)]

    def fail():
        raise MemoryError("no")

    monkeypatch.setattr(caller.scheduler, "_fill", fail)
    caller.gate.set()
    caller.scheduler.join()
    assert [type(job.outcomes.get()) for job in jobs] == [MemoryError] * 3
    with pytest.raises(ShuttingDownError):
        caller.submit([[1]])


def test_stopping_lets_requests_finish_or_cuts_them_off(caller):
    caller = caller()
    held = hold(caller)
    job = caller.submit([[1]] * 20)
    caller.scheduler.stop(grace=600)
    with pytest.raises(ShuttingDownError):
        caller.submit([[1]])
    caller.gate.set()
    assert len(caller.states(job)) == 20
    caller.states(held)
    caller.scheduler.join()
    other = TextCaller(caller.engine)
    hold(other)
    job = other.submit([[1]] * 20)
    other.scheduler.stop()
    other.gate.set()
    with pytest.raises(ShuttingDownError, match="the answer was cut off"):
        other.states(job)
    other.close()


def test_too_little_memory_for_one_context(engine):
    with pytest.raises(ArgumentError, match="a context of 700 positions needs"):
        TextCaller(engine, blocks=block_count(CONTEXT))


def test_the_pace_of_passes():
    pace = TextPace(goal=0.5)
    assert pace.tokens == LEAST_PIECE, "nothing has been measured"
    pace.note(64, 0.1)
    assert pace.tokens == 256, "at most a chunk"
    pace.note(100, 0.5)
    assert pace.tokens == 100, "a slower pass counts at once"
    pace.note(1, 0.4)
    assert pace.tokens == 100, "a small pass is ignored"
    pace.note(100, 10.0)
    assert pace.tokens == LEAST_PIECE
