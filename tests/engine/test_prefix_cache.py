"""The prefix cache: lookups, eviction, counts, and that it changes no answer."""

import gc
import random
import threading

import checkpoints
import numpy as np
import pytest
from drafters import without_drafts

import qwen3cpu
from qwen3cpu import _native
from qwen3cpu.system.memory import system_memory

BLOCK = _native.KV_BLOCK


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkpoints.write_checkpoint(
        tmp_path_factory.mktemp("prefix"), max_position_embeddings=4096, generation_config={"do_sample": False}
    ).folder


@pytest.fixture(scope="module")
def model(folder):
    return without_drafts(qwen3cpu.load(folder, quant="f32", threads=1, prefix_cache=1 << 30))


@pytest.fixture(scope="module")
def forgetful(folder):
    return without_drafts(qwen3cpu.load(folder, quant="f32", threads=1, prefix_cache=0))


@pytest.fixture(autouse=True)
def nothing_stays_in_use(model):
    cache = model.engine.prefix_cache
    cache.clear()
    cache.limit = 1 << 30
    yield
    gc.collect()
    assert model.engine.native.kv_blocks_in_use() * model.engine.native.kv_block_bytes() == cache.size
    cache.clear()
    assert model.engine.native.kv_blocks_in_use() == 0


def ids_of(count, seed=0):
    return random.Random(seed).choices(range(256), k=count)


def processed(model):
    return model.engine.native.counters()["tokens"]


def filled(model, ids):
    """A sequence that has processed `ids`."""
    sequence = model.engine.new_sequence()
    model.engine.forward([(sequence, ids, [])])
    return sequence


def blocks(model, count):
    return count * model.engine.native.kv_block_bytes()


# The cache itself


