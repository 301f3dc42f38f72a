"""Files that are made and locked by name: two processes never hold two files of one name."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen3cpu.system import file_locks
from qwen3cpu.system.file_locks import open_locked


def test_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with open_locked(path) as file:
        file.write(b"first")
        with pytest.raises(BlockingIOError):
            open_locked(path)
    with open_locked(path) as file:
        assert file.read() == b"first"


@pytest.mark.parametrize("again", [True, False])
def test_a_file_that_is_replaced_or_removed_before_it_is_locked_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    path = tmp_path / "file"
    lock = file_locks.lock

    def late(descriptor: int, *, shared: bool, wait: bool = False) -> None:
        path.unlink()
        if again:
            path.write_bytes(b"of another process")
        lock(descriptor, shared=shared, wait=wait)

    monkeypatch.setattr(file_locks, "lock", late)
    with pytest.raises(BlockingIOError):
        open_locked(path)
    assert path.exists() is again
