"""The progress bar shows counts and the time left on a terminal, and prints nothing elsewhere."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import write_checkpoint
from lora_adapters import KINDS, write_adapter

from qwen3cpu.loading import open as loader
from qwen3cpu.loading.open import open_checkpoint
from qwen3cpu.system.progress_bar import Progress

ROOT = Path(loader.__file__).parents[2]


def on_a_terminal(code: str, *arguments: object) -> str:
    """Return what Python code writes to a stderr that is a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stderr=theirs, stdin=subprocess.DEVNULL, env=environment
    )
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:
        pass  # Linux reports the end of a terminal as an error
    os.close(ours)
    assert process.wait() == 0, shown
    return shown.decode()


BAR = (
    "from qwen3cpu.system.progress_bar import Progress\n"
    "with Progress('Reading the prompt', 40, 'tokens') as progress:\n"
    "    for _ in range(4): progress.advance(10)\n"
)


def test_counts_on_a_terminal() -> None:
    shown = on_a_terminal(BAR)
    assert "Reading the prompt" in shown
    assert "40/40 tokens 0:00:00" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)  # without colours


BESIDE = (
    "import time\nfrom qwen3cpu.system.progress_bar import Progress\n"
    "with Progress('Packing', 40) as progress:\n"
    "    with progress.beside('model-00001', 70) as show: show(35); time.sleep(0.3)\n"
)


def test_a_second_bar_on_a_terminal() -> None:
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", on_a_terminal(BESIDE))
    assert "Packing" in shown
    assert "35/70 bytes" in shown
    with Progress("Packing", 40) as progress, progress.beside("model-00001", 70) as show:
        show(35)  # nothing to see, and no error


def test_bytes_of_a_merge_on_a_terminal(tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base")
    write_adapter(tmp_path / "adapter", base.config, KINDS["plain"], seed=3)
    shown = on_a_terminal(
        "import sys\nfrom pathlib import Path\nimport qwen3cpu\n"
        "qwen3cpu.merge(*(Path(sys.argv[1]) / name for name in ('base', 'adapter', 'out')))\n",
        tmp_path,
    )
    assert "Merging into out" in shown
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    done, total = re.findall(r"([\d.]+)/([\d.]+) [kMG]B", plain)[-1]
    assert done == total


def test_bytes_of_a_load_on_a_terminal(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    shown = on_a_terminal(
        "import sys\nfrom qwen3cpu.loading.open import open_checkpoint\nopen_checkpoint(sys.argv[1], threads=1)\n",
        tmp_path,
    )
    assert "Packing" in shown
    assert "100%" in shown or "kB" in shown
    assert "/s" in shown


def test_silent_elsewhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(tmp_path)
    with Progress("Packing", None) as progress:
        open_checkpoint(tmp_path, threads=1, progress=progress)
    open_checkpoint(tmp_path, threads=1)
    assert capfd.readouterr() == ("", "")


def test_counts_what_is_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The announced total is the sum of the steps; otherwise the time left would be wrong."""
    write_checkpoint(tmp_path, shards=2, tie_word_embeddings=False)
    done: list[int] = []
    totals: list[int | None] = []
    monkeypatch.setattr(Progress, "advance", lambda self, n: done.append(n))
    monkeypatch.setattr(Progress, "start", lambda self, description, total, unit: totals.append(total))
    open_checkpoint(tmp_path, threads=1)
    assert totals == [sum(done)]
