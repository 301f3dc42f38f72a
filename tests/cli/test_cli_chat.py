"""`qwen3cpu chat` on a pipe and on a terminal, with the keys that stop and end it; and `qwen3cpu demo`."""

import json

import pytest
from cli_runs import Terminal, run
from scripted_models import script, write_scripted

import qwen3cpu


@pytest.fixture(scope="module")
def thinker(tmp_path_factory):
    """Thinks "ab" before it answers "XYZ"."""
    follows = script(["\n", "<think>", "a", "b", "</think>", "X", "Y", "Z", "<|im_end|>"])
    return write_scripted(tmp_path_factory.mktemp("thinker"), follows)


def test_on_a_pipe_each_line_is_a_message(random):
    flags = ["--temp", "0", "-n", "9", "--system", "be brief"]
    done = run("chat", "-m", random, "--quant", "q8", *flags, stdin="hello\n\nworld\n")
    chat = qwen3cpu.load(random, quant="q8").chat("be brief", temperature=0, max_new_tokens=9)
    expected = "".join(chat.send(message).text + "\n" for message in ("hello", "world"))
    assert (done.stdout.split("\n"), done.stderr, done.returncode) == (expected.split("\n"), "", 0)


def test_commands_on_a_pipe(thinker):
    lines = ["hi", "/system be kind", "/system", "/retry", "/budget 3", "/tokens", "/reset", "/think", "/exit", "never"]
    done = run("chat", "-m", thinker, "--temp", "0", stdin="\n".join(lines))
    assert done.returncode == 0
    assert done.stdout.startswith("XYZ\nbe kind\nXYZ\n")
    assert done.stdout.endswith("positions in use\n")
    assert done.stderr == ""


def test_a_conversation_is_saved_and_loaded(thinker, tmp_path):
    file = tmp_path / "my chat"
    first = run("chat", "-m", thinker, "--temp", "0", stdin=f"/system be kind\nhi\n/save {file}\n/exit\n")
    assert (first.stdout, first.stderr, first.returncode) == ("XYZ\n", "", 0)
    lines = [f"/load {file}", "/system", "/tokens", "again", "/exit"]
    second = run("chat", "-m", thinker, "--temp", "0", stdin="\n".join(lines))
    assert (second.stderr, second.returncode) == ("", 0)
    shown = second.stdout.split("\n")
    assert shown[:3] == ["user: hi", "assistant: XYZ", "be kind"]
    assert int(shown[3].split(" of ")[0]) > 0
    assert shown[4] == "XYZ"


def test_what_cannot_be_loaded(thinker, random, tmp_path):
    file = tmp_path / "chat"
    run("chat", "-m", thinker, "--temp", "0", stdin=f"hi\n/save {file}\n")
    for command, words in (
        ("/save", "/save: expected the name of a file"),
        ("/load", "/load: expected the name of a file"),
        (f"/load {tmp_path}/none", "none"),
    ):
        done = run("chat", "-m", thinker, stdin=f"{command}\n")
        assert (done.returncode, words in done.stderr) == (2, True)
    assert run("chat", "-m", random, stdin=f"/load {file}\n").returncode == 2


def test_thinking_is_switched_and_the_rest_of_the_line_is_sent(random):
    flags = ["--temp", "0", "-n", "9", "--quant", "f32"]
    lines = ["/no_think hello", "/think world", "/auto", "hello /no_think"]
    done = run("chat", "-m", random, *flags, stdin="\n".join(lines))
    chat = qwen3cpu.load(random, quant="f32").chat(temperature=0, max_new_tokens=9)
    expected = [
        chat.send("hello", thinking=False),
        chat.send("world", thinking=True),
        chat.send("hello /no_think", thinking=False),
    ]
    assert done.stdout == "".join(result.text + "\n" for result in expected)
    assert done.stderr == ""


def test_lines_are_kept_for_the_next_conversation(thinker, tmp_path):
    for line in ("hello there\n", "\x1b[A\n"):  # the second time with the cursor key
        with Terminal("chat", "-m", thinker, QWEN3CPU_CACHE=str(tmp_path)) as terminal:
            terminal.wait_for_prompt()
            terminal.type(line)
            assert "hello there" in terminal.wait_for("XYZ")
            terminal.wait_for_prompt()
            terminal.type("\x04")
            terminal.end()
    assert "hello there" in (tmp_path / "chat_history").read_text()
    assert (tmp_path / "chat_history").stat().st_mode & 0o777 == 0o600


