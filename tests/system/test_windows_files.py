"""File operations on a system that looks like Windows.

These tests have not been run on Windows. They check the calls and the handling of results, not Windows itself.
"""

import errno
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from fake_windows import Kernel, refused

from qwen3cpu.batch import journal
from qwen3cpu.packed import sealed_file
from qwen3cpu.system import file_locks, files, process_limits
from qwen3cpu.system.windows import locks


class LockedError(OSError):
    """An error as ctypes.WinError makes it."""

    winerror = 33


@pytest.mark.parametrize(("shared", "wait", "flags"), [(True, False, 1), (False, False, 3), (False, True, 2)])
def test_a_lock_is_on_a_byte_behind_the_file(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, shared: bool, wait: bool, flags: int
) -> None:
    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(get_osfhandle=lambda descriptor: descriptor + 100))
    unlock, take = kernel.has("UnlockFileEx", refused), kernel.has("LockFileEx", lambda *_: 1)
    file_locks.lock(5, shared=shared, wait=wait)
    handle, asked, reserved, low, high, place = take.asked[0]
    assert (handle.value, asked, reserved, low, high) == (105, flags, 0, 1, 0)
    assert (place._obj.offset, place._obj.offset_high) == (0, 1 << 30)
    assert len(unlock.asked) == 1


def test_a_lock_that_another_one_has_is_told_from_a_failure(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(get_osfhandle=lambda descriptor: descriptor))
    kernel.has("UnlockFileEx", refused)
    kernel.has("LockFileEx", refused)
    monkeypatch.setattr(locks, "last_error", LockedError)
    with pytest.raises(BlockingIOError):
        file_locks.lock(5, shared=False)
    monkeypatch.setattr(locks, "last_error", lambda: OSError(errno.EINVAL, "no locks here"))
    with pytest.raises(OSError, match="no locks here"):
        file_locks.lock(5, shared=False)


def test_bytes_are_read_at_their_place_without_pread(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    with open(tmp_path / "file", "rb") as file:
        assert files.read_at(file.fileno(), 3, 4) == b"456"
        assert files.read_at(file.fileno(), 30, 8) == b"89"


def test_folders_and_rights_are_left_alone(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fsync", "fchmod", "open"):
        monkeypatch.setattr(os, name, None)
    files.sync_folder(Path("nowhere"))
    files.make_private(5)
    assert not files.renames_open_files()


def test_files_of_the_user_are_in_the_local_folder(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert files.user_folder("cache") == files.user_folder("state") == Path("/local")
    monkeypatch.delenv("LOCALAPPDATA")
    monkeypatch.setattr(Path, "home", lambda: Path("/home"))
    assert files.user_folder("cache") == Path("/home/AppData/Local")


def test_there_is_no_limit_of_files_and_addresses(kernel: Kernel) -> None:
    assert process_limits.most_files() == 1 << 16
    assert process_limits.most_address_space() is None


def test_a_file_gets_its_name_when_it_is_closed(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sealed_file, "lock", lambda *_, **__: None)
    rename, closed = os.replace, []

    def replace(part: Path, path: Path) -> None:
        closed.append(file.closed)
        rename(part, path)

    monkeypatch.setattr(os, "replace", replace)
    with sealed_file.replacing(tmp_path / "file") as file:
        file.write(b"whole")
    assert closed == [True]
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"whole")]


def test_a_journal_is_closed_before_it_is_removed(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(file_locks, "lock", lambda *_, **__: None)
    work = journal.Journal(tmp_path / "out", {}, np.int64([1]))
    work.add(0, b"{}", failed=False)
    unlink = Path.unlink

    def remove(path: Path) -> None:
        with pytest.raises(ValueError, match="closed"):
            work.add(0, b"{}", failed=False)
        unlink(path)

    monkeypatch.setattr(Path, "unlink", remove)
    work.finish()
    work.close()
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("out", b"{}\n")]
