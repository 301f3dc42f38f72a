"""The editor: a paste is one message, several lines, history, completion."""

import stat

import pytest

pytest.importorskip("prompt_toolkit", reason="the editor needs the extra [chat]")
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from qwen3cpu.cli.chat.editor import Editor
from qwen3cpu.cli.chat.history import PrivateHistory, history_file


@pytest.fixture
def typed():
    """Press keys in an editor. Returns the messages that it reads."""

    def read(keys, history=False, messages=1):
        with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
            pipe.send_bytes(keys if isinstance(keys, bytes) else keys.encode())
            editor = Editor(history=history, keys=pipe, screen=DummyOutput())
            found = [editor.read() for _ in range(messages)]
        return found[0] if messages == 1 else found

    return read


def test_a_line(typed):
    assert typed("hello\r") == "hello"
    assert typed("hello\n") == "hello"


def test_a_paste_is_one_message(typed):
    assert typed("\x1b[200~one\ntwo\r\nthree\x1b[201~ and more\r") == "one\ntwo\nthree and more"


def test_several_lines(typed):
    assert typed("one\x1b\rtwo\r") == "one\ntwo"
    assert typed('"""one\rtwo\r"""\r') == "one\ntwo"
    assert typed('"""one"""\r') == "one"


def test_ctrl_c_forgets_what_was_typed_and_then_interrupts(typed):
    assert typed("hello\x03world\r") == "world"
    with pytest.raises(KeyboardInterrupt):
        typed("\x03")


def test_ctrl_d_is_the_end(typed):
    assert typed("\x04") is None


def test_bytes_that_are_no_text(typed):
    assert typed(b"a\xffb\r") == "a?b"


def test_history_goes_on_in_the_next_conversation(typed, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert typed("hello there\r", history=True) == "hello there"
    assert typed("\x1b[A!\r", history=True) == "hello there!"
    file = history_file()
    assert file == tmp_path / "qwen3cpu" / "chat_history"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert typed("\x1b[A\r", history=False) == ""


def test_history_is_made_private_and_kept_short(tmp_path):
    file = tmp_path / "history"
    entry = "\n# 2026-01-01 00:00:00\n+{}\n"
    file.write_text("".join(entry.format(f"message {number}" + "x" * 1000) for number in range(1100)))
    file.chmod(0o644)
    kept = list(PrivateHistory(file).load_history_strings())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert 400 < len(kept) < 600
    assert kept[0] == "message 1099" + "x" * 1000


def test_history_that_cannot_be_kept(typed, monkeypatch, tmp_path, capsys):
    (tmp_path / "qwen3cpu").write_text("a file")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert typed("hello\r", history=True) == "hello"
    assert "what is typed is not kept" in capsys.readouterr().err


def test_a_full_disk_does_not_end_the_conversation(tmp_path):
    history = PrivateHistory(tmp_path / "history")
    (tmp_path / "history").unlink()
    (tmp_path / "history").mkdir()
    history.append_string("hello")
    assert history.get_strings() == ["hello"]
