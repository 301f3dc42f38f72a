"""`Ahead`: an iterator that a thread runs ahead of its consumer."""

import threading

import pytest

from qwen3cpu.batch.ahead import Ahead


def taken(ahead):
    results = []
    while (result := ahead.take(wait=True)) is not None:
        results.append(result)
    return results


def test_results_come_in_order_from_another_thread():
    ahead = Ahead(((number, threading.get_ident()) for number in range(100)), 3)
    try:
        results = taken(ahead)
    finally:
        ahead.close()
    assert [number for number, _ in results] == list(range(100))
    assert {ident for _, ident in results} != {threading.get_ident()}
    assert ahead.take(wait=True) is None  # and again, without waiting for ever


def test_no_more_are_made_than_may_wait():
    made = []

    def results():
        for number in range(100):
            made.append(number)
            yield number

    ahead = Ahead(results(), 3)
    assert ahead.take(wait=True) == 0
    ahead.close()
    assert len(made) <= 5  # one taken, three that wait, one that the thread holds
    assert not any(thread.name == "qwen3cpu-ahead" for thread in threading.enumerate())


def test_what_is_not_ready_is_not_waited_for():
    may_go_on = threading.Event()

    def results():
        may_go_on.wait()
        yield 1

    ahead = Ahead(results(), 3)
    try:
        assert ahead.take(wait=False) is None
        may_go_on.set()
        assert ahead.take(wait=True) == 1
    finally:
        may_go_on.set()
        ahead.close()


@pytest.mark.parametrize("error", [OSError("gone"), MemoryError(), KeyError("a")])
def test_an_error_comes_behind_the_results_before_it(error):
    def results():
        yield 1
        raise error

    ahead = Ahead(results(), 3)
    try:
        assert ahead.take(wait=True) == 1
        with pytest.raises(type(error)) as caught:
            ahead.take(wait=True)
        assert caught.value is error
        assert ahead.take(wait=True) is None
    finally:
        ahead.close()
