"""Passes that several threads ask for at once: one native call, but each thread gets its own logits and errors."""

import threading
import time

import checkpoints
import numpy as np
import pytest

import qwen3cpu
from qwen3cpu.engine import engine as engines


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = checkpoints.write_checkpoint(tmp_path_factory.mktemp("shared"), max_position_embeddings=1 << 16).folder
    return qwen3cpu.load(folder, quant="f32", context=engines.CHUNK + 350, threads=1, prefix_cache=0)


class Crowd:
    """Calls from several threads, all of which wait until a running pass has ended."""

    def __init__(self, engine):
        self.engine = engine
        self.outcomes = {}
        self.threads = []

    def call(self, name, *items):
        def work():
            try:
                self.outcomes[name] = self.engine.forward(items)
            except Exception as error:
                self.outcomes[name] = error

        thread = threading.Thread(target=work)
        self.threads.append(thread)
        thread.start()
        # One after the other, so that their order is known.
        while len(self.engine._shared_pass._waiting) < len(self.threads):
            time.sleep(0.001)

    def __enter__(self):
        self.engine._shared_pass._turn.held().acquire()
        return self

    def __exit__(self, *error):
        before = self.engine.native.counters()["calls"]
        self.engine._shared_pass._turn.held().release()
        for thread in self.threads:
            thread.join()
        self.passes = self.engine.native.counters()["calls"] - before


def test_calls_that_wait_go_together(model):
    engine = model.engine
    prompts = [[1, 2, 3], list(range(100)), [7], [5] * 64]
    with Crowd(engine) as crowd:
        for name, ids in enumerate(prompts):
            crowd.call(name, (engine.new_sequence(), ids, range(len(ids))))
        crowd.call("two", (engine.new_sequence(), [9], [0]), (engine.new_sequence(), [8, 9], []))
    assert crowd.passes == 1
    for name, ids in enumerate(prompts):
        (logits,) = crowd.outcomes[name]
        assert np.array_equal(logits, model.logits(ids))
    first, second = crowd.outcomes["two"]
    assert np.array_equal(first, model.logits([9]))
    assert second.shape == (0, engine.vocab_size)


def test_a_pass_of_several_calls_stays_short(model):
    engine, chunk = model.engine, engines.CHUNK
    with Crowd(engine) as crowd:
        for name, count in enumerate((chunk + 9, 10, chunk - 10, 1)):
            crowd.call(name, (engine.new_sequence(), [name] * count, [count - 1]))
    assert crowd.passes == 3
    for name, count in enumerate((chunk + 9, 10, chunk - 10, 1)):
        assert np.array_equal(crowd.outcomes[name][0][0], model.logits([name] * count)[-1])


def test_an_error_is_its_callers_only(model):
    engine = model.engine
    full = engine.new_sequence()
    engine.forward([(full, [1] * model.context, [])])
    good, also_good = engine.new_sequence(), engine.new_sequence()
    with Crowd(engine) as crowd:
        crowd.call("good", (good, [1, 2], [1]))
        crowd.call("full", (full, [1], [0]))
        crowd.call("unknown", (engine.new_sequence(), [1 << 20], [0]))
        crowd.call("also good", (also_good, [3], [0]))
    assert isinstance(crowd.outcomes["full"], qwen3cpu.ContextLengthError)
    assert isinstance(crowd.outcomes["unknown"], qwen3cpu.EngineError)
    assert np.array_equal(crowd.outcomes["good"][0], model.logits([1, 2])[1:])
    assert np.array_equal(crowd.outcomes["also good"][0], model.logits([3]))
    assert (good.ids, also_good.ids, full.length) == ([1, 2], [3], model.context)


def test_ctrl_c_while_waiting_takes_the_call_back(model):
    engine = model.engine
    sequence = engine.new_sequence()
    shared = engine._shared_pass

    class Interrupted:
        def held(self):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "_turn", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            engine.forward([(sequence, [1], [0])])
    assert shared._waiting == []
    assert sequence.length == 0
    assert np.array_equal(engine.forward([(sequence, [1], [0])])[0], model.logits([1]))


def test_threads_that_generate_share_passes_and_get_their_own_answers(model):
    prompts = [[3 + i] * (20 + 30 * i) for i in range(6)]
    options = {"seed": 2, "max_new_tokens": 40, "ignore_eos": True, "logprobs": 1}
    expected = [model.generate(prompt, **options) for prompt in prompts]
    found = {}

    def work(index):
        found[index] = model.generate(prompts[index], **options)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(prompts))]
    before = model.engine.native.counters()["calls"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    calls = model.engine.native.counters()["calls"] - before
    assert 40 <= calls <= 6 * 40
    for index, want in enumerate(expected):
        assert (found[index].token_ids, found[index].logprobs) == (want.token_ids, want.logprobs)
