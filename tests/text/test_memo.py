"""Kept results: they are found again, evicted by their last use, and never take more bytes than allowed."""

import gc
import itertools
import sys
import threading

import pytest

from qwen3cpu.text.memo import Memo, bytes_of, remembered


def texts(memo):
    return [key for key, _ in memo.items()]


def test_what_was_used_longest_ago_is_forgotten_first():
    memo = Memo(3 * (256 + 100), lambda key, value: 100)
    for key in "abc":
        assert memo.get(key, lambda key=key: key * 2) == key * 2
    assert memo.get("a", lambda: pytest.fail("it is kept")) == "aa"
    memo.get("d", lambda: None)
    assert texts(memo) == ["c", "a", "d"]
    assert memo.get("d", lambda: pytest.fail("None is a value")) is None
    assert memo.bytes_held == memo.most_bytes


def test_a_large_entry_takes_the_place_of_several_and_one_that_is_too_large_of_none():
    memo = Memo(10_000, lambda key, value: value)
    for key in range(5):
        memo.get(key, lambda: 1000)
    memo.get("large", lambda: 8000)
    assert texts(memo) == [4, "large"]
    assert memo.get("too large", lambda: 10_000) == 10_000
    assert texts(memo) == [4, "large"]
    memo.clear()
    assert (memo.items(), memo.bytes_held) == ([], 0)


def test_what_fails_is_not_kept():
    memo = Memo(1000, lambda key, value: 1)
    with pytest.raises(ZeroDivisionError):
        memo.get("a", lambda: 1 // 0)
    assert memo.items() == []


def test_a_function_remembers_by_its_arguments():
    calls = []

    @remembered(10_000)
    def join(first: str, second: str) -> str:
        """Joins."""
        calls.append((first, second))
        return first + second

    assert [join("a", "b"), join("a", "b"), join("b", "a")] == ["ab", "ab", "ba"]
    assert calls == [("a", "b"), ("b", "a")]
    assert join.__doc__ == "Joins."
    assert join("x" * 20_000, "") == "x" * 20_000
    assert len(join.memo.items()) == 2


def test_bytes_of_a_value_are_those_of_all_that_is_in_it():
    value = {"a": [1, ("b", None)], "c": {"d": 1.5}}
    parts = [value, "a", value["a"], 1, value["a"][1], "b", None, "c", value["c"], "d", 1.5]
    assert bytes_of(value) == sum(map(sys.getsizeof, parts))


class Cycle:
    """Garbage that only the collector frees. It then calls a function, as another thread might at that moment."""

    def __init__(self, then):
        self.cycle = self
        self.then = then

    def __del__(self):
        self.then()


def test_another_thread_may_run_whenever_the_garbage_collector_does():
    entries = 3000  # more than the tuples that Python keeps for reuse, which start no collection when made
    memo = Memo(entries * 256, lambda key, value: 0)
    keys = itertools.count()

    def use():
        memo.get(next(keys), lambda: None)

    for _ in range(entries):
        use()
    thresholds = gc.get_threshold()
    gc.set_threshold(10)
    try:
        for _ in range(5):
            Cycle(use)
            memo.items()
            Cycle(use)
            use()
    finally:
        gc.set_threshold(*thresholds)
    assert next(keys) > entries + 5
    assert memo.bytes_held <= memo.most_bytes


def test_threads_share_a_memo():
    memo = Memo(50 * (256 + 10), lambda key, value: 10)
    wrong = []

    def work(start):
        for number in range(20_000):
            key = (start + number * 7) % 80
            if memo.get(key, lambda key=key: key * 3) != key * 3:
                wrong.append(key)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert memo.bytes_held <= memo.most_bytes
