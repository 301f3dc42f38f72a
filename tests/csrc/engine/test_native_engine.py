"""The native engine's ragged batches and threads, below any Python layer."""

import gc
import sys
import threading

import numpy as np
import pytest
from native_models import all_logits, append, greedy, native_model, offsets
from random_models import random_ids, random_weights

from qwen3cpu import _native
from qwen3cpu.errors import EngineError

BLOCK = _native.KV_BLOCK


pytestmark = pytest.mark.usefixtures("all_blocks_come_back")


def test_ragged_batch_equals_each_alone(model, cfg):
    prompts = [random_ids(cfg, n, seed=n) for n in (1, 7, 64, 65, 130)]
    wanted = [offsets(0), offsets(), offsets(0, 63), offsets(1, 2, 40, 64), np.arange(130, dtype=np.int32)]
    sequences = [model.new_sequence() for _ in prompts]
    logits = model.forward(list(zip(sequences, prompts, wanted, strict=True)))
    assert [rows.dtype for rows in logits] == [np.float32] * 5
    assert [rows.shape for rows in logits] == [(len(w), cfg["vocab_size"]) for w in wanted]
    assert [sequence.length for sequence in sequences] == [1, 7, 64, 65, 130]
    expected = [all_logits(model, ids)[w] for ids, w in zip(prompts, wanted, strict=True)]
    assert (np.concatenate(logits) == np.concatenate(expected)).all()

    # And again, from five different lengths.
    more = [random_ids(cfg, n, seed=50 + n) for n in (70, 1, 2, 1, 33)]
    logits = model.forward(
        [(sequence, ids, offsets(len(ids) - 1)) for sequence, ids in zip(sequences, more, strict=True)]
    )
    for (row,), first, second in zip(logits, prompts, more, strict=True):
        assert (row == all_logits(model, np.concatenate([first, second]))[-1]).all()


def test_a_batch_without_wanted_positions_still_fills_the_cache(model, cfg):
    ids = random_ids(cfg, 10)
    sequence = model.new_sequence()
    assert model.forward([(sequence, ids[:9], offsets())])[0].shape == (0, cfg["vocab_size"])
    assert sequence.length == 9
    assert (append(model, sequence, ids[9:]) == all_logits(model, ids)[9]).all()


@pytest.mark.parametrize("output", ["logits", "top_logits", "hidden"])
def test_rows_that_somebody_holds_are_never_written_again(model, cfg, output):
    """Rows of logits take the memory of earlier rows, but only after the last view of these is gone."""

    def rows(n, seed):
        ids = random_ids(cfg, n, seed=seed)
        return model.forward([(model.new_sequence(), ids, np.arange(n, dtype=np.int32), output)])[0]

    held, last = rows(5, 1), rows(9, 2)[-1]
    expected = [held.copy(), last.copy()]
    for n in (1, 5, 9, 65, 9, 5):
        rows(n, 3)
    assert (held == expected[0]).all()
    assert (last == expected[1]).all()
    del held, last
    assert (rows(9, 2)[-1] == expected[1]).all()
    assert (rows(5, 1) == expected[0]).all()


def test_an_empty_batch(model):
    assert model.forward([]) == []


def test_the_context_can_be_filled_to_the_last_position(cfg):
    small = native_model(cfg, random_weights(cfg), context=70)
    sequence = small.new_sequence()
    ids = random_ids(cfg, 70)
    small.forward([(sequence, ids[:69], offsets())])
    assert (append(small, sequence, ids[69:]) == all_logits(small, ids)[69]).all()
    assert sequence.length == 70


def test_logits_outlive_the_model(cfg):
    model = native_model(cfg, random_weights(cfg))
    logits = all_logits(model, random_ids(cfg, 3))
    copy = logits.copy()
    del model
    gc.collect()
    np.empty(1 << 20, dtype=np.uint8).fill(255)
    assert (logits == copy).all()


def test_forks_of_one_prefix_in_one_batch(model, cfg):
    prefix = random_ids(cfg, 90)
    root = model.new_sequence()
    append(model, root, prefix)
    forks = [root.fork() for _ in range(4)]
    tails = [random_ids(cfg, n, seed=20 + n) for n in (1, 2, 38, 39)]
    logits = model.forward([(fork, t, offsets(len(t) - 1)) for fork, t in zip(forks, tails, strict=True)])
    for (row,), tail in zip(logits, tails, strict=True):
        assert (row == all_logits(model, np.concatenate([prefix, tail]))[-1]).all()