def test_greedy_thinking_is_remarked_on_a_terminal(thinker):
    with Terminal("chat", "-m", thinker, "--temp", "0") as terminal:
        terminal.wait_for_prompt()
        terminal.type("hello\n")
        assert terminal.wait_for_prompt().count("greedy thinking") == 1
        terminal.type("hello\n")
        assert "greedy thinking" not in terminal.wait_for_prompt()


def test_bad_input_on_a_pipe_ends_with_2(random):
    done = run("chat", "-m", random, "-c", "40", stdin="hello " * 50 + "\nhello\n")
    assert done.returncode == 2
    assert "40 positions" in done.stderr
    assert run("chat", "-m", random, stdin="/retry\n").returncode == 2
    assert run("chat", "-m", random, stdin="/budget much\n").returncode == 2
    assert run("chat", "-m", random, "--temp", "-1").returncode == 2


def test_a_conversation_on_a_terminal(thinker):
    with Terminal("chat", "-m", thinker, "--temp", "0") as terminal:
        terminal.wait_for_prompt()
        terminal.type("hello\n")
        screen = terminal.wait_for_prompt()
        assert "\x1b[2mab\x1b[0m\r\n\r\nXYZ\r\n" in screen
        assert "answer 8 tokens" in screen
        terminal.type("again\n")
        assert "kept)" in terminal.wait_for_prompt()
        terminal.type("/help\n")
        assert "/no_think" in terminal.wait_for_prompt()
        terminal.type("/nonsense\n")
        assert "unknown command /nonsense" in terminal.wait_for_prompt()
        terminal.type("/budget x\n")
        assert "/budget: expected" in terminal.wait_for_prompt()
        terminal.type("/no_think\n")
        terminal.wait_for_prompt()
        terminal.type("/budget 1\n")
        terminal.wait_for_prompt()
        terminal.type("\x04")
        _, code = terminal.end()
    assert code == 0


def test_ctrl_c_stops_the_answer_and_keeps_the_conversation(endless):
    with Terminal("chat", "-m", endless, "--temp", "0") as terminal:
        terminal.wait_for_prompt()
        for _ in range(2):
            terminal.type("hello\n")
            terminal.wait_for("ABAB")
            terminal.type("\x03")
            terminal.wait_for("stopped; Ctrl-C again")
            terminal.wait_for_prompt()
        terminal.type("/tokens\n")
        screen = terminal.wait_for("positions in use")
        assert int(screen.split(" of ")[0].split()[-1]) > 8
        terminal.type("/exit\n")
        _, code = terminal.end()
    assert code == 0


def test_a_second_ctrl_c_ends_the_conversation(endless):
    with Terminal("chat", "-m", endless, "--temp", "0") as terminal:
        terminal.wait_for_prompt()
        terminal.type("hello\n")
        terminal.wait_for("ABAB")
        terminal.type("\x03")
        terminal.wait_for("stopped; Ctrl-C again")
        terminal.wait_for_prompt()
        terminal.type("\x03")
        _, code = terminal.end()
    assert code == 0


def test_the_conversation_that_was_stopped_goes_on(thinker):
    """The stopped answer stays in the history; what follows is right."""
    with Terminal("chat", "-m", thinker, "--temp", "0") as terminal:
        terminal.wait_for_prompt()
        terminal.type("\x03")
        terminal.wait_for("Ctrl-C again or Ctrl-D ends")
        terminal.wait_for_prompt()
        terminal.type("hello\n")
        assert "XYZ" in terminal.wait_for_prompt()
        terminal.type("\x03")
        terminal.wait_for("Ctrl-C again")
        terminal.wait_for_prompt()
        terminal.type("\x04")
        _, code = terminal.end()
    assert code == 0


def test_demo():
    done = run("demo")
    assert (done.stderr, done.returncode) == ("", 0)
    assert "NOT" not in done.stdout
    assert "Qwen/Qwen3-1.7B" in done.stdout
    assert "Considering the limited time" in done.stdout
    with Terminal("demo") as terminal:
        screen, code = terminal.end()
    assert code == 0
    assert "tokens," in screen


def test_the_model_inside_the_package_is_the_default():
    found = json.loads(run("inspect", "--json").stdout)
    assert found["source"] == "tiny"
