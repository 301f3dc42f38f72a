"""The invariant: a token's logits depend on its own sequence only, bit for bit.

In every weight format they do not depend on the cuts of the prompt, other sequences in the pass, the number of threads,
forks of a shared prefix, or truncations. Everything is compared with the prompt in one piece, alone, on one thread.
"""

import itertools

import checkpoints
import numpy as np
import pytest
from differences import Differences

import qwen3cpu
from qwen3cpu import _native
from qwen3cpu.checkpoint.tensors import QUANTS
from qwen3cpu.engine.sequence import TokenSequence

SHAPE = checkpoints.ODD_SHAPE | {"num_hidden_layers": 3}
# More positions than two blocks of the KV cache.
LENGTH = 2 * _native.KV_BLOCK + 23
THREADS = (1, 2, 4)


def ids(length, seed):
    return np.random.default_rng(seed).integers(SHAPE["vocab_size"], size=length).tolist()


PROMPT = ids(LENGTH, seed=0)


EXPERTS = SHAPE | checkpoints.EXPERTS | {"num_experts": 7, "num_experts_per_tok": 3, "mlp_only_layers": [1]}
CASES = [
    *(("dense", quant, kv, "int8") for quant in QUANTS for kv in _native.KV_FORMATS),
    *(("experts", quant, "f16", "int8") for quant in QUANTS),
    *(("dense", quant, "f16", "int16") for quant in ("q8", "q4", "q4a32")),
    ("experts", "q4", "f16", "int16"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {
        name: checkpoints.write_checkpoint(tmp_path_factory.mktemp(name), **shape).folder
        for name, shape in (("dense", SHAPE), ("experts", EXPERTS))
    }


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def engine(request, folders):
    kind, quant, kv, activations = request.param
    return qwen3cpu.load(folders[kind], quant=quant, kv=kv, threads=1, activations=activations).engine


@pytest.fixture(scope="module")
def expected(engine):
    """[LENGTH, vocab_size]: in one piece, alone, on one thread."""
    engine.threads = 1
    (logits,) = engine.forward([(engine.new_sequence(), PROMPT, range(LENGTH))])
    assert np.isfinite(logits).all()
    assert len(np.unique(logits, axis=0)) == LENGTH
    return logits


@pytest.fixture
def differences(request):
    """Collects what differs on any number of threads."""
    return Differences(request.node.name)


def with_threads(engine, cases):
    """(threads, case) for every case on every number of threads, which the engine is set to."""
    for threads, case in itertools.product(THREADS, cases):
        engine.threads = threads
        yield threads, case


def feed(engine, sequence, tokens, piece):
    """The logits of all `tokens`, fed in pieces."""
    rows = [
        engine.forward([(sequence, tokens[start : start + piece], range(len(tokens[start : start + piece])))])[0]
        for start in range(0, len(tokens), piece)
    ]
    return np.concatenate(rows)


def test_the_cut_of_the_prompt(engine, expected, differences):
    with differences:
        for threads, piece in with_threads(engine, [1, 2, 7, 64, 100, LENGTH]):
            found = feed(engine, engine.new_sequence(), PROMPT, piece)
            differences.add(found, expected, threads=threads, piece=piece)


def test_far_more_threads_than_cores(engine, expected, differences):
    """Threads that wait for a core reach a step after the others have finished it."""
    engine.threads = 8
    with differences:
        for turn in range(3):
            differences.add(feed(engine, engine.new_sequence(), PROMPT, 1), expected, turn=turn)


def test_irregular_cuts(engine, expected, differences):
    rng = np.random.default_rng(7)
    with differences:
        for threads, _ in with_threads(engine, range(3)):
            cuts = np.sort(rng.choice(np.arange(1, LENGTH), size=6, replace=False)).tolist()
            sequence = engine.new_sequence()
            rows = [
                engine.forward([(sequence, PROMPT[start:end], range(end - start))])[0]
                for start, end in zip([0, *cuts], [*cuts, LENGTH], strict=True)
            ]
            differences.add(np.concatenate(rows), expected, threads=threads, cuts=cuts)


def test_which_logits_are_wanted(engine, expected, differences):
    positions = [[LENGTH - 1], [0], [5, 63, 64, 128], list(range(0, LENGTH, 3))]
    with differences:
        for threads, wanted in with_threads(engine, positions):
            (logits,) = engine.forward([(engine.new_sequence(), PROMPT, wanted)])
            differences.add(logits, expected[wanted], threads=threads, wanted=wanted)


def test_five_other_sequences_beside_it(engine, expected, differences):
    """The others have different lengths and progress; each step adds 1 to 30 tokens to them."""
    with differences:
        for threads, (piece, place) in with_threads(engine, [(1, 3), (7, 0), (7, 5), (64, 2), (LENGTH, 1)]):
            rng = np.random.default_rng(piece + place)
            others = [engine.new_sequence() for _ in range(5)]
            for number, other in enumerate(others[1:]):
                engine.forward([(other, ids(40 * number + 3, seed=number + 1), [])])
            sequence = engine.new_sequence()
            rows = []
            for start in range(0, LENGTH, piece):
                tokens = PROMPT[start : start + piece]
                batch = [
                    (other, ids(int(rng.integers(1, 31 if piece > 1 else 2)), seed=start), [0]) for other in others
                ]
                batch.insert(place, (sequence, tokens, range(len(tokens))))
                rows.append(engine.forward(batch)[place])
            differences.add(np.concatenate(rows), expected, threads=threads, piece=piece, place=place)


def test_forks(engine, expected, differences):
    """A shared prefix; then one branch continues differently, while the other one and the original continue."""
    with differences:
        for threads, shared in with_threads(engine, [1, 63, 64, 65, 128, LENGTH - 1]):
            original = engine.new_sequence()
            engine.forward([(original, PROMPT[:shared], [])])
            fork, stranger = original.fork(), original.fork()
            rest = PROMPT[shared:]
            engine.forward([(stranger, ids(70, seed=3), [])])
            first = engine.forward([(fork, rest, range(len(rest))), (stranger, ids(9, seed=4), [])])[0]
            second = feed(engine, original, rest, 5)
            differences.add(first, expected[shared:], threads=threads, shared=shared, branch="fork")
            differences.add(second, expected[shared:], threads=threads, shared=shared, branch="original")


def test_truncation(engine, expected, differences):
    with differences:
        for threads, kept in with_threads(engine, [1, 63, 64, 65, LENGTH - 1]):
            sequence = engine.new_sequence()
            engine.forward([(sequence, [*PROMPT[:kept], *ids(90, seed=5)], [])])
            sequence.truncate(kept)
            rest = PROMPT[kept:]
            (logits,) = engine.forward([(sequence, rest, range(len(rest)))])
            differences.add(logits, expected[kept:], threads=threads, kept=kept)
            assert sequence.ids == PROMPT


def test_memory_that_others_used_before(engine, expected, differences):
    """Blocks come back with the contents of their last owner, which must not show."""
    with differences:
        for threads, _ in with_threads(engine, [300]):
            used = engine.new_sequence()
            engine.forward([(used, ids(300, seed=6), [])])
            used.release()
            differences.add(feed(engine, engine.new_sequence(), PROMPT, 64), expected, threads=threads)


def test_the_ids_of_a_sequence_follow_it(engine):
    sequence = engine.new_sequence()
    engine.forward([(sequence, [1, 2, 3], [])])
    fork = sequence.fork()
    engine.forward([(fork, [4], [])])
    assert (sequence.ids, fork.ids) == ([1, 2, 3], [1, 2, 3, 4])
    assert fork.common_prefix([1, 2, 9]) == 2
    # Ids that were appended before a pass that failed.
    broken = TokenSequence(sequence.native, [1, 2, 3, 8, 9])
    assert broken.ids == [1, 2, 3]
