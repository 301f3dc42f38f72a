"""Sequences of the native engine and the cache blocks that they share, below any Python layer."""

import gc

import numpy as np
import pytest
from native_models import all_logits, append, native_model, offsets
from random_models import config, random_ids, random_weights

from qwen3cpu import _native
from qwen3cpu.errors import EngineError

BLOCK = _native.KV_BLOCK


pytestmark = pytest.mark.usefixtures("all_blocks_come_back")


def test_blocks_hold_64_positions():
    assert BLOCK == 64


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
    """The last logits of `ids` and one more token in a new sequence."""
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
    # The last block belongs to the parent alone, so it continues in place.
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
    batch = [(s, ids[100:], offsets(49)) for s in (*children[1:], grandchild)]
    logits = np.concatenate(model.forward(batch))
    assert (logits == all_logits(model, ids)[-1]).all()
    assert model.kv_blocks_in_use() == 1 + 3 * 2


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


@pytest.mark.parametrize(("kv", "bytes_per_position"), [("f32", 40 * 4), ("f16", 40 * 2), ("q8", 40 + 4)])
def test_a_block_is_as_large_as_its_keys_and_values(kv, bytes_per_position):
    cfg = config("yarn_bias_untied_odd")  # head_dim 34 is padded to 40
    model = native_model(cfg, random_weights(cfg), kv=kv, context=100)
    planes = 2 * cfg["num_hidden_layers"] * cfg["num_key_value_heads"]
    assert model.kv_block_bytes() == planes * BLOCK * bytes_per_position
