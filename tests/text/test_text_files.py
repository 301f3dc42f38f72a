"""Text files that a user names: which are read, and which are refused at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from qwen3cpu.errors import ArgumentError
from qwen3cpu.text import text_files
from qwen3cpu.text.text_files import read_text_file

TEXT = "naïve\nlines"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_file_and_a_pipe(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "text"
    path.write_bytes(mark + TEXT.encode())
    assert read_text_file(path, "the text") == TEXT
    reading, writing = os.pipe()
    os.write(writing, mark + TEXT.encode())
    os.close(writing)
    assert read_text_file(Path(f"/dev/fd/{reading}"), "the text") == TEXT  # the form in which bash passes <(...)
    os.close(reading)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "text").touch()
    assert read_text_file(tmp_path / "text", "the text") == ""


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda path: None, "cannot be read: No such file"),
    "folder": (Path.mkdir, "cannot be read: Is a directory"),
    "FIFO": (os.mkfifo, "expected a text, found a FIFO that nobody writes to"),
    "zeros without end": (lambda path: path.symlink_to("/dev/zero"), "expected a text of at most 1000 bytes"),
    "Latin-1": (lambda path: path.write_bytes(b"caf\xe9"), "expected UTF-8, found byte 0xe9 at 3"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_text(tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "LONGEST", 1000)
    make, message = REFUSED[case]
    make(tmp_path / "text")
    with pytest.raises(ArgumentError, match=f"^the text: {message}"):
        read_text_file(tmp_path / "text", "the text")
