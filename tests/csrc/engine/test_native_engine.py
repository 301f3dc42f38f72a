"""The native engine's ragged batches, sequences and cache blocks, below any Python layer."""

import gc
import sys
import threading

import numpy as np
import pytest
from native_models import all_logits, greedy, native_model
from random_models import config, random_ids, random_weights

from qwen3cpu import _native
from qwen3cpu.errors import EngineError

BLOCK = _native.KV_BLOCK


@pytest.fixture(scope="module")
def cfg():
    return config("three_queries_bias")


@pytest.fixture(scope="module", params=[("f32", "f32"), ("q4", "f16"), ("q4", "q8")], ids=lambda p: "-".join(p))
def model(request, cfg):
    quant, kv = request.param
    return native_model(cfg, random_weights(cfg), quant, kv=kv)


@pytest.fixture(autouse=True)
def all_blocks_come_back(model):
    assert model.kv_blocks_in_use() == 0
    yield
    gc.collect()
    assert model.kv_blocks_in_use() == 0


def offsets(*values):
    return np.array(values, dtype=np.int32)


def append(model, sequence, ids):
    """Append and return the logits of the last token."""
    return model.forward([(sequence, ids)], [offsets(len(ids) - 1)])[0]


def test_blocks_hold_64_positions():
    assert BLOCK == 64


def test_ragged_batch_equals_each_alone(model, cfg):
    prompts = [random_ids(cfg, n, seed=n) for n in (1, 7, 64, 65, 130)]
    wanted = [offsets(0), offsets(), offsets(0, 63), offsets(1, 2, 40, 64), np.arange(130, dtype=np.int32)]
    sequences = [model.new_sequence() for _ in prompts]
    logits = model.forward(list(zip(sequences, prompts, strict=True)), wanted)
    assert logits.dtype == np.float32
    assert logits.shape == (sum(map(len, wanted)), cfg["vocab_size"])
    assert [sequence.length for sequence in sequences] == [1, 7, 64, 65, 130]
    expected = [all_logits(model, ids)[w] for ids, w in zip(prompts, wanted, strict=True)]
    assert (logits == np.concatenate(expected)).all()

    # And again, from five different lengths.
    more = [random_ids(cfg, n, seed=50 + n) for n in (70, 1, 2, 1, 33)]
    logits = model.forward(list(zip(sequences, more, strict=True)), [offsets(len(ids) - 1) for ids in more])
    for row, first, second in zip(logits, prompts, more, strict=True):
        assert (row == all_logits(model, np.concatenate([first, second]))[-1]).all()


def test_a_batch_without_wanted_positions_still_fills_the_cache(model, cfg):
    ids = random_ids(cfg, 10)
    sequence = model.new_sequence()
    assert model.forward([(sequence, ids[:9])], [offsets()]).shape == (0, cfg["vocab_size"])
    assert sequence.length == 9
    assert (append(model, sequence, ids[9:]) == all_logits(model, ids)[9]).all()


def test_an_empty_batch(model, cfg):
    assert model.forward([], []).shape == (0, cfg["vocab_size"])


def test_the_context_can_be_filled_to_the_last_position(cfg):
    small = native_model(cfg, random_weights(cfg), context=70)
    sequence = small.new_sequence()
    ids = random_ids(cfg, 70)
    small.forward([(sequence, ids[:69])], [offsets()])
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


def test_a_sequence_keeps_its_model_alive(cfg):
    model = native_model(cfg, random_weights(cfg))
    sequence = model.new_sequence()
    append(model, sequence, random_ids(cfg, 3))
    del model
    gc.collect()
    fork = sequence.fork()
    sequence.release()
    assert (sequence.length, fork.length) == (0, 3)


