"""Conversations: history, which tokens are processed again, stopping in the middle."""

import asyncio
import gc
import threading

import checkpoints
import pytest
from drafters import without_drafts
from scripted_models import script, write_scripted

import qwen3cpu
from qwen3cpu.engine.sequence import common_prefix


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkpoints.write_checkpoint(
        tmp_path_factory.mktemp("chat"), max_position_embeddings=4096, generation_config={"do_sample": False}
    ).folder


@pytest.fixture(scope="module")
def model(folder):
    return without_drafts(qwen3cpu.load(folder, quant="f32", threads=1))


@pytest.fixture(scope="module")
def forgetful(folder):
    """The same model, which processes every prompt from its first token."""
    return without_drafts(qwen3cpu.load(folder, quant="f32", threads=1, prefix_cache=0))


@pytest.fixture(scope="module")
def thinker(tmp_path_factory):
    """Answers every message with "AB" after thinking "xy"."""
    follows = script(["\n", "<think>", "x", "y", "</think>", "A", "B", "<|im_end|>"])
    return qwen3cpu.load(write_scripted(tmp_path_factory.mktemp("thinker"), follows), quant="f32", threads=1)


def processed(model):
    return model.engine.native.counters()["tokens"]


def test_the_history_is_rendered_by_the_template(model):
    chat = model.chat("be brief", max_new_tokens=12)
    first = chat.send("hello")
    second = chat.send("world")
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": "world"},
        {"role": "assistant", "content": second.text},
    ]
    assert chat.messages == messages
    assert model.generate(messages[:2], max_new_tokens=12).token_ids == first.token_ids
    assert model.generate(messages[:4], max_new_tokens=12).token_ids == second.token_ids


def test_what_two_turns_have_in_common_is_processed_once(model, forgetful):
    chat = model.chat(max_new_tokens=5)
    chat.send("hello " * 50)
    before = processed(model)
    result = chat.send("world")
    assert result.usage.cached_tokens > 50
    # The last token of an answer is chosen, not processed.
    assert processed(model) - before == result.usage.prompt_tokens - result.usage.cached_tokens + 4
    fresh = forgetful.generate(chat.messages[:-1], max_new_tokens=5)
    assert fresh.usage.cached_tokens == 0
    assert fresh.usage.prompt_tokens == result.usage.prompt_tokens
    assert fresh.token_ids == result.token_ids


@pytest.mark.parametrize("thinking", [True, False])
def test_ten_turns_process_each_new_token_once(model, forgetful, thinking):
    """A turn processes its answer, and the part of its prompt that is not held from earlier turns."""
    chat = model.chat("be brief " * 20, max_new_tokens=8, temperature=0.8, thinking=thinking)
    model.engine.prefix_cache.clear()
    start, held, new = processed(model), [], 0
    for turn in range(10):
        result = chat.send(f"number {turn}", seed=turn)
        prompt = model.answerer.encode(chat.messages[:-1], model.answerer.request(thinking=thinking))
        new += len(prompt) - common_prefix(held, prompt) + len(result.token_ids) - 1
        # The last token of an answer is chosen, not processed.
        held = prompt + list(result.token_ids[:-1])
        assert processed(model) - start == new
        fresh = forgetful.generate(chat.messages[:-1], max_new_tokens=8, temperature=0.8, seed=turn, thinking=thinking)
        assert (fresh.token_ids, fresh.text, fresh.reasoning) == (result.token_ids, result.text, result.reasoning)


def test_ten_turns_of_a_plain_template_process_every_token_once(tmp_path):
    """If the template leaves out no part of an answer, no position is processed twice."""
    plain = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}[assistant]"
    folder = write_scripted(tmp_path, script(["]", "A", "B", "<|im_end|>"]), chat_template=plain)
    model, forgetful = (
        without_drafts(qwen3cpu.load(folder, quant="f32", threads=1, prefix_cache=limit)) for limit in (1 << 30, 0)
    )
    chat = model.chat("system", temperature=0)
    for turn in range(10):
        result = chat.send(f"number {turn} of ten")
        assert result.text == "AB"
        assert processed(model) == result.usage.prompt_tokens + 2
        assert result.token_ids == forgetful.generate(chat.messages[:-1], temperature=0).token_ids


