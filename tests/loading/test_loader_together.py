"""Concurrent loads of one model: the first packs, and the others wait for it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_checkpoint

from qwen3cpu.loading import open as loader
from qwen3cpu.loading.open import open_checkpoint


def test_models_that_are_loaded_at_once_are_packed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("QWEN3CPU_CACHE", str(cache))
    monkeypatch.setattr(loader, "_CACHED_FROM", 0)
    folder = write_checkpoint(tmp_path / "model").folder
    count, looked, packed = 3, 0, []
    everybody = threading.Event()
    pack, opened = loader.pack_to_file, loader._Packing._open_cached

    def counting(self: Any, path: Path) -> Any:
        nonlocal looked
        found = opened(self, path)
        with lock:
            looked += 1
            if looked == count:
                everybody.set()
        return found

    def packing(path: Path, *arguments: Any, **named: Any) -> None:
        assert everybody.wait()  # no load has found an existing file
        packed.append(path)
        pack(path, *arguments, **named)

    lock = threading.Lock()
    monkeypatch.setattr(loader._Packing, "_open_cached", counting)
    monkeypatch.setattr(loader, "pack_to_file", packing)
    with ThreadPoolExecutor(count) as pool:
        found = list(pool.map(lambda _: open_checkpoint(folder, threads=1), range(count)))
    assert len(packed) == 1
    assert [path.name for path in cache.iterdir()] == [packed[0].name]
    for each in found:
        assert each.packed_path == packed[0]
