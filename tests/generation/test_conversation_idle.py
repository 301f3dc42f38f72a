"""prepare="idle": the next turn starts warm, and the background work delays nothing else."""

import gc
import subprocess
import sys
import threading
import time

import checkpoints
import pytest
from drafters import without_drafts
from scripted_models import script, write_scripted

import qwen3cpu
from qwen3cpu.engine.sequence import common_prefix
from qwen3cpu.generation import preparation


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Answers every message with "AB" after thinking "xy"."""
    follows = script(["\n", "<think>", "x", "y", "</think>", "A", "B", "<|im_end|>"])
    return write_scripted(tmp_path_factory.mktemp("thinker"), follows, max_position_embeddings=8192)


@pytest.fixture
def model(folder):
    return without_drafts(qwen3cpu.load(folder, quant="f32", threads=1, prefix_cache=0))


@pytest.fixture
def pieces(model, monkeypatch):
    """Ends of the pieces that were prepared; `pieces.after(count, action)` calls `action` after `count` pieces."""

    class Pieces(list):
        def __init__(self):
            super().__init__()
            self.actions = {}

        def after(self, count, action):
            self.actions[count] = action

    done, forward = Pieces(), model.engine.forward_idle

    def noted(sequence, ids):
        forward(sequence, ids)
        done.append(sequence.length)
        done.actions.pop(len(done), lambda: None)()

    monkeypatch.setattr(model.engine, "forward_idle", noted)
    return done


def processed(model):
    return model.engine.native.counters()["tokens"]


LONG = "tell me all of it, " * 20


def test_the_next_turn_processes_what_is_new_only(model, monkeypatch):
    measured, forward = threading.Event(), model.engine.forward_idle
    monkeypatch.setattr(model.engine, "forward_idle", lambda *args: measured.wait() and forward(*args))
    chat = model.chat("be brief", prepare="idle", temperature=0)
    plain = model.chat("be brief", temperature=0)
    for turn in range(4):
        before = processed(model)
        measured.clear()
        result = chat.send(f"{turn} {LONG}")
        in_turn = processed(model) - before
        measured.set()
        chat.wait_prepared()
        # The prompt after the history: the message itself and the opening of the answer.
        request = model.answerer.request()
        prompt = model.answerer.encode(chat.messages[:-1], request)
        other = model.answerer.encode([*chat.messages[:-2], {"role": "user", "content": "?"}], request)
        if turn:
            assert result.usage.cached_tokens == common_prefix(prompt, other)
            assert in_turn == len(prompt) - result.usage.cached_tokens + len(result.token_ids) - 1
        cold = plain.send(f"{turn} {LONG}")
        assert (cold.token_ids, cold.reasoning, cold.text) == (result.token_ids, "xy", "AB")
        assert turn == 0 or cold.usage.cached_tokens < result.usage.cached_tokens
    assert chat.messages == plain.messages


def test_without_it_nothing_runs_in_the_background(model, pieces):
    chat = model.chat(temperature=0)
    chat.send(LONG)
    chat.wait_prepared()
    assert pieces == []
    assert "qwen3cpu-idle" not in {thread.name for thread in threading.enumerate()}


def test_pieces_are_small_and_the_thread_ends(model, pieces):
    chat = model.chat(prepare="idle", temperature=0)
    chat.send("hello")
    chat.wait_prepared()
    del pieces[:]
    edit_and_prepare(chat, model)
    chat.wait_prepared()
    lengths = [end - start for start, end in zip([0, *pieces], pieces, strict=False)]
    assert max(lengths[1:]) <= preparation.PIECE
    assert len(pieces) > 5
    assert "qwen3cpu-idle" not in {thread.name for thread in threading.enumerate()}


def edit_and_prepare(chat, model):
    """Edit the history so that much has to be prepared."""
    chat._stop_preparing()
    chat.messages[0]["content"] = LONG
    chat._start_preparing(model.answerer.request())


def until_cancelled(chat):
    """Called on the preparing thread, perhaps before the conversation has stored it."""
    while chat._preparation is None:
        time.sleep(0.001)
    chat._preparation._cancelled.wait()


def test_it_waits_while_a_call_runs(model, pieces):
    chat = model.chat(prepare="idle", temperature=0)
    chat.send("hello")
    chat.wait_prepared()
    del pieces[:]
    stop, others = threading.Event(), []
    pieces.after(2, lambda: (others.append(model.engine.traffic.begin()), stop.set()))
    edit_and_prepare(chat, model)
    stop.wait()
    # A call is running. The answers of others are not delayed, and nothing is prepared during them.
    for _ in range(3):
        assert model.generate("hello", temperature=0).text == "AB"
    assert len(pieces) == 2
    model.engine.traffic.end(others.pop())
    chat.wait_prepared()
    assert len(pieces) > 5
    assert chat.send("and?").text == "AB"


def test_the_users_turn_stops_it(model, pieces):
    chat = model.chat(prepare="idle", temperature=0)
    chat.send("hello")
    chat.wait_prepared()
    del pieces[:]
    begun = threading.Event()
    pieces.after(2, lambda: (begun.set(), until_cancelled(chat)))
    edit_and_prepare(chat, model)
    begun.wait()
    stream = chat.stream("and?")
    assert len(pieces) == 2
    assert "qwen3cpu-idle" not in {thread.name for thread in threading.enumerate()}
    *_, last = stream
    assert last.result.usage.cached_tokens >= pieces[1]
    assert last.result.token_ids == model.generate(chat.messages[:-1], temperature=0).token_ids
    chat.close()
    assert model.engine.native.kv_blocks_in_use() == 0


def test_a_conversation_that_nobody_has_is_not_prepared(model, pieces):
    chat = model.chat(prepare="idle", temperature=0)
    chat.send("hello")
    chat.wait_prepared()
    del pieces[:]
    begun = threading.Event()
    cancelled = []

    def wait():
        begun.set()
        while not cancelled:
            time.sleep(0.001)
        cancelled[0].wait()

    pieces.after(2, wait)
    edit_and_prepare(chat, model)
    cancelled.append(chat._preparation._cancelled)
    thread = chat._preparation._thread
    begun.wait()
    del chat
    gc.collect()
    thread.join()
    assert len(pieces) == 2


def test_a_history_that_does_not_fit_is_left_to_the_next_turn(folder):
    model = qwen3cpu.load(folder, quant="f32", threads=1, context=100)
    chat = model.chat(prepare="idle", temperature=0)
    chat.send("hello")
    edit_and_prepare(chat, model)
    chat.wait_prepared()
    with pytest.raises(qwen3cpu.ContextLengthError):
        chat.send("and?")


def test_other_words_are_refused(model):
    with pytest.raises(qwen3cpu.ArgumentError, match="prepare: expected"):
        model.chat(prepare="always")


def test_the_end_of_the_interpreter_stops_it(tmp_path):
    """It ends while a long history is being prepared: at once, normally and without output."""
    folder = checkpoints.write_checkpoint(tmp_path / "random", max_position_embeddings=20000).folder
    program = f"""
import atexit, threading
import qwen3cpu
from qwen3cpu.engine import traffic
from qwen3cpu.generation import preparation
preparation.PIECE, traffic.QUIET_SECONDS = 1, 0.0
model = qwen3cpu.load({str(folder)!r}, quant="f32", threads=1, prefix_cache=0)
chat = model.chat(prepare="idle", max_new_tokens=2)
chat.send("hello")
chat.wait_prepared()
begun = threading.Event()
forward = model.engine.forward_idle
def noted(sequence, ids):
    forward(sequence, ids)
    begun.set()
    threading.main_thread().join()
model.engine.forward_idle = noted
chat.messages[0]["content"] = "word " * 6000
chat._start_preparing(model.answerer.request())
begun.wait()
atexit.register(lambda: print(chat.cached_tokens))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert 0 < int(ended.stdout) < 6000
