"""Completions in the chat: commands, their arguments, paths and names of models."""

import pytest

pytest.importorskip("prompt_toolkit", reason="completion needs the extra [chat]")
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from qwen3cpu.cli.chat.commands import COMMANDS
from qwen3cpu.cli.chat.completion import ChatCompleter


def completed(text):
    """The whole lines that are offered."""
    found = ChatCompleter().get_completions(Document(text, len(text)), CompleteEvent())
    return [text[: len(text) + each.start_position] + each.text for each in found]


def test_commands():
    assert completed("/") == [command.names[0] for command in COMMANDS]
    assert completed("/ex") == ["/exit", "/export"]
    assert completed("/nope") == []


@pytest.mark.parametrize("text", ["", "hello /", "tell me\n/th", "/a\n/th", "/tokens ", "/nope x"])
def test_what_is_not_completed(text):
    assert completed(text) == []


def test_words_behind_a_command():
    assert completed("/think ") == ["/think on", "/think off", "/think auto"]
    assert completed("/think A") == ["/think auto"]


def test_paths(tmp_path):
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "two words").mkdir()
    assert completed(f"/file {tmp_path}/") == [f"/file {tmp_path}/notes.md", f"/file {tmp_path}/two words"]
    assert completed(f"/export {tmp_path}/no") == [f"/export {tmp_path}/notes.md"]


@pytest.mark.parametrize(
    ("variable", "below"), [("HF_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")]
)
def test_models(monkeypatch, tmp_path, variable, below):
    for each in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    (tmp_path / below / "models--Qwen--Qwen3-0.6B").mkdir(parents=True)
    offered = completed("/model ")
    assert {"/model Qwen/Qwen3-0.6B", "/model 1.7B", "/model tiny", "/model tiny-embedding"} <= {*offered}
    assert offered == sorted(offered)
    assert completed("/model qwen/") == ["/model Qwen/Qwen3-0.6B"]
    assert f"/model {tmp_path}/{below.partition('/')[0] or 'models--Qwen--Qwen3-0.6B'}" in completed(
        f"/model {tmp_path}/"
    )