def test_reasoning_is_kept_apart_in_the_history(thinker):
    chat = thinker.chat(temperature=0)
    result = chat.send("q")
    assert (result.reasoning, result.text) == ("xy", "AB")
    assert chat.messages[-1] == {"role": "assistant", "content": "AB", "reasoning_content": "xy"}
    assert "xy" not in thinker.render([*chat.messages, {"role": "user", "content": "and?"}])
    assert chat.send("and?").text == "AB"


def test_an_answer_that_is_stopped_stays_as_far_as_it_came(thinker):
    chat = thinker.chat(temperature=0)
    stream = chat.stream("q")
    for chunk in stream:
        if chunk.text:
            break
    stream.close()
    assert [message["content"] for message in chat.messages] == ["q", "A"]
    assert chat.result is None
    assert chat.send("again").text == "AB"
    assert len(chat.messages) == 4


def test_a_turn_that_is_stopped_before_its_answer_is_taken_back(thinker):
    chat = thinker.chat(temperature=0)
    stream = chat.stream("q")
    next(stream)
    stream.close()
    assert chat.messages == []


def test_ctrl_c_keeps_the_conversation_usable(model, monkeypatch):
    chat = model.chat(max_new_tokens=30, ignore_eos=True)
    chat.send("hello")
    forward, calls = model.engine.forward, []

    def interrupted(batch):
        rows = forward(batch)
        calls.append(batch)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return rows

    monkeypatch.setattr(model.engine, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        chat.send("world")
    monkeypatch.undo()
    result = chat.send("you")
    assert result.token_ids == model.generate(chat.messages[:-1], max_new_tokens=30, ignore_eos=True).token_ids


def test_retry_answers_the_last_message_again(model):
    chat = model.chat(max_new_tokens=10, temperature=1.0, ignore_eos=True)
    with pytest.raises(qwen3cpu.ArgumentError, match="retry: expected a user message in the history, found none"):
        chat.retry()
    first = chat.send("hello", seed=1)
    *_, last = chat.retry(seed=2)
    assert len(chat.messages) == 2
    assert chat.messages[-1]["content"] == last.result.text
    assert last.result.token_ids != first.token_ids
    assert last.result.usage.cached_tokens == last.result.usage.prompt_tokens - 1


def test_system_and_reset(model):
    chat = model.chat(max_new_tokens=3)
    assert chat.system is None
    chat.system = "one"
    chat.send("hello")
    chat.system = "two"
    assert [message["role"] for message in chat.messages] == ["system", "user", "assistant"]
    assert chat.system == "two"
    chat.reset()
    assert chat.messages == [{"role": "system", "content": "two"}]
    chat.system = None
    assert chat.messages == []


def test_a_conversation_that_outgrows_the_context_says_so(tmp_path):
    folder = checkpoints.write_checkpoint(tmp_path, max_position_embeddings=64).folder
    chat = qwen3cpu.load(folder, quant="f32").chat(max_new_tokens=5)
    with pytest.raises(qwen3cpu.ContextLengthError, match="64"):
        chat.send("hello " * 40)
    assert chat.messages == []
    chat.send("hello")


def test_closing_gives_the_memory_back(model):
    in_use = model.engine.native.kv_blocks_in_use
    before = in_use()
    chat = model.chat(max_new_tokens=3)
    chat.send("hello")
    assert in_use() > before
    chat.close()
    assert in_use() == before
    assert chat.send("world").usage.cached_tokens == 0
    chat.close()


def test_several_answers_are_refused(model):
    with pytest.raises(qwen3cpu.ArgumentError, match="n: "):
        model.chat().stream("hello", n=2)


def test_a_second_turn_waits_for_the_end_of_the_first(model, tmp_path):
    """Whatever would change a conversation is refused while a turn runs, and the turn gives the answer it should."""
    chat = model.chat("be brief", max_new_tokens=6, temperature=0, ignore_eos=True)
    unstarted = chat.stream("never")
    first = chat.stream("hello")
    begun = [next(first)]
    actions = {
        "stream": lambda: chat.send("world"),
        "retry": chat.retry,
        "reset": chat.reset,
        "close": chat.close,
        "save": lambda: chat.save(tmp_path / "a"),
        "system": lambda: setattr(chat, "system", "two"),
    }
    for name, action in actions.items():
        with pytest.raises(qwen3cpu.ArgumentError, match=f"^{name}: .*a turn that is running; finish or close"):
            action()
    with pytest.raises(qwen3cpu.ArgumentError, match="a turn that is running"):
        next(unstarted)
    text = "".join(chunk.text + chunk.reasoning for chunk in [*begun, *first])
    expected = model.generate(chat.messages[:2], max_new_tokens=6, temperature=0, ignore_eos=True)
    assert text == expected.reasoning + expected.text
    *_, last = chat.stream("world")
    first.close()
    assert [message["content"] for message in chat.messages if message["role"] == "user"] == ["hello", "world"]
    assert last.result.token_ids == (
        model.generate(chat.messages[:-1], max_new_tokens=6, temperature=0, ignore_eos=True).token_ids
    )
    assert not (tmp_path / "a").exists()


def test_threads_and_tasks_share_no_turn(model):
    """Each call gets its own result or an error, and the history has exactly the turns that ended."""
    chat = model.chat(max_new_tokens=8, ignore_eos=True)
    outcomes = {}

    def ask(word):
        try:
            outcomes[word] = chat.send(word).text
        except qwen3cpu.ArgumentError:
            outcomes[word] = None

    async def both():
        return await asyncio.gather(chat.asend("third"), chat.asend("fourth"), return_exceptions=True)

    threads = [threading.Thread(target=ask, args=(word,)) for word in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for word, found in zip(("third", "fourth"), asyncio.run(both()), strict=True):
        outcomes[word] = None if isinstance(found, qwen3cpu.ArgumentError) else found.text
    asked = [message["content"] for message in chat.messages[::2]]
    assert [outcomes[word] for word in asked] == [message["content"] for message in chat.messages[1::2]]
    assert sorted(asked) == sorted(word for word, text in outcomes.items() if text is not None)


def test_a_stream_answers_the_history_of_its_first_chunk(model):
    chat = model.chat(max_new_tokens=4, temperature=0, ignore_eos=True)
    late = chat.stream("world")
    chat.send("hello")
    *_, last = late
    assert [message["content"] for message in chat.messages[::2]] == ["hello", "world"]
    assert last.result.token_ids == (
        model.generate(chat.messages[:-1], max_new_tokens=4, temperature=0, ignore_eos=True).token_ids
    )
    abandoned = chat.stream("again")
    next(abandoned)
    del abandoned
    gc.collect()
    for chunk in (stream := chat.stream("and again")):
        if chunk.result is not None:
            break
    assert chat.send("the last").text == chat.messages[-1]["content"]
    stream.close()


def test_a_retry_without_a_new_answer_keeps_the_history(thinker):
    def fail(ids, logits):
        raise StopIteration

    chat = thinker.chat(temperature=0)
    chat.send("q")
    before, result = list(chat.messages), chat.result
    stream = chat.retry()
    next(stream)
    stream.close()
    with pytest.raises(qwen3cpu.ArgumentError, match=r"processors: .*found StopIteration"):
        list(chat.retry(processors=[fail]))
    assert (chat.messages, chat.result) == (before, result)


@pytest.mark.parametrize("content", [None, 5, b"q", ["q"], {"role": "user", "content": "q"}])
def test_what_is_no_message_is_refused(model, content):
    with pytest.raises(qwen3cpu.MessageError, match="content: expected a text or a list of messages, found"):
        model.chat().send(content)


@pytest.mark.parametrize("messages", [[{"content": "a"}], ["a"], [None, {"role": "assistant", "tool_calls": [5, {}]}]])
def test_an_edited_history_may_be_wrong(model, messages):
    chat = model.chat(max_new_tokens=2)
    chat.messages = list(messages)
    assert chat.system is None
    assert "<" in chat._repr_html_()
    with pytest.raises(qwen3cpu.MessageError):
        chat.send("b")
    with pytest.raises(qwen3cpu.ArgumentError, match="retry: expected a user message"):
        chat.retry()
    chat.system = "one"
    chat.reset()
    assert chat.messages == [{"role": "system", "content": "one"}]
    chat.messages = None
    with pytest.raises(qwen3cpu.MessageError, match="messages: expected a list of messages, found NoneType"):
        chat.reset()
