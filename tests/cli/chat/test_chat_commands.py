"""The commands of a chat: their effects, and that each reports to a user who types."""

import base64
import json
import resource
from types import SimpleNamespace

import pytest
from scripted_models import script, write_scripted

import qwen3cpu
from qwen3cpu.cli.chat import clipboard
from qwen3cpu.cli.chat.attachments import Attachment, attach, with_files
from qwen3cpu.cli.chat.commands import COMMANDS, handle
from qwen3cpu.cli.chat.exports import as_markdown
from qwen3cpu.cli.chat.loop import ChatLoop
from qwen3cpu.cli.chat.multiline import is_open, without_quotes
from qwen3cpu.cli.chat.state import Chat
from qwen3cpu.errors import ArgumentError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Thinks "ab" before it answers "XYZ"."""
    follows = script(["\n", "<think>", "a", "b", "</think>", "X", "Y", "Z", "<|im_end|>"])
    return write_scripted(tmp_path_factory.mktemp("thinker"), follows, max_position_embeddings=400)


@pytest.fixture(scope="module")
def model(folder):
    return qwen3cpu.load(folder, quant="f32", threads=1)


@pytest.fixture
def chat(model):
    return Chat(model, model.chat(temperature=0.5), interactive=True, open_model=qwen3cpu.load)


@pytest.fixture
def told(chat, capsys):
    """Type lines in a chat. Returns what goes to stdout and stderr."""

    def type_in(*lines):
        for line in lines:
            handle(chat, line)
        return capsys.readouterr()

    return type_in


@pytest.mark.parametrize(
    ("line", "thinking"),
    [
        ("/think on", True),
        ("/think off", False),
        ("/think auto", "auto"),
        ("/think", True),
        ("/no_think", False),
        ("/nothink", False),
        ("/auto", "auto"),
    ],
)
def test_thinking_is_switched(chat, told, line, thinking):
    told("/think off" if thinking is True else "/think on")
    assert told(line).err.startswith("thinking: ")
    assert chat.conversation.options["thinking"] == thinking
    assert chat.conversation.messages == []


def test_a_message_behind_the_switch_is_sent(chat, told):
    assert told("/think of a number").out.endswith("XYZ\n")
    assert chat.conversation.messages[0] == {"role": "user", "content": "of a number"}


@pytest.mark.parametrize("line", ["/bye", "/exit", "/quit"])
def test_leaving(chat, told, line):
    assert told(line).err == "bye\n"
    assert chat.ended


def test_every_command_is_listed(told):
    for line in ("/?", "/help"):
        listed = told(line).out
        assert all(f"  {command.names[0]} " in listed for command in COMMANDS)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/thnik on", "unknown command /thnik; did you mean /think?"),
        ("/xyzzy", "unknown command /xyzzy; /? lists them"),
        ("/budget much", "/budget: expected a whole number of tokens, found 'much'"),
        ("/save", "/save: expected the name of a file, found none"),
        ("/export notes.docx", "/export: expected a file that ends in .md, .txt or .json, found 'notes.docx'"),
        ("/copy", "/copy: expected an answer, found none"),
    ],
)
def test_what_is_refused(chat, line, message):
    with pytest.raises(qwen3cpu.ArgumentError) as refused:
        handle(chat, line)
    assert str(refused.value) == message


@pytest.mark.parametrize("line", ["/usr/bin/ls?", "/*\n a comment\n */", "/nope\nnope"])
def test_what_is_a_message_though_it_begins_with_a_slash(chat, told, line):
    told(line)
    assert chat.conversation.messages[0]["content"] == line


def test_every_change_is_confirmed(chat, told, tmp_path):
    assert "is set" in told("/system be kind").err
    assert told("/system").out == "be kind\n"
    assert told("/budget 3").err == "at most 3 tokens of thinking\n"
    assert told("/budget").err == "no limit of thinking\n"
    told("hello")
    assert told("/reasoning").out == "ab\n"
    assert "saved to" in told(f"/save {tmp_path}/kept").err
    assert told("/clear").err == "forgot the conversation; the system message stays\n"
    assert [message["role"] for message in chat.conversation.messages] == ["system"]
    assert "no answer" in told("/reasoning").out
    assert "loaded 3 messages" in told(f"/load {tmp_path}/kept").err
    assert told("/retry").out.endswith("XYZ\n")
    assert told("/tokens").out.endswith(" of 400 positions in use\n")


def test_a_pipe_is_told_nothing(chat, told):
    chat.interactive = False
    assert told("/think off", "/budget 3", "/system x", "/reset").err == ""
    assert told("/nope").out.endswith("XYZ\n")  # a message, for a pipe


def test_a_file_goes_with_the_next_message(chat, model, told, tmp_path):
    file = tmp_path / "notes.md"
    file.write_text("\ufeffone ```` two\n")
    tokens = len(model.tokenizer.encode("one ```` two"))
    shown = told(f"/file {file}")
    assert shown.out == f"notes.md: {tokens} tokens\n"
    assert shown.err == f"{tokens} tokens of files go with the next message; the context has 400\n"
    assert told("/file").out == f"notes.md: {tokens} tokens\n"
    told("what is it?")
    assert chat.conversation.messages[0]["content"] == "File notes.md:\n`````\none ```` two\n`````\n\nwhat is it?"
    assert told("/file").err == "no files go with the next message\n"
    told(f"/file {file}")
    assert told("/clear").err == "forgot the conversation and 1 files\n"
    assert chat.files == []


@pytest.mark.parametrize("name", ["two words.md", "'two words.md'", "two\\ words.md", '"two words.md"', "it's.md"])
def test_names_of_files_as_terminals_write_them(chat, told, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two words.md").write_text("x")
    (tmp_path / "it's.md").write_text("x")
    told(f"/file {name}")
    assert len(chat.files) == 1


def test_files_of_a_refused_message_stay(chat, told):
    chat.files = [Attachment("x", "word " * 300, 300)]
    with pytest.raises(qwen3cpu.ContextLengthError):
        told("hello")
    assert len(chat.files) == 1


def test_files_that_cannot_go(model, tmp_path):
    (tmp_path / "zeros").write_bytes(b"a\0b")
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "long").write_text("word " * 500)
    (tmp_path / "huge").write_text("x" * (400 * 64 + 1))
    for name, words in (
        ("none", "No such file or directory"),
        (".", "expected a regular file"),
        ("zeros", "expected a text or a PDF, found a binary file"),
        ("latin", "expected UTF-8, found byte 0xe9 at 3"),
        ("empty", "expected a text, found none"),
        ("long", "expected fewer than 400 tokens, the context, found "),
        ("huge", "expected at most 400 tokens, found 25601 characters"),
    ):
        with pytest.raises(qwen3cpu.ArgumentError) as refused:
            attach(tmp_path / name, model)
        assert words in str(refused.value)


def test_a_message_without_files_is_as_it_is():
    assert with_files([], "hello") == "hello"


def test_another_model_goes_on(chat, told, tmp_path_factory):
    follows = script(["\n", "Q", "<|im_end|>"])
    other = write_scripted(tmp_path_factory.mktemp("other"), follows, max_position_embeddings=400)
    before = chat.model = qwen3cpu.load(chat.model.source, quant="f32", threads=1)
    chat.conversation = before.chat("be kind", thinking=False, seed=5)
    told("hello")
    assert told("/model").out == f"{before.source}\n"
    assert told(f"/model {other}").err.endswith("goes on with the conversation\n")
    assert [message["role"] for message in chat.conversation.messages] == ["system", "user", "assistant"]
    assert chat.conversation.options == {"thinking": False, "seed": 5}
    assert told("and you?").out == "Q\n"
    with pytest.raises(qwen3cpu.ClosedModelError):
        before.generate("x")
    last = chat.model
    with pytest.raises(qwen3cpu.CheckpointError):
        told("/model /no/such/model")
    assert chat.model is last


def test_export(chat, told, tmp_path):
    told("/system be kind", "hello")
    assert told(f"/export {tmp_path}/a.md").err == f"wrote 3 messages to {tmp_path}/a.md\n"
    expected = "## System\n\nbe kind\n\n## User\n\nhello\n\n## Assistant\n\n> ab\n\nXYZ\n"
    assert (tmp_path / "a.md").read_text() == expected
    told(f"/export {tmp_path}/a.json")
    kept = json.loads((tmp_path / "a.json").read_text())
    assert kept == {"model": chat.model.source, "messages": chat.conversation.messages}
    with pytest.raises(qwen3cpu.ArgumentError, match="is there already"):
        told(f"/export {tmp_path}/a.md")
    with pytest.raises(qwen3cpu.ArgumentError, match="cannot be written: No such file"):
        told(f"/export {tmp_path}/none/a.md")


def test_calls_in_an_export():
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    messages = [{"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": "1"}]
    assert as_markdown(messages) == '## Assistant\n\n`add({"a": 1})`\n\n## Tool\n\n1\n'


class Screen:
    """A terminal that records the output."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


