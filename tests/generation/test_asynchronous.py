"""asyncio: the same answers, several at once; a cancelled one stops within one step and leaves nothing behind."""

import asyncio
import gc
import random
import threading

import checkpoints
import pytest
from scripted_models import script, write_scripted

import qwen3cpu
from qwen3cpu.system import asyncio_steps as asynchronous

OPTIONS = {"temperature": 0.9, "max_new_tokens": 12, "ignore_eos": True}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = checkpoints.write_checkpoint(tmp_path_factory.mktemp("async"), max_position_embeddings=2048).folder
    return qwen3cpu.load(folder, quant="f32", threads=1, prefix_cache=1 << 28)


@pytest.fixture(autouse=True)
def nothing_is_left(model):
    """Check that only the prefix cache holds blocks, none is in use without it, and only the pool added threads."""
    before = set(threading.enumerate())
    yield
    native, cache = model.engine.native, model.engine.prefix_cache
    gc.collect()
    assert native.kv_blocks_in_use() * native.kv_block_bytes() == cache.size
    cache.clear()
    assert native.kv_blocks_in_use() == 0
    new = [thread.name for thread in threading.enumerate() if thread not in before]
    own = [name for name in new if name.startswith("qwen3cpu")]
    assert all(name.startswith("qwen3cpu-async") for name in own)
    assert len(own) <= asynchronous.WORKERS


@pytest.fixture
def step(model, monkeypatch):
    """Holds the third pass until it is released."""

    class Step:
        entered, go = threading.Event(), threading.Event()
        count = 0

    held, forward = Step(), model.engine.forward

    def slow(batch):
        held.count += 1
        if held.count == 3:
            held.entered.set()
            held.go.wait()
        return forward(batch)

    monkeypatch.setattr(model.engine, "forward", slow)
    return held


def test_the_same_answers(model):
    prompts = ["hello", "the sky is blue " * 30, "one two three"]
    expected = [model.generate(prompt, seed=4, **OPTIONS) for prompt in prompts]

    async def main():
        together = await asyncio.gather(*(model.agenerate(prompt, seed=4, **OPTIONS) for prompt in prompts))
        chunks = [chunk async for chunk in model.astream(prompts[0], seed=4, **OPTIONS)]
        several = await model.agenerate(prompts[0], n=2, seed=4, **OPTIONS)
        named = await model.agenerate(prompts[0], num_return_sequences=1, seed=4, **OPTIONS)
        return together, chunks, several, named

    together, chunks, several, named = asyncio.run(main())
    assert [result.token_ids for result in together] == [result.token_ids for result in expected]
    assert "".join(chunk.text for chunk in chunks) == expected[0].text
    assert chunks[-1].result.token_ids == expected[0].token_ids
    assert [result.index for result in several] == [0, 1]
    assert several[0].token_ids == named[0].token_ids == expected[0].token_ids


def test_the_event_loop_goes_on_during_a_step(model, step):
    async def main():
        task = asyncio.create_task(model.agenerate("hello", **OPTIONS))
        await asyncio.get_running_loop().run_in_executor(None, step.entered.wait)
        # This runs while a pass is held back.
        await asyncio.sleep(0)
        assert not task.done()
        step.go.set()
        return await task

    assert asyncio.run(main()).usage.completion_tokens == 12


def test_cancelling_stops_within_one_step(model, step):
    async def main():
        task = asyncio.create_task(model.agenerate("hello " * 40, **OPTIONS))
        await asyncio.get_running_loop().run_in_executor(None, step.entered.wait)
        # Also when it is cancelled again and again.
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        step.go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert model.engine.native.kv_blocks_in_use() * model.engine.native.kv_block_bytes() == (
            model.engine.prefix_cache.size
        )

    asyncio.run(main())
    assert step.count == 3


def test_what_waits_for_a_worker_is_cancelled_at_once(model, monkeypatch):
    go = threading.Event()
    blockers = [asynchronous._workers.submit(go.wait) for _ in range(asynchronous.WORKERS)]

    async def main():
        task = asyncio.create_task(model.agenerate("hello", **OPTIONS))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    calls = model.engine.native.counters()["calls"]
    try:
        asyncio.run(main())
    finally:
        go.set()
    for blocker in blockers:
        blocker.result()
    assert model.engine.native.counters()["calls"] == calls


