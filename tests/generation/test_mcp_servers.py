"""Tools of MCP servers, of a real one and of one that starts faster: calls, errors, and the end of processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import checkpoints
import pytest
from children import is_alive, servers_of
from cli_runs import environment
from dictation import dictate

import qwen3cpu
from qwen3cpu.errors import ArgumentError, McpServerError
from qwen3cpu.generation.mcp_servers import NOT_ALLOWED, McpServers, result_text
from qwen3cpu.text.tool_calls import ToolCall

SUPPORT = Path(__file__).parents[1] / "support"
SERVER = SUPPORT / "mcp_tools.py"


def config(*arguments, **more):
    """A server made with the official package."""
    return {"command": sys.executable, "args": [str(SERVER), *arguments], **more}


def plain(*arguments, **more):
    """A server that imports no package, for tests of the client's side."""
    return {"command": sys.executable, "args": [str(SUPPORT / "mcp_tools_plain.py"), *arguments], **more}


def servers(**options):
    pytest.importorskip("mcp", reason="MCP servers need the extra [mcp]")
    entries = options.pop("entries", {"things": plain()})
    return McpServers({"mcpServers": entries}, **options)


def call(running, name, **arguments):
    tool = next(tool for tool in running.tools if tool.name == name)
    return running.call(tool, ToolCall(name, arguments))


@contextlib.contextmanager
def none_left():
    """Checks that no more servers run at the end than at the beginning, if the system tells."""
    before = servers_of(os.getpid())
    yield
    assert servers_of(os.getpid()) == before


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = checkpoints.write_checkpoint(tmp_path_factory.mktemp("model"), max_position_embeddings=8192).folder
    return qwen3cpu.load(folder, quant="f32", threads=1, prefix_cache=0)


@pytest.fixture(scope="module")
def things():
    """A server for all tests that do not change it."""
    with servers(entries={"things": config()}) as running:
        yield running


def written(name, **arguments):
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def test_tools_are_listed_and_called(things):
    assert [tool.name for tool in things.tools] == ["add", "fail", "die", "hang", "picture", "process"]
    description = things.tools[0].description["function"]
    assert description["description"] == "Add two numbers."
    assert set(description["parameters"]["properties"]) == {"a", "b"}
    assert call(things, "add", a=17, b=25) == "42"


def test_a_run_has_functions_and_servers(monkeypatch, model):
    def double(number: int) -> int:
        """Twice a number."""
        return 2 * number

    dictate(monkeypatch, model, written("add", a=1, b=2) + written("double", number=4), "3 and 8.")
    tools = servers()
    run = model.run("x", tools=[double, tools], seed=1)
    assert [message["content"] for message in run.messages if message["role"] == "tool"] == ["3", "8"]
    assert run.text == "3 and 8."
    assert tools.tools == ()


def test_servers_that_run_go_on_running(monkeypatch, model, things):
    first = call(things, "process")
    dictate(monkeypatch, model, written("process"), "So.")
    run = model.run("x", tools=[things], seed=1)
    assert run.messages[2]["content"] == call(things, "process") == first
    with pytest.raises(ArgumentError, match="already running"):
        things.__enter__()


def test_processes_are_gone_and_get_their_environment_only(monkeypatch):
    monkeypatch.setenv("SECRET", "hidden")
    with servers(entries={"things": plain(env={"GREETING": "hello"})}) as running:
        process, greeting, secret = call(running, "process").split()
        assert (greeting, secret) == ("hello", "None")
        assert is_alive(int(process))
    assert not is_alive(int(process))


@pytest.mark.heavy
def test_equal_names_get_the_name_of_their_server():
    entries = {"one": config(), "two": config("hello")}
    with servers(entries=entries) as running:
        names = [tool.name for tool in running.tools]
        assert "one_add" in names
        assert "two_add" in names
        assert "hello" in names
        assert call(running, "two_add", a=1, b=1) == "2"
        assert call(running, "hello") == "again"


def test_an_error_of_a_tool_is_told(things):
    assert call(things, "fail", reason="no such thing") == "Error: Error executing tool fail: no such thing"
    assert call(things, "add", a="many", b=1).startswith("Error: ")
    assert call(things, "add", a=1, b=1) == "2"


def test_images_are_named(things):
    expected = "a dot\n[image of type image/png, 100 bytes, which cannot be shown to the model]"
    assert call(things, "picture") == expected


def test_what_a_model_is_shown_of_results():
    types = pytest.importorskip("mcp.types", reason="MCP servers need the extra [mcp]")
    link = types.ResourceLink(name="a", uri="file:///a", type="resource_link")
    text = types.TextResourceContents(uri="file:///b", text="inside")
    blob = types.BlobResourceContents(uri="file:///c", blob="AAAA")
    content = [link, *(types.EmbeddedResource(type="resource", resource=each) for each in (text, blob))]
    content.append(types.AudioContent(type="audio", data="AAA=", mime_type="audio/wav"))
    assert result_text(types.CallToolResult(content=content)).split("\n") == [
        "[resource file:///a]",
        "inside",
        "[resource file:///c, which is not text]",
        "[audio of type audio/wav, 2 bytes, which cannot be shown to the model]",
    ]
    structured = types.CallToolResult(content=[], structured_content={"sum": 42})
    assert result_text(structured) == '{"sum": 42}'
    assert result_text(types.CallToolResult(content=[], is_error=True)) == "Error: the tool failed"
    assert result_text(types.CallToolResult(content=[])) == ""