def test_copy_asks_the_terminal(chat, told, monkeypatch):
    told("hello")
    with pytest.raises(qwen3cpu.ArgumentError, match="expected a terminal"):
        told("/copy")
    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("SSH_CONNECTION", "1")
    handle(chat, "/copy")
    assert screen.text == f"\x1b]52;c;{base64.b64encode(b'XYZ').decode()}\x07"


def test_copy_with_a_program(tmp_path):
    program = tmp_path / "xclip"
    program.write_text(f'#!/bin/sh\ncat > {tmp_path}/copied\necho "$@" >> {tmp_path}/copied\n')
    program.chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    assert clipboard.copy("a\nb ", Screen(), {"DISPLAY": ":0", "PATH": path}) == "xclip"
    assert (tmp_path / "copied").read_text() == "a\nb -selection clipboard\n"
    program.write_text("#!/bin/sh\nexit 1\n")
    screen = Screen()
    for environment in ({"DISPLAY": ":0"}, {}, {"DISPLAY": ":0", "SSH_CONNECTION": "1"}):
        assert "OSC 52" in clipboard.copy("a", screen, {"PATH": path, **environment})
    assert screen.text == "\x1b]52;c;YQ==\x07" * 3


@pytest.mark.parametrize(
    ("text", "is_begun", "message"),
    [
        ("hello", False, "hello"),
        ('"""', True, '"""'),
        ('"""a', True, '"""a'),
        ('"""a\nb"""', False, "a\nb"),
        ('  """\na\n"""  ', False, "a"),
        ('say """a""" twice', False, 'say """a""" twice'),
        ('"""a""" b', False, '"""a""" b'),
        ('""""', True, '""""'),
    ],
)
def test_quotes_around_several_lines(text, is_begun, message):
    assert (is_open(text), without_quotes(text)) == (is_begun, message)


