"""Locks on the files of loaded models: many processes may use a model, and none may remove it meanwhile."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from qwen3cpu.system.use_lock import InUseError, UseLock, alone_with, use_locks


@pytest.fixture(params=["file", "folder"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "folder":
        return tmp_path
    (tmp_path / "file").write_text("")
    return tmp_path / "file"


def test_many_use_it_and_one_removes_it(path: Path) -> None:
    first, second = UseLock(path), UseLock(path)
    for lock in (first, second):
        with pytest.raises(InUseError, match=path.name), alone_with([path]):
            pytest.fail("was alone")
        lock.release()
    lock.release()
    with alone_with([path]), pytest.raises(InUseError):
        use_locks([path])
    assert len(use_locks([path])) == 1


def test_a_lock_ends_with_its_object(path: Path) -> None:
    lock = UseLock(path)
    del lock
    with alone_with([path]):
        pass


def test_the_first_locks_are_given_back_when_a_later_one_fails(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "b")]
    for each in paths:
        each.write_text("")
    lock = UseLock(paths[1])
    with pytest.raises(InUseError), alone_with(paths):
        pytest.fail("was alone")
    lock.release()
    with alone_with(paths):
        pass


def test_what_cannot_be_locked_counts_as_unused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("nothing", "fifo"):
        assert use_locks([tmp_path / name]) == ()
        with alone_with([tmp_path / name]):
            pass

    def without_locks(descriptor: int, kind: int) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", without_locks)
    assert use_locks([tmp_path]) == ()
    with alone_with([tmp_path]):
        pass
