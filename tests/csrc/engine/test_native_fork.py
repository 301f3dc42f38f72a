"""Forks while other threads are inside the native engine: the child continues or gets an error, and never hangs."""

import os
import threading
import time

import numpy as np
import pytest
from native_models import native_model
from random_models import config, random_ids, random_weights

from qwen3cpu import _native
from qwen3cpu.errors import EngineError

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    # Python 3.12 warns that a process with threads forks, which these tests do on purpose.
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
]
NONE_WANTED = np.array([], np.int32)


@pytest.fixture
def model():
    cfg = config("three_queries_bias", max_position_embeddings=1 << 14)
    return native_model(cfg, random_weights(cfg), "q4", kv="f16", threads=2, context=1 << 14)


def append(model, sequence, count, wanted=NONE_WANTED):
    return model.forward([(sequence, random_ids({"vocab_size": 100}, count), wanted)])[0]


def in_child(run):
    """Exit code of a child process that runs `run`."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            run()
            code = 0
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("forks", [20, pytest.param(200, marks=pytest.mark.heavy)])
def test_a_fork_waits_for_the_few_instructions_that_change_the_pool(model, forks):
    busy, own = model.new_sequence(), model.new_sequence()
    append(model, busy, 6_400)
    append(model, own, 100)
    held = [own.hold(0)]
    stop = threading.Event()

    def change():  # each fork and release changes a hundred references
        while not stop.is_set():
            busy.fork().release()

    def use():
        copy = own.fork()
        append(model, copy, 60)
        assert held[0].shared
        held.clear()
        copy.release()
        own.release()

    threads = [threading.Thread(target=change) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert [in_child(use) for _ in range(forks)] == [0] * forks
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    use()


def test_a_sequence_and_a_model_in_a_pass_say_so_in_the_child(model):
    sequence, other = model.new_sequence(), model.new_sequence()
    append(model, sequence, 1)
    append(model, other, 1)

    def use():
        for call in (
            sequence.fork,
            sequence.release,
            sequence.block_ids,
            lambda: sequence.truncate(1),
            lambda: sequence.read(0),
            lambda: append(model, other, 1),
            lambda: setattr(model, "threads", 1),
        ):
            with pytest.raises(EngineError, match="forked during a call"):
                call()
        other.fork().release()
        other.release()

    count = 1_000 if _native.chosen_isa() == "scalar" else 4_000  # a considerable part of a second
    thread = threading.Thread(target=append, args=(model, sequence, count))
    blocks = model.kv_blocks_in_use()
    thread.start()
    while model.kv_blocks_in_use() == blocks:  # a pass takes its blocks when it begins
        time.sleep(0.001)
    assert in_child(use) == 0
    thread.join()
    assert sequence.length == 1 + count
    append(model, other, 1)
    assert in_child(lambda: append(model, other, 1)) == 0