@pytest.mark.parametrize("command", ["/file", "/export", "/save", "/load"])
@pytest.mark.parametrize(
    "name",
    ["~nosuchuser/x.md", "'~nosuchuser/x.md'", "a\0b.md", "x" * 5000 + ".md"],
    ids=["nobody", "quotes", "NUL", "long"],
)
def test_a_bad_path_is_one_line_and_the_chat_goes_on(chat, capsys, monkeypatch, command, name):
    lines = iter([f"{command} {name}", "/budget " + "9" * 5000, "/budget 7"])
    loop = ChatLoop(chat)
    monkeypatch.setattr(loop, "_reader", SimpleNamespace(read=lambda: next(lines, None)))
    loop.run()
    error, budget, confirmed = capsys.readouterr().err.splitlines()
    assert ": expected a path" in error or "cannot be" in error or "No such file" in error
    assert budget.startswith("/budget: expected a number of at most 9 digits, found 5000")
    assert confirmed == "at most 7 tokens of thinking"


def test_an_export_that_does_not_fit_leaves_no_file(chat, told, tmp_path):
    told("hello " * 20)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, limits[1]))
    try:
        with pytest.raises(ArgumentError, match=r"/export: .*a\.md: cannot be written: File too large"):
            handle(chat, f"/export {tmp_path}/a.md")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [*tmp_path.iterdir()] == []
