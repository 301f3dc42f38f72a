"""Sequences that begin with the same blocks attend to them together, with the bits that each computes alone.

Every sequence of a pass is compared with its ids in one piece, in a sequence that shares nothing, on one thread.
"""

import itertools

import numpy as np
import pytest
from differences import Differences
from native_models import all_logits, append, native_model, offsets
from random_models import config, random_ids, random_weights

from qwen3cpu import _native

BLOCK = _native.KV_BLOCK
THREADS = (1, 2, 3, 4)


@pytest.fixture(
    scope="module",
    params=[("three_queries_bias", kv) for kv in _native.KV_FORMATS]
    + [("one_query_per_kv", "f16"), ("six_queries_yarn_128", "q8")],
    ids="-".join,
)
def model(request):
    """Models with two KV heads, with three, and with one, which is fewer than the threads."""
    shape, kv = request.param
    return native_model(config(shape), random_weights(config(shape)), "q4", kv=kv)


def ids_of(seed, length):
    return random_ids(config("three_queries_bias"), length, seed)


class Branch:
    """A sequence, its ids, and their logits when they are computed alone."""

    def __init__(self, model, ids, sequence=None):
        self.model, self.ids = model, ids
        self.sequence = sequence
        if sequence is None:
            self.sequence = model.new_sequence()
            append(model, self.sequence, ids)

    def fork(self, seed=0, length=0):
        """A branch with the same beginning and `length` tokens of its own."""
        branch = Branch(self.model, self.ids, self.sequence.fork())
        branch.grow(ids_of(seed, length))
        return branch

    def grow(self, ids):
        if len(ids):
            append(self.model, self.sequence, ids)
            self.ids = np.concatenate([self.ids, ids])


def tree(model):
    """Sequences of several lengths that share no block, one block, some blocks, and all blocks."""
    trunk = Branch(model, ids_of(1, 3 * BLOCK + 9))
    bough = trunk.fork(2, BLOCK)
    cut = trunk.fork()
    cut.sequence.truncate(BLOCK)
    cut.ids = cut.ids[:BLOCK]
    short = trunk.fork()
    short.sequence.truncate(BLOCK + 1)
    short.ids = short.ids[: BLOCK + 1]
    return [
        bough.fork(3, 2),
        Branch(model, ids_of(4, 70)),
        trunk.fork(),
        cut.fork(5, 2 * BLOCK + 30),
        bough.fork(),
        trunk.fork(6, 1),
        short,
        Branch(model, ids_of(1, 2 * BLOCK)),  # the ids of the trunk in blocks of its own
        bough.fork(7, 40),
        trunk,
        cut.fork(8, BLOCK),
    ]


def check(model, branches, pieces, wanted, differences, **case):
    """Run a pass that appends its piece to each branch, and compare the logits."""
    before = [len(branch.ids) for branch in branches]
    asked = [wanted(len(piece)) for piece in pieces]
    batch = [
        (branch.sequence, piece, offsets(*rows)) for branch, piece, rows in zip(branches, pieces, asked, strict=True)
    ]
    found = model.forward(batch)
    model.threads = 1
    for number, (branch, piece, length) in enumerate(zip(branches, pieces, before, strict=True)):
        branch.ids = np.concatenate([branch.ids, piece])
        expected = all_logits(model, branch.ids)[length:][asked[number]]
        differences.add(found[number], expected, **case, branch=number, tokens=len(piece))


def test_decode_steps(model):
    branches = tree(model)
    with Differences("decode steps") as differences:
        for threads, step in itertools.product(THREADS, range(2)):
            model.threads = threads
            pieces = [ids_of(10 * threads + step + number, 1) for number in range(len(branches))]
            check(model, branches, pieces, lambda n: [n - 1], differences, threads=threads, step=step)


@pytest.mark.parametrize("wanted", [lambda n: list(range(n)), lambda n: [n - 1], lambda n: list(range(0, n, 3))])
def test_pieces_of_all_lengths(model, wanted):
    """Decode steps, drafts, and pieces of prompts that cross blocks."""
    lengths = [1, 5, 1, 90, 2, 1, 7, 1, 64, 3, 140]
    with Differences("mixed pieces") as differences:
        for threads in THREADS:
            branches = tree(model)
            model.threads = threads
            pieces = [ids_of(20 + number, length) for number, length in enumerate(lengths)]
            check(model, branches, pieces, wanted, differences, threads=threads)


def test_more_sequences_than_attend_together(model):
    """150 sequences with 1, 3 or 6 query heads for a KV head have more than the 128 query rows of one call."""
    trunk = Branch(model, ids_of(1, 2 * BLOCK + 5))
    ids = ids_of(30, 150)
    expected = {int(token): all_logits(model, np.append(trunk.ids, token))[-1:] for token in np.unique(ids)}
    with Differences("many sequences") as differences:
        for threads in THREADS:
            model.threads = threads
            forks = [trunk.sequence.fork() for _ in ids]
            found = model.forward(
                [(fork, np.array([token], np.int32), offsets(0)) for fork, token in zip(forks, ids, strict=True)]
            )
            for number, token in enumerate(ids):
                differences.add(found[number], expected[int(token)], threads=threads, number=number)
            model.threads = 1


def test_blocks_that_were_held_for_later(model):
    """Shared as in the prefix cache: the sequence that wrote them may not exist any longer."""
    trunk = Branch(model, ids_of(1, 3 * BLOCK))
    held = [trunk.sequence.hold(index) for index in range(3)]
    ids, trunk = trunk.ids, None
    with Differences("held blocks") as differences:
        for threads, count in itertools.product(THREADS, (1, 3)):
            branches = [Branch(model, ids[: count * BLOCK], model.new_sequence(held[:count])) for _ in range(3)]
            model.threads = threads
            pieces = [ids_of(40 + number, length) for number, length in enumerate((1, 1, 6))]
            check(model, branches, pieces, lambda n: [n - 1], differences, threads=threads, blocks=count)