def test_two_python_threads_at_once(model, cfg):
    prompts = [random_ids(cfg, 30 + i, seed=i) for i in range(4)]
    expected = [greedy(model, ids, 20) for ids in prompts]
    answers, errors = {}, []

    def work(mine):
        try:
            for i in mine:
                answers[i] = greedy(model, prompts[i], 20)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in ((0, 1), (2, 3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [answers[i] for i in range(4)] == expected


def test_forking_and_freeing_beside_a_running_pass(model, cfg):
    prefix, tail = random_ids(cfg, 100), random_ids(cfg, 4, seed=1)
    expected = all_logits(model, np.concatenate([prefix, tail]))[-1]
    root = model.new_sequence()
    append(model, root, prefix)
    wrong = []

    def work():
        for _ in range(30):
            fork = root.fork()
            if not (append(model, fork, tail) == expected).all():
                wrong.append("logits")
            fork.truncate(97)
            if not (append(model, fork, np.concatenate([prefix[97:], tail])) == expected).all():
                wrong.append("logits after truncation")

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_pass_lets_other_python_threads_run(model, cfg):
    # With a switch interval of an hour, a thread gets the interpreter only when the other one releases it. So this
    # thread can stop the many passes before the last one only if forward releases the interpreter.
    ids = random_ids(cfg, 100)
    most = 10_000
    begun, enough = threading.Event(), threading.Event()
    passes = 0

    def work():
        nonlocal passes
        begun.set()
        while passes < most and not enough.is_set():
            all_logits(model, ids)
            passes += 1

    interval = sys.getswitchinterval()
    sys.setswitchinterval(3600)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        begun.wait()
        enough.set()
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert passes < most


def test_sequences_do_not_wait_for_a_pass_over_others(model, cfg):
    # If each of these 20,000 calls waited for a running pass, about as many passes would run at the same time.
    ids = random_ids(cfg, 400)
    root = model.new_sequence()
    append(model, root, ids[:70])
    begun, enough = threading.Event(), threading.Event()
    passes = 0

    def work():
        nonlocal passes
        while not enough.is_set():
            begun.set()
            all_logits(model, ids)
            passes += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        begun.wait()
        for _ in range(5000):
            fork = root.fork()
            fork.truncate(64)
            fork.hold(0)
            del fork
    finally:
        enough.set()
        thread.join()
    assert passes < 1000


def test_a_sequence_in_a_pass_may_be_used_and_dropped(model, cfg):
    ids = random_ids(cfg, 400)
    expected = all_logits(model, ids)[-1]
    for _ in range(10):
        sequence = model.new_sequence()
        append(model, sequence, ids[:1])
        rows = []
        thread = threading.Thread(
            target=lambda rows, *batch: rows.append(append(model, *batch)), args=(rows, sequence, ids[1:])
        )
        thread.start()
        assert sequence.fork().length in (1, 400)
        assert len(sequence.block_ids()) in (1, 7)
        sequence.release()
        del sequence
        thread.join()
        # If the sequence is released before the pass begins, the rest of the ids is the whole sequence.
        assert (rows[0] == expected).all() or (rows[0] == all_logits(model, ids[1:])[-1]).all()


def test_counters(model, cfg):
    before = model.counters()
    sequence = model.new_sequence()
    append(model, sequence, random_ids(cfg, 70))
    append(model, sequence, random_ids(cfg, 1))
    after = model.counters()
    assert after["tokens"] - before["tokens"] == 71
    assert after["calls"] - before["calls"] == 2


def test_threads_can_be_changed(model, cfg):
    ids = random_ids(cfg, 80)
    expected = all_logits(model, ids)
    for threads in (2, 3, 1):
        model.threads = threads
        assert model.threads == threads
        assert (all_logits(model, ids) == expected).all()
    for threads in (0, -1, 100000):
        with pytest.raises(EngineError, match=str(threads)):
            model.threads = threads
    assert model.threads == 1


def test_workspace_grows_to_the_largest_batch_only(cfg):
    model = native_model(cfg, random_weights(cfg))
    all_logits(model, random_ids(cfg, 100))
    size = model.workspace_bytes()
    assert 0 < size < 4 << 20
    all_logits(model, random_ids(cfg, 100))
    all_logits(model, random_ids(cfg, 1))
    assert model.workspace_bytes() == size
