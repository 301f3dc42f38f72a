"""`qwen3cpu chat --mcp`: a terminal asks before each call, a pipe makes none unless it may."""

from __future__ import annotations

import importlib.util
import io
import json
import signal
import sys
import time
from pathlib import Path

import checkpoints
import pytest
from children import TOLD, is_alive, servers_of
from cli_runs import Terminal, run_here, start
from dictation import dictate
from scripted_models import script, write_scripted

import qwen3cpu
from qwen3cpu.cli.chat import command, loop, multiline, turns
from qwen3cpu.cli.chat.multiline import HINT
from qwen3cpu.generation.mcp_servers import NOT_ALLOWED

# This is not importorskip, because the import takes 0.6 s in each process that collects tests.
pytestmark = pytest.mark.skipif(importlib.util.find_spec("mcp") is None, reason="MCP servers need the extra [mcp]")
SERVER = Path(__file__).parents[2] / "support" / "mcp_tools_plain.py"
ADD = '<tool_call>\n{"name": "add", "arguments": {"a": 17, "b": 25}}\n</tool_call>'


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = checkpoints.write_checkpoint(tmp_path_factory.mktemp("model"), max_position_embeddings=8192).folder
    return qwen3cpu.load(folder, quant="f32", threads=1, prefix_cache=0)


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps({"mcpServers": {"things": {"command": sys.executable, "args": [str(SERVER)]}}}))
    return file


@pytest.fixture
def talk(monkeypatch, model, config):
    """Let the model say outputs, one by one. Returns its last prompt, and the printed text."""

    def start(lines, *outputs, flags=(), typed=None):
        seen = []

        class Noted(loop.ChatLoop):
            def run(self):
                seen.append(self.chat.conversation)
                super().run()

        monkeypatch.setattr(loop, "ChatLoop", Noted)
        monkeypatch.setattr(command, "open_model", lambda args: model)
        stdin = io.StringIO("".join(f"{line}\n" for line in lines))
        if typed is not None:
            stdin.isatty = lambda: True
            asked = []

            def reply(question=""):
                asked.append(question)
                if question == multiline.PROMPT:
                    if not lines:
                        raise EOFError
                    return lines.pop(0)
                return typed.pop(0)

            monkeypatch.setattr("builtins.input", reply)
        monkeypatch.setattr(sys, "stdin", stdin)
        dictate(monkeypatch, model, *outputs)
        done = run_here("chat", "--mcp", config, *flags)
        told = [message["content"] for message in seen[0].messages if message["role"] == "tool"]
        return done, told, [] if typed is None else [each for each in asked if each != multiline.PROMPT]

    return start


def test_on_a_pipe_no_call_is_made(talk):
    done, told, _ = talk(["17 + 25?"], ADD, "I cannot.")
    assert told == [NOT_ALLOWED]
    assert "add was not called, because there is nobody to ask; --mcp-allow makes all calls" in done.stderr
    assert (done.stdout.endswith("I cannot.\n"), done.returncode) == (True, 0)


def test_on_a_pipe_that_may(talk):
    done, told, _ = talk(["17 + 25?"], ADD, "42.", flags=["--mcp-allow"])
    assert (told, done.stderr, done.returncode) == (["42"], "", 0)
    assert done.stdout.endswith("[call] add(a=17, b=25)\n42.\n")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["n", "yes"], [NOT_ALLOWED, "42"]),
        (["what", "", "always"], ["42", "42"]),
    ],
    ids=str,
)
def test_a_terminal_asks(talk, typed, expected):
    questions = len(typed)
    _, told, asked = talk(["17 + 25?", "again"], ADD, "Yes.", ADD, "Yes.", typed=typed)
    assert told == expected
    assert asked == ["call add(a=17, b=25) of things? [y]es, [n]o, [a]lways this tool: "] * questions


@pytest.mark.heavy
def test_a_call_cannot_steer_the_terminal(talk):
    escape = '<tool_call>\n{"name": "fail", "arguments": {"reason": "\\u001b[2Jgone"}}\n</tool_call>'
    _, told, asked = talk(["x"], escape, "So.", typed=["n"])
    assert told == [NOT_ALLOWED]
    assert "\x1b" not in asked[0]


@pytest.mark.heavy
def test_calls_without_end_are_stopped(talk, monkeypatch):
    monkeypatch.setattr(turns, "MOST_STEPS", 3)
    done, told, _ = talk(["x"], *[ADD] * 9, flags=["--mcp-allow"])
    assert told == ["42"] * 3
    assert "stopped after 3 answers with calls" in done.stderr


def test_a_malformed_call_is_told(talk):
    wrong = '<tool_call>\n{"name": "subtract", "arguments": {}}\n</tool_call>'
    _, told, _ = talk(["x"], wrong, "Sorry.", flags=["--mcp-allow"])
    assert told[0].startswith("Error: name: expected one of the tools")


def test_ctrl_c_in_a_question_leaves_a_history_that_goes_on(talk, monkeypatch):
    from qwen3cpu.cli import mcp

    monkeypatch.setattr(mcp.Asking, "__call__", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    _, told, _ = talk(["x", "y"], ADD, "Hello.", typed=[])
    assert told == ["Error: stopped by the user"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected JSON"),
        ('{"mcpServers": {"x": {"command": "/no/such/program"}}}', "the command '/no/such/program' cannot be started"),
        (None, "cannot be read"),
    ],
)
def test_what_is_wrong_is_one_line(monkeypatch, model, tmp_path, content, message):
    monkeypatch.setattr(command, "open_model", lambda args: model)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    file = tmp_path / "mcp.json"
    if content is not None:
        file.write_text(content)
    done = run_here("chat", "--mcp", file)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--mcp-allow"], "--mcp-allow: needs --mcp"),
        (["--mcp", "x.json", "--mcp-timeout", "0"], "--mcp-timeout: expected a number of seconds above 0, found 0.0"),
        (["--mcp", "x.json", "--mcp-timeout", "nan"], "--mcp-timeout: expected a number of seconds above 0, found nan"),
    ],
    ids=str,
)
def test_flags_are_checked(monkeypatch, flags, message):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    done = run_here("chat", *flags)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.fixture(scope="module")
def speaker(tmp_path_factory):
    """Says X to everything."""
    return write_scripted(tmp_path_factory.mktemp("speaker"), script(["\n", "X", "<|im_end|>"]))


@pytest.mark.heavy
@pytest.mark.parametrize("keys", ["\x03\x03", "x\n\x04"])
def test_servers_are_gone_when_the_conversation_ends(speaker, config, keys):
    with Terminal("chat", "-m", speaker, "--mcp", config, "--thinking", "off") as terminal:
        found: list[int] = []
        for key in keys.split("\n") if "\n" in keys else keys:
            terminal.wait_for_prompt(HINT)
            found = found or servers_of(terminal.process.pid)
            terminal.type(f"{key}\n" if key == "x" else key)
        _, code = terminal.end()
    assert code == 0
    assert found or not TOLD
    assert not any(is_alive(each) for each in found)


@pytest.mark.heavy
@pytest.mark.skipif(not TOLD, reason="the system does not tell which processes a process has started")
def test_servers_are_gone_after_ctrl_c_on_a_pipe(speaker, config):
    with start("chat", "-m", speaker, "--mcp", config) as process:
        while not (found := servers_of(process.pid)) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130
    assert not any(is_alive(each) for each in found)