@pytest.mark.parametrize(
    ("transport", "path", "more"),
    [
        ("streamable-http", "mcp", {}),
        ("streamable-http", "mcp", {"headers": {"Authorization": "Bearer x"}}),
        ("sse", "sse", {"type": "sse", "headers": {"Authorization": "Bearer x"}}),
    ],
    ids=str,
)
def test_a_server_that_runs_already(transport, path, more):
    pytest.importorskip("mcp", reason="MCP servers need the extra [mcp]")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    entry = {"url": f"http://127.0.0.1:{port}/{path}", **more}
    command = [sys.executable, str(SERVER), "--serve", transport, str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            while server.poll() is None:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.05)
            with servers(entries={"things": entry}) as running:
                assert call(running, "add", a=17, b=25) == "42"
                process = int(call(running, "process").split()[0])
            assert process == server.pid
            assert server.poll() is None
        finally:
            server.kill()


def test_a_server_that_dies_is_told_with_its_last_words(monkeypatch, model):
    with servers() as running:
        with pytest.raises(McpServerError, match=r"MCP server 'things': .*; it said: out of memory"):
            call(running, "die")
        with pytest.raises(McpServerError, match="MCP server 'things'"):
            call(running, "add", a=1, b=1)
        dictate(monkeypatch, model, written("add", a=1, b=2), "Sorry.")
        run = model.run("x", tools=[running], seed=1)
        assert run.messages[2]["content"].startswith("Error: McpServerError: MCP server 'things'")
        assert run.text == "Sorry."


@pytest.mark.heavy
def test_a_call_that_hangs_ends_in_time():
    expected = "MCP server 'things': hang has not answered within 1 seconds"
    slow = servers(entries={"things": config()}, timeout=1)
    with none_left(), slow as running, pytest.raises(McpServerError, match=expected):
        call(running, "hang")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"command": "/no/such/program"},
            r"MCP server 'bad': the command '/no/such/program' cannot be started: No such",
        ),
        (plain("--end", "no licence"), r"MCP server 'bad': .*; it said: no licence"),
        ({"url": "http://127.0.0.1:9/mcp"}, "MCP server 'bad': "),
    ],
    ids=str,
)
def test_a_server_that_does_not_start_is_named_and_no_other_is_left(entry, message):
    with none_left(), pytest.raises(McpServerError, match=message):
        servers(entries={"things": plain(), "bad": entry}).__enter__()


@pytest.mark.heavy
def test_a_server_that_is_never_ready():
    expected = "MCP server 'slow' is not ready within 1 seconds"
    with none_left(), pytest.raises(McpServerError, match=expected):
        servers(entries={"slow": config("--hang")}, start_timeout=1).__enter__()


def test_calls_may_be_disapproved_of():
    asked = []

    def approve(tool, arguments):
        asked.append((tool.server, tool.own_name, dict(arguments)))
        return arguments["a"] == 1

    with servers(approve=approve) as running:
        assert call(running, "add", a=1, b=1) == "2"
        assert call(running, "add", a=2, b=1) == NOT_ALLOWED
    assert asked == [("things", "add", {"a": 1, "b": 1}), ("things", "add", {"a": 2, "b": 1})]


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "5", True, None])
def test_timeouts_are_checked(timeout):
    for name in ("timeout", "start_timeout"):
        with pytest.raises(ArgumentError, match=f"^{name}: expected a number of seconds above 0"):
            servers(**{name: timeout})


def test_a_missing_package_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ArgumentError, match=r"MCP servers need the package mcp .*: pip install 'qwen3cpu\[mcp\]'"):
        McpServers({"mcpServers": {"a": config()}})


PROGRAM = """
import sys
from qwen3cpu.generation.mcp_servers import McpServers
from qwen3cpu.text.tool_calls import ToolCall

running = McpServers(sys.argv[1])
running.__enter__()
tools = {tool.name: tool for tool in running.tools}
print(running.call(tools["process"], ToolCall("process", {})).split()[0], flush=True)
if sys.argv[2] == "hang":
    with running.running():
        running.call(tools["hang"], ToolCall("hang", {}))
"""


@pytest.mark.heavy
@pytest.mark.parametrize("how", ["end", "interrupt"])
def test_no_process_is_left_behind(tmp_path, how):
    """The program ends without closing its servers, or through Ctrl-C during a call."""
    pytest.importorskip("mcp", reason="MCP servers need the extra [mcp]")
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps({"mcpServers": {"things": config()}}))
    command = [sys.executable, "-c", PROGRAM, str(file), "end" if how == "end" else "hang"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as program:
        server = int(program.stdout.readline())
        if how == "interrupt":
            time.sleep(0.5)  # the call has begun, or Ctrl-C comes before it
            program.send_signal(signal.SIGINT)
        program.wait()
    assert not is_alive(server)