def test_a_step_that_fails_while_it_is_cancelled(model, monkeypatch):
    entered, go = threading.Event(), threading.Event()

    def failing(batch):
        entered.set()
        go.wait()
        raise qwen3cpu.EngineError("no more")

    monkeypatch.setattr(model.engine, "forward", failing)

    async def main():
        task = asyncio.create_task(model.agenerate("hello"))
        await asyncio.get_running_loop().run_in_executor(None, entered.wait)
        task.cancel()
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(qwen3cpu.EngineError, match="no more"):
            await model.agenerate("hello")

    asyncio.run(main())


def test_breaking_out_of_the_loop(model):
    async def main():
        async for chunk in model.astream("hello " * 30, **OPTIONS):
            if chunk.text:
                break
        await asyncio.sleep(0)
        stream = model.astream("hello " * 30, **OPTIONS)
        await anext(stream)
        calls = model.engine.native.counters()["calls"]
        await stream.aclose()
        assert model.engine.native.counters()["calls"] == calls
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        await model.astream("never begun").aclose()

    asyncio.run(main())


def test_errors_come_where_they_belong(model):
    async def main():
        with pytest.raises(qwen3cpu.ArgumentError, match="temperature"):
            await model.agenerate("hello", temperature="hot")
        stream = model.astream("")
        with pytest.raises(qwen3cpu.ArgumentError):
            await anext(model.astream([]))
        await stream.aclose()

    asyncio.run(main())


@pytest.mark.heavy
def test_two_hundred_cancelled_generations_leave_nothing(model):
    """Cancelled by task, timeout, break and aclose after any time and number of chunks; all other answers are right."""
    rng = random.Random(5)
    prompts = [[rng.randrange(256) for _ in range(rng.choice([3, 60, 64, 150, 400]))] for _ in range(8)]
    options = {**OPTIONS, "max_new_tokens": 200}
    cut_short = []
    expected = [model.generate(prompt, seed=9, **options).token_ids for prompt in prompts]

    async def by_task(prompt):
        task = asyncio.create_task(model.agenerate(prompt, seed=1, **options))
        await asyncio.sleep(rng.random() * 0.05)
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(outcome, asyncio.CancelledError):
            cut_short.append("task")

    async def by_timeout(prompt):
        answer = model.agenerate(prompt, n=rng.choice([None, 3]), seed=1, **options)
        try:
            await asyncio.wait_for(answer, rng.random() * 0.05)
        except asyncio.TimeoutError:
            cut_short.append("timeout")

    async def by_break(prompt):
        count = rng.randrange(6)
        async for _ in model.astream(prompt, seed=1, **options):
            count -= 1
            if count < 0:
                break

    async def by_aclose(prompt):
        stream = model.astream(prompt, seed=1, **options)
        for _ in range(rng.randrange(4)):
            await anext(stream)
        await stream.aclose()

    async def undisturbed(index):
        assert (await model.agenerate(prompts[index], seed=9, **options)).token_ids == expected[index]

    async def main():
        ways = [by_task, by_timeout, by_break, by_aclose]
        cancelled = [way(rng.choice(prompts)) for way in ways for _ in range(50)]
        rng.shuffle(cancelled)
        for start in range(0, 200, 40):
            batch = cancelled[start : start + 40]
            await asyncio.gather(*batch, undisturbed(rng.randrange(8)), undisturbed(rng.randrange(8)))

    asyncio.run(main())
    # Most of the hundred that had a time limit; the other hundred stop after a few chunks.
    assert min(cut_short.count("task"), cut_short.count("timeout")) > 20


def test_conversations(tmp_path):
    follows = script(["\n", "<think>", "x", "y", "</think>", "A", "B", "<|im_end|>"])
    model = qwen3cpu.load(write_scripted(tmp_path, follows), quant="f32", threads=1)
    chat = model.chat(temperature=0, prepare="idle")

    async def main():
        result = await chat.asend("q")
        assert (result.reasoning, result.text) == ("xy", "AB")
        chunks = [chunk async for chunk in chat.astream("again")]
        assert "".join(chunk.text for chunk in chunks) == "AB"
        async for chunk in chat.astream("stop"):
            if chunk.text:
                break
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert [message["content"] for message in chat.messages] == ["q", "AB", "again", "AB", "stop", "A"]
    chat.wait_prepared()
    chat.close()