def test_blocks_are_taken_as_positions_are(model, cfg):
    sequence = model.new_sequence()
    assert sequence.block_ids() == []
    for total in (1, 63, 64, 65, 128, 129):
        append(model, sequence, random_ids(cfg, total - sequence.length))
        assert len(sequence.block_ids()) == model.kv_blocks_in_use() == -(-total // BLOCK)
    for length, blocks in ((129, 3), (128, 2), (64, 1), (1, 1), (0, 0)):
        sequence.truncate(length)
        assert (sequence.length, model.kv_blocks_in_use()) == (length, blocks)


def test_freed_blocks_are_used_again(model, cfg):
    first = model.new_sequence()
    append(model, first, random_ids(cfg, 130))
    blocks = set(first.block_ids())
    first.release()
    second = model.new_sequence()
    append(model, second, random_ids(cfg, 130, seed=1))
    assert set(second.block_ids()) == blocks
    assert (append(model, second, random_ids(cfg, 1)) == fresh_end(model, random_ids(cfg, 130, 1), cfg)).all()


def fresh_end(model, ids, cfg):
    """Last logits of `ids` and one more token in a new sequence."""
    return all_logits(model, np.concatenate([ids, random_ids(cfg, 1)]))[-1]


def test_release_twice_and_use_again(model, cfg):
    ids = random_ids(cfg, 70)
    sequence = model.new_sequence()
    expected = append(model, sequence, ids)
    sequence.release()
    sequence.release()
    assert (sequence.length, sequence.block_ids(), model.kv_blocks_in_use()) == (0, [], 0)
    assert (append(model, sequence, ids) == expected).all()


def test_a_collected_sequence_gives_its_blocks_back(model, cfg):
    append(model, model.new_sequence(), random_ids(cfg, 70))
    gc.collect()
    assert model.kv_blocks_in_use() == 0


@pytest.mark.parametrize("kept", [0, 1, 63, 64, 65, 99])
def test_truncated_sequences_forget(model, cfg, kept):
    ids, other = random_ids(cfg, 100), random_ids(cfg, 40, seed=9)
    sequence = model.new_sequence()
    append(model, sequence, ids)
    sequence.truncate(kept)
    assert sequence.length == kept
    assert (append(model, sequence, other) == all_logits(model, np.concatenate([ids[:kept], other]))[-1]).all()


@pytest.mark.parametrize("length", [-1, 6, 1 << 30])
def test_truncate_refuses_other_lengths(model, cfg, length):
    sequence = model.new_sequence()
    append(model, sequence, random_ids(cfg, 5))
    with pytest.raises(EngineError, match=rf"expected 0 to 5 .*found {length}"):
        sequence.truncate(length)
    assert sequence.length == 5


@pytest.mark.parametrize("length", [1, 63, 64, 100, 128, 150])
def test_a_fork_shares_blocks_until_one_side_writes(model, cfg, length):
    ids, left, right = random_ids(cfg, length), random_ids(cfg, 3, seed=1), random_ids(cfg, 3, seed=2)
    parent = model.new_sequence()
    append(model, parent, ids)
    child = parent.fork()
    before = parent.block_ids()
    assert child.length == length
    assert child.block_ids() == before
    assert model.kv_blocks_in_use() == len(before)

    child_logits = append(model, child, right)
    whole = length // BLOCK
    assert parent.block_ids() == before
    assert child.block_ids()[:whole] == before[:whole]
    assert not set(child.block_ids()[whole:]) & set(before)
    # The parent is alone on its last block now: it goes on in place.
    parent_logits = append(model, parent, left)
    assert parent.block_ids()[: len(before)] == before

    assert (child_logits == all_logits(model, np.concatenate([ids, right]))[-1]).all()
    assert (parent_logits == all_logits(model, np.concatenate([ids, left]))[-1]).all()


def test_the_parent_may_write_first(model, cfg):
    ids, left, right = random_ids(cfg, 100), random_ids(cfg, 3, seed=1), random_ids(cfg, 3, seed=2)
    parent = model.new_sequence()
    append(model, parent, ids)
    child = parent.fork()
    shared = child.block_ids()
    assert (append(model, parent, left) == all_logits(model, np.concatenate([ids, left]))[-1]).all()
    assert child.block_ids() == shared
    assert parent.block_ids()[1] != shared[1]
    assert (append(model, child, right) == all_logits(model, np.concatenate([ids, right]))[-1]).all()


def test_a_truncated_fork_does_not_write_into_its_parent(model, cfg):
    ids, other = random_ids(cfg, 100), random_ids(cfg, 30, seed=3)
    parent = model.new_sequence()
    append(model, parent, ids[:99])
    child = parent.fork()
    child.truncate(70)
    assert (append(model, child, other) == all_logits(model, np.concatenate([ids[:70], other]))[-1]).all()
    assert (append(model, parent, ids[99:]) == all_logits(model, ids)[-1]).all()


def test_forks_survive_their_parent(model, cfg):
    ids = random_ids(cfg, 150)
    parent = model.new_sequence()
    append(model, parent, ids[:100])
    children = [parent.fork() for _ in range(3)]
    grandchild = children[0].fork()
    parent.release()
    children[0].release()
    assert model.kv_blocks_in_use() == 2
    batch = [(s, ids[100:]) for s in (*children[1:], grandchild)]
    logits = model.forward(batch, [offsets(49)] * 3)
    assert (logits == all_logits(model, ids)[-1]).all()
    assert model.kv_blocks_in_use() == 1 + 3 * 2


def test_forks_of_one_prefix_in_one_batch(model, cfg):
    prefix = random_ids(cfg, 90)
    root = model.new_sequence()
    append(model, root, prefix)
    forks = [root.fork() for _ in range(4)]
    tails = [random_ids(cfg, n, seed=20 + n) for n in (1, 2, 38, 39)]
    logits = model.forward(list(zip(forks, tails, strict=True)), [offsets(len(t) - 1) for t in tails])
    for row, tail in zip(logits, tails, strict=True):
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
    # With a switch interval of an hour, a thread only gets the interpreter when the other gives it away: this one can
    # stop the passes before the last of very many only if forward released it.
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
    # If each of these 20,000 calls waited for a running pass, there would be about as many passes meanwhile.
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
        # Released before the pass began, the rest of the ids would stand alone.
        assert (rows[0] == expected).all() or (rows[0] == all_logits(model, ids[1:])[-1]).all()


@pytest.mark.parametrize("length", [1, 64, 100, 192])
def test_blocks_that_were_read_and_appended_go_on_alike(model, cfg, length):
    ids, tail = random_ids(cfg, length), random_ids(cfg, 5, seed=1)
    sequence, copy = model.new_sequence(), model.new_sequence()
    append(model, sequence, ids)
    for index, start in enumerate(range(0, length, BLOCK)):
        block = sequence.read(index)
        assert (block.dtype, block.shape) == (np.uint8, (model.kv_block_bytes(),))
        copy.append(block, min(BLOCK, length - start))
    assert copy.length == length
    assert not set(copy.block_ids()) & set(sequence.block_ids())
    assert (append(model, copy, tail) == append(model, sequence, tail)).all()


def test_what_cannot_be_read_or_appended(model, cfg):
    sequence = model.new_sequence()
    with pytest.raises(EngineError, match="expected one of 0 blocks, found 0"):
        sequence.read(0)
    append(model, sequence, random_ids(cfg, 65))
    for index in (-1, 2):
        with pytest.raises(EngineError, match=f"expected one of 2 blocks, found {index}"):
            sequence.read(index)
    block = sequence.read(1)
    with pytest.raises(EngineError, match="expected whole blocks before, found 65"):
        sequence.append(block, 1)
    sequence.truncate(64)
    for positions in (-1, 0, 65):
        with pytest.raises(EngineError, match=f"expected 1 to 64 positions, found {positions}"):
            sequence.append(block, positions)
    with pytest.raises(EngineError, match="bytes, found 7"):
        sequence.append(block[:7], 1)
    assert sequence.length == 64


def test_counters(model, cfg):
    before = model.counters()
    sequence = model.new_sequence()
    append(model, sequence, random_ids(cfg, 70))
    append(model, sequence, random_ids(cfg, 1))
    after = model.counters()
    assert after["tokens"] - before["tokens"] == 71
    assert after["calls"] - before["calls"] == 2


@pytest.mark.parametrize(("kv", "bytes_per_position"), [("f32", 40 * 4), ("f16", 40 * 2), ("q8", 40 + 4)])
def test_a_block_is_as_large_as_its_keys_and_values(kv, bytes_per_position):
    cfg = config("yarn_bias_untied_odd")  # head_dim 34 is padded to 40
    model = native_model(cfg, random_weights(cfg), kv=kv, context=100)
    planes = 2 * cfg["num_hidden_layers"] * cfg["num_key_value_heads"]
    assert model.kv_block_bytes() == planes * BLOCK * bytes_per_position


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
