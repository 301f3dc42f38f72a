"""The place of an output: only an earlier output of the same form is replaced."""

import os

import pytest

from qwen3cpu.errors import ArgumentError
from qwen3cpu.system.outputs import check_output


def check(path, inputs=()):
    check_output("--output", path, "a list", (b"LIST", b"list"), inputs)


def test_free_places_and_earlier_outputs_are_accepted(tmp_path):
    for name, content in (("new", None), ("empty", b""), ("one", b"LIST 1"), ("other", b"list 2")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        check(tmp_path / name, [tmp_path / "absent", "-"])


def test_everything_else_is_refused_and_named(tmp_path):
    (tmp_path / "text").write_bytes(b"a text")
    (tmp_path / "own").write_bytes(b"LIST")
    os.link(tmp_path / "own", tmp_path / "hard")
    (tmp_path / "link").symlink_to(tmp_path / "own")
    (tmp_path / "loose").symlink_to(tmp_path / "absent")
    os.mkfifo(tmp_path / "fifo")
    device = "a device, a pipe or a socket"
    for name, inputs, found in (
        ("text", (), "something else"),
        ("own", [tmp_path / "own"], "the input"),
        ("hard", [tmp_path / "own"], "the input"),
        ("link", (), "a link"),
        ("loose", (), "a link"),
        ("fifo", (), device),
        ("/dev/null", (), device),
        (".", (), "a folder"),
    ):
        path = tmp_path / name
        with pytest.raises(ArgumentError) as caught:
            check(path, inputs)
        assert str(caught.value) == f"--output: expected no file or a list to replace, found {found} at {path}"
    with pytest.raises(ArgumentError, match="cannot be written: No such file or directory"):
        check(tmp_path / "none" / "file")