@pytest.mark.parametrize("length", [1, 63, 64, 65, 127, 128, 200])
def test_whole_blocks_are_found(model, length):
    ids = ids_of(length)
    cache = model.engine.prefix_cache
    sequence = filled(model, ids)
    cache.store(sequence)
    whole = length // BLOCK * BLOCK
    assert cache.size == blocks(model, length // BLOCK)
    assert cache.cached(ids) == whole
    found = cache.lookup([*ids, 1, 2, 3])
    assert (found.length, found.ids) == (whole, ids[:whole])
    assert found.native.block_ids() == sequence.native.block_ids()[: length // BLOCK]
    assert cache.cached(ids[:63]) == 0
    assert cache.cached([ids[0] ^ 1, *ids[1:]]) == 0


def test_what_is_found_goes_on_like_the_original(model):
    cache = model.engine.prefix_cache
    ids, tail = ids_of(150), ids_of(20, seed=1)
    cache.store(filled(model, ids))
    found = cache.lookup(ids[:128] + tail)
    (logits,) = model.engine.forward([(found, tail, range(20))])
    assert np.array_equal(logits, model.logits(ids[:128] + tail)[128:])
    # The cached blocks do not change when the found sequence goes back into one and writes there.
    found.truncate(100)
    model.engine.forward([(found, tail, [])])
    (logits,) = model.engine.forward([(cache.lookup(ids), ids[128:], range(22))])
    assert np.array_equal(logits, model.logits(ids)[128:])


def test_the_same_ids_after_others_are_another_block(model):
    cache = model.engine.prefix_cache
    first, second, same = ids_of(64, 1), ids_of(64, 2), ids_of(64, 3)
    cache.store(filled(model, first + same))
    cache.store(filled(model, second))
    assert cache.cached(first + same) == 128
    assert cache.cached(second + same) == 64
    assert cache.size == blocks(model, 3)


def test_shared_blocks_count_once(model):
    cache = model.engine.prefix_cache
    beginning = ids_of(128)
    for seed in range(5):
        cache.store(filled(model, beginning + ids_of(64, seed + 1)))
    assert cache.size == blocks(model, 2 + 5)
    gc.collect()
    assert model.engine.native.kv_blocks_in_use() == 7


def test_the_least_recently_used_goes_first(model):
    cache = model.engine.prefix_cache
    cache.limit = blocks(model, 4)
    beginning = ids_of(64)
    branches = [beginning + ids_of(64, seed) for seed in (1, 2, 3)]
    for ids in branches:
        cache.store(filled(model, ids))
    assert [cache.cached(ids) for ids in branches] == [128, 128, 128]
    cache.lookup(branches[0])
    cache.store(filled(model, beginning + ids_of(64, 4)))
    assert [cache.cached(ids) for ids in branches] == [128, 64, 128]
    # `cached` does not count as use.
    cache.cached(branches[2])
    cache.store(filled(model, beginning + ids_of(64, 5)))
    assert [cache.cached(ids) for ids in branches] == [128, 64, 64]
    assert cache.size == blocks(model, 4)


def test_the_beginning_of_what_does_not_fit_is_kept(model):
    cache = model.engine.prefix_cache
    cache.limit = blocks(model, 3) + 5
    ids = ids_of(64 * 5)
    cache.store(filled(model, ids))
    assert cache.cached(ids) == 3 * 64
    cache.limit = blocks(model, 1)
    assert (cache.cached(ids), cache.size) == (64, blocks(model, 1))
    cache.limit = 0
    cache.store(filled(model, ids))
    assert (cache.cached(ids), cache.size) == (0, 0)


def test_eviction_frees_what_it_says(model):
    cache, native = model.engine.prefix_cache, model.engine.native
    old, new = ids_of(192, 1), ids_of(192, 2)
    cache.store(filled(model, old))
    held = filled(model, new)
    cache.store(held)
    gc.collect()
    before = native.kv_blocks_in_use()
    assert cache.evict(1) == blocks(model, 1)
    assert cache.cached(old) == 128
    assert native.kv_blocks_in_use() == before - 1
    # Evicting the blocks of a living sequence would free nothing.
    assert cache.evict(1 << 40) == blocks(model, 2)
    assert (cache.cached(old), cache.cached(new)) == (0, 192)
    held.release()
    assert cache.evict(1 << 40) == blocks(model, 3)
    assert native.kv_blocks_in_use() == 0


def test_random_use_agrees_with_a_list_of_all_that_was_stored(model):
    """Every found beginning was stored; within the limit every stored one is found; counts and blocks agree."""
    rng = random.Random(7)
    cache = model.engine.prefix_cache
    cache.limit = blocks(model, 12)
    stored = []
    for _ in range(300):
        ids = [seed for _ in range(rng.randint(0, 4)) for seed in [rng.randint(1, 2)] * 64]
        action = rng.random()
        if action < 0.4 and ids:
            cache.store(filled(model, ids))
            stored.append(ids)
            assert cache.cached(ids) == len(ids)
        elif action < 0.9:
            found = cache.lookup(ids).ids
            assert found == ids[: len(found)]
            assert not found or any(each[: len(found)] == found for each in stored)
        else:
            cache.evict(blocks(model, rng.randint(0, 3)))
        assert cache.size <= cache.limit
        assert model.engine.native.kv_blocks_in_use() * blocks(model, 1) == cache.size


def test_several_threads(model):
    cache = model.engine.prefix_cache
    cache.limit = blocks(model, 6)
    sequences = [filled(model, ids_of(64 * n, seed=n % 3)) for n in range(1, 7)]
    wrong = []

    def work(seed):
        rng = random.Random(seed)
        try:
            for _ in range(200):
                source = rng.choice(sequences)
                cache.store(source)
                found = cache.lookup(source.ids)
                if found.ids != source.ids[: found.length]:
                    wrong.append(found.ids)
                cache.evict(1)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_block_of_another_model_is_refused(model, forgetful):
    held = filled(forgetful, ids_of(64)).native.hold(0)
    with pytest.raises(qwen3cpu.EngineError, match=r"block 0: .*another"):
        model.engine.native.new_sequence([held])


@pytest.mark.parametrize("index", [-1, 1, 2])
def test_only_full_blocks_are_held(model, index):
    sequence = filled(model, ids_of(100))
    with pytest.raises(qwen3cpu.EngineError, match=f"expected one of 1 full blocks, found {index}"):
        sequence.native.hold(index)


# Answers


def test_a_prompt_is_processed_once(model, forgetful):
    prompt = ids_of(300)
    for cached in (0, 256, 256):
        before = processed(model)
        result = model.generate(prompt, max_new_tokens=8, ignore_eos=True)
        assert result.usage.cached_tokens == cached
        assert processed(model) - before == 300 - cached + 7
        assert result.token_ids == forgetful.generate(prompt, max_new_tokens=8, ignore_eos=True).token_ids


def test_a_prompt_of_whole_blocks_keeps_its_last_token_to_process(model):
    prompt = ids_of(128)
    for cached in (0, 64):
        assert model.generate(prompt, max_new_tokens=1).usage.cached_tokens == cached


def test_answers_are_the_same_with_and_without(model, forgetful):
    """Prompts that diverge at every possible place, sampled, one by one and in batches."""
    beginning = ids_of(140)
    prompts = [beginning[:cut] + ids_of(30, seed=cut) for cut in (1, 20, 63, 64, 65, 127, 128, 129, 140)]
    options = {"temperature": 0.9, "seed": 5, "max_new_tokens": 12, "logprobs": 2, "ignore_eos": True}
    expected = [forgetful.generate(prompt, **options) for prompt in prompts]
    cached = []
    for prompt, want in zip(prompts, expected, strict=True):
        result = model.generate(prompt, **options)
        assert (result.token_ids, result.logprobs) == (want.token_ids, want.logprobs)
        cached.append(result.usage.cached_tokens)
    assert max(cached) == 128
    for result, want in zip(model.generate_batch(prompts, **options), expected, strict=True):
        assert (result.token_ids, result.logprobs) == (want.token_ids, want.logprobs)
    several = model.generate(prompts[-1], n=3, **options)
    assert several[0].token_ids == expected[-1].token_ids
    assert len({result.token_ids for result in several}) > 1


def test_the_answer_is_stored_too(model):
    prompt = ids_of(60)
    first = model.generate(prompt, max_new_tokens=80, ignore_eos=True)
    again = model.generate([*prompt, *first.token_ids, 1], max_new_tokens=1)
    assert again.usage.cached_tokens == 128


def test_conversations_share_their_system_prompt(model, forgetful):
    system = "you are the blue sky " * 20
    first = model.chat(system, max_new_tokens=4).send("hello")
    assert first.usage.cached_tokens == 0
    chat = model.chat(system, max_new_tokens=4)
    second = chat.send("world")
    assert second.usage.cached_tokens >= 128
    assert second.token_ids == forgetful.generate(chat.messages[:-1], max_new_tokens=4).token_ids


def test_a_stopped_prompt_is_not_processed_again(model, monkeypatch):
    prompt = ids_of(600)
    forward, calls = model.engine.forward, []

    def interrupted(batch):
        calls.append(batch)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return forward(batch)

    monkeypatch.setattr(model.engine, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.generate(prompt, max_new_tokens=2)
    monkeypatch.undo()
    done = len(calls[0][0][1])
    assert done >= 64
    assert model.generate(prompt, max_new_tokens=2).usage.cached_tokens == done // BLOCK * BLOCK


# The limit


def test_the_default_limit_is_a_sixteenth_of_the_memory(folder):
    assert qwen3cpu.load(folder, quant="f32").engine.prefix_cache.limit == system_memory() // 16


@pytest.mark.parametrize("limit", [-1, 1.5, True, "1G"])
def test_an_impossible_limit_is_refused(folder, limit):
    with pytest.raises(qwen3cpu.ArgumentError, match="prefix_cache: expected a number of bytes"):
        qwen3cpu.load(folder, quant="f32", prefix_cache=limit)


def test_memory_is_limited_by_control_groups(tmp_path):
    everything = system_memory(tmp_path)
    assert everything > 1 << 20
    files = {
        "proc/self/cgroup": "0::/a/b\n",
        "sys/fs/cgroup/a/memory.max": "1048576\n",
        "sys/fs/cgroup/a/b/memory.max": "max\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert system_memory(tmp_path) == 1 << 20
    (tmp_path / "proc/self/cgroup").write_text("5:memory:/c\n")
    folder = tmp_path / "sys/fs/cgroup/memory/c"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert system_memory(tmp_path) == everything
    (folder / "memory.limit_in_bytes").write_text("2097152\n")
    assert system_memory(tmp_path) == 2 << 20


# Batches


def test_a_batch_processes_what_its_prompts_share_once(model, forgetful):
    """Examples at the beginning of all prompts, a longer beginning that some of them share, and an unrelated prompt."""
    examples, more = ids_of(700, 1), ids_of(100, 2)
    prompts = [examples + ids_of(20, seed) for seed in (3, 4, 5)]
    prompts += [examples + more + ids_of(30, seed) for seed in (6, 7)]
    prompts.append(ids_of(50, 8))
    options = {"temperature": 0.8, "seed": 3, "max_new_tokens": 6, "ignore_eos": True}
    before = processed(model)
    results = model.generate_batch(prompts, **options)
    # Blocks of 64: 640 tokens of the examples, then 768 tokens that two of the prompts share.
    expected = [720, 80, 80, 830 - 640, 830 - 768, 50]
    assert [result.usage.prompt_tokens - result.usage.cached_tokens for result in results] == expected
    assert processed(model) - before == sum(expected) + 5 * len(prompts)
    for prompt, result in zip(prompts, results, strict=True):
        assert result.token_ids == forgetful.generate(prompt, **options).token_ids


def test_without_a_cache_nobody_waits(forgetful):
    prompts = [ids_of(100), ids_of(100)]
    before = forgetful.engine.native.counters()
    forgetful.generate_batch(prompts, max_new_tokens=1)
    after = forgetful.engine.native.counters()
    assert after["tokens"] - before["tokens"] == 200
    assert after["calls"] - before["calls"] == 1
