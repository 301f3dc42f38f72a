"""The fork guard keeps no references to deleted objects, and Ctrl-C leaves no lock locked."""

import gc
import sys

import pytest

from qwen3cpu.engine import traffic
from qwen3cpu.system import fork_guard
from qwen3cpu.system.fork_guard import call_in_child


class Owner:
    """An object with a method that runs in child processes."""

    def forget(self):
        """Forget the parent's threads."""


def kept_methods():
    gc.collect()
    return sys.getrefcount(Owner.forget)


def test_nothing_is_kept_of_objects_that_are_gone():
    before = kept_methods()
    owners = [Owner() for _ in range(100)]
    for owner in owners:
        call_in_child(owner.forget)
    assert kept_methods() == before + 100
    del owner, owners
    assert kept_methods() == before


def interrupted(call, nth, file):
    """Run a call and interrupt it at the nth Python instruction of a file. Returns whether it was interrupted."""
    left = nth

    def trace(frame, event, _):
        nonlocal left
        if frame.f_code.co_filename != file:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_ctrl_c_at_any_instruction_leaves_the_lock_free():
    """Python may run signal handlers between any two instructions of a function."""
    lock = fork_guard.ForkLock()

    def use():
        with lock.held():
            pass

    nth = 1
    while interrupted(use, nth, fork_guard.__file__):
        free = lock.held().acquire(blocking=False)
        assert free, f"after {nth} instructions"
        lock.held().release()
        nth += 1
    assert nth > 5


@pytest.mark.parametrize("file", [fork_guard.__file__, __file__])
def test_ctrl_c_at_any_instruction_leaves_no_pass_behind(file):
    passes = traffic.Traffic()

    def use():
        begun = passes.begin()
        try:
            assert passes.quiet_in() == traffic.QUIET_SECONDS
        finally:
            passes.end(begun)

    nth = 1
    while interrupted(use, nth, file):
        gc.collect()
        assert passes.quiet_in() < traffic.QUIET_SECONDS, f"after {nth} instructions"
        nth += 1
    assert nth > 5
