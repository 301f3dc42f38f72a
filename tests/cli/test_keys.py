"""Keys that are pressed while the program does not wait for them."""

import os
import pty
import signal
import sys
import termios
import threading

import pytest

from qwen3cpu.cli.keys import ask, uninterrupted
from qwen3cpu.system.keyboard import unseen_keys


@pytest.fixture
def typed(monkeypatch):
    """A terminal as stdin, and a function that presses keys on it."""
    ours, theirs = pty.openpty()
    with open(theirs, closefd=False) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield lambda keys: os.write(ours, keys)
    os.close(ours)
    os.close(theirs)


def echoes(stdin):
    return bool(termios.tcgetattr(stdin)[3] & termios.ECHO)


def test_nothing_is_echoed_meanwhile(typed):

    assert echoes(sys.stdin)
    with unseen_keys():
        assert not echoes(sys.stdin)
    assert echoes(sys.stdin)
    with pytest.raises(KeyError), unseen_keys():
        raise KeyError
    assert echoes(sys.stdin)


@pytest.mark.parametrize("kept", [True, False])
def test_a_question_is_not_answered_by_earlier_keys(typed, monkeypatch, kept):

    seen = []

    def reply(question):
        seen.append((question, echoes(sys.stdin)))
        typed(b"no\n")
        return sys.stdin.readline().strip()

    monkeypatch.setattr("builtins.input", reply)
    if kept:
        with unseen_keys():
            typed(b"yes\n")
            assert ask("sure?") == "no"
            assert not echoes(sys.stdin)
    else:
        typed(b"yes\n")
        assert ask("sure?") == "no"
    assert seen == [("sure?", True)]


def test_without_a_terminal(monkeypatch):
    monkeypatch.setattr("builtins.input", lambda question: question)
    with open(os.devnull) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with unseen_keys():
            assert ask("x") == "x"


def test_ctrl_c_waits():
    done = []

    def interrupted():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("the rest")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == ["the rest"]
    with uninterrupted():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_and_other_handlers_are_left_alone():
    def inside():
        with uninterrupted():
            found.append(signal.getsignal(signal.SIGINT))

    found = []
    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        inside()
    finally:
        signal.signal(signal.SIGINT, before)
    assert found == [signal.default_int_handler, signal.SIG_IGN]
