"""What the guard of forks keeps of an object that is gone: nothing."""

import gc
from weakref import WeakMethod

from qwen3cpu.system.fork_guard import call_in_child


class Owner:
    """Has a method for children."""

    def forget(self):
        """Forget the parent's threads."""


def kept_methods():
    gc.collect()
    return sum(isinstance(each, WeakMethod) for each in gc.get_objects())


def test_nothing_is_kept_of_objects_that_are_gone():
    before = kept_methods()
    owners = [Owner() for _ in range(100)]
    for owner in owners:
        call_in_child(owner.forget)
    assert kept_methods() == before + 100
    del owner, owners
    assert kept_methods() == before
