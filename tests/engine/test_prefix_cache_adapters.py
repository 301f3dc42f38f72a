"""The prefix cache keeps the blocks of different adapters apart."""

import random as randoms

import numpy as np
import pytest

import qwen3cpu
from qwen3cpu import _native
from qwen3cpu.engine.adapters import Adapter
from qwen3cpu.generation.answer import Answer
from qwen3cpu.generation.batch import Batch

BLOCK = _native.KV_BLOCK
ONE, TWO = Adapter("one"), Adapter("two")
KEYS = [None, ONE, TWO]


@pytest.fixture
def model(random):
    return qwen3cpu.load(random, quant="f32", threads=1, prefix_cache=1 << 30)


def ids_of(count, seed=0):
    return randoms.Random(seed).choices(range(256), k=count)


def filled(model, ids, adapter):
    """A sequence of an adapter that has processed `ids`."""
    sequence = model.engine.new_sequence(adapter)
    model.engine.forward([(sequence, ids, [])])
    return sequence


def test_nothing_is_shared_by_two_adapters(model):
    cache = model.engine.prefix_cache
    ids = ids_of(3 * BLOCK)
    stored = {}
    for place, adapter in enumerate(KEYS):
        assert cache.cached(ids, adapter) == 0
        assert cache.lookup(ids, adapter).length == 0
        stored[adapter] = filled(model, ids, adapter)
        cache.store(stored[adapter])
        assert cache.size == (place + 1) * 3 * model.engine.native.kv_block_bytes()
    held = {adapter: cache.lookup(ids, adapter) for adapter in KEYS}
    for adapter, sequence in held.items():
        assert sequence.adapter == adapter
        assert sequence.native.block_ids() == stored[adapter].native.block_ids()
    assert len({block for sequence in held.values() for block in sequence.native.block_ids()}) == 3 * len(KEYS)


def test_a_sequence_takes_what_its_own_adapter_has(model):
    engine = model.engine
    ids = ids_of(3 * BLOCK + 1)
    engine.prefix_cache.store(filled(model, ids[: 2 * BLOCK], ONE))
    engine.prefix_cache.store(filled(model, ids[:BLOCK], None))
    for adapter, known in ((None, BLOCK), (ONE, 2 * BLOCK), (TWO, 0)):
        sequence = engine.new_sequence(adapter)
        assert engine.start(sequence, ids) == known
        assert sequence.adapter == adapter
        (logits,) = engine.forward([(sequence, ids[known:], [len(ids) - known - 1])])
        assert np.array_equal(logits[0], model.logits(ids)[-1])


def test_forks_keep_their_adapter(model):
    fork = filled(model, ids_of(70), ONE).fork()
    assert fork.adapter == ONE
    model.engine.prefix_cache.store(fork)
    assert model.engine.prefix_cache.cached(ids_of(70), ONE) == BLOCK
    assert model.engine.prefix_cache.cached(ids_of(70)) == 0


def test_eviction_frees_every_tree(model):
    cache = model.engine.prefix_cache
    for adapter in KEYS:
        filled(model, ids_of(BLOCK), adapter)
        cache.store(filled(model, ids_of(2 * BLOCK), adapter))
    size = cache.size
    assert cache.evict(size) == size
    assert model.engine.native.kv_blocks_in_use() == 0


@pytest.mark.parametrize("adapters", [(ONE, ONE), (ONE, TWO), (None, ONE)])
def test_prompts_wait_for_those_of_their_adapter_only(model, adapters):
    engine = model.engine
    prompt = ids_of(4 * BLOCK)
    request = model.answerer.request(seed=1, max_new_tokens=5, ignore_eos=True)
    batch = Batch(engine)
    answers = [
        Answer(model.answerer.surroundings, prompt, request, index=index, sequence=engine.new_sequence(adapter))
        for index, adapter in enumerate(adapters)
    ]
    for answer in answers:
        batch.add(answer)
    before = engine.native.counters()["tokens"]
    while len(batch):
        batch.step()
    processed = engine.native.counters()["tokens"] - before
    shared = adapters[0] == adapters[1]
    # The last block of a prompt is not taken from others, because its last logits are needed.
    assert processed == len(prompt) + (BLOCK if shared else len(prompt)) + 2 * 4
    assert answers[0].result.token_ids == answers[1].result.token_ids
    assert answers[1].result.usage.cached_tokens == (3 * BLOCK if shared else 0)


def test_a_preempted_answer_keeps_its_adapter(model):
    request = model.answerer.request(seed=1)
    answer = Answer(model.answerer.surroundings, ids_of(70), request, sequence=model.engine.new_sequence(ONE))
    answer.preempt()
    assert answer.sequence.adapter == ONE
