"""`qwen3cpu chat` on a pipe and on a terminal, with the keys that stop and end it; and `qwen3cpu demo`."""

import json
import re
from pathlib import Path

import pytest
from cli_runs import Terminal, run
from scripted_models import script, write_scripted

import qwen3cpu
from qwen3cpu.cli.chat.multiline import HINT, PROMPT


@pytest.fixture(scope="module")
def thinker(tmp_path_factory):
    """Thinks "ab" before it answers "XYZ"."""
    follows = script(["\n", "<think>", "a", "b", "</think>", "X", "Y", "Z", "<|im_end|>"])
    return write_scripted(tmp_path_factory.mktemp("thinker"), follows)


def what_stays(screen):
    """The output without the rows that LiveTail rewrote: it goes back to the first of them and erases from there.

    A slow machine paints parts of an answer before the whole.
    """
    while back := re.search(r"\r(?:\x1b\[(\d+)A)?\x1b\[J", screen):
        above = screen[: back.start()].split("\n")
        above = above[: max(0, len(above) - 1 - int(back[1] or 0))]
        screen = "".join(f"{line}\n" for line in above) + screen[back.end() :]
    return screen


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
        with Terminal("chat", "-m", thinker, XDG_STATE_HOME=str(tmp_path)) as terminal:
            terminal.wait_for_prompt(HINT)
            terminal.type(line)
            assert "hello there" in terminal.wait_for("XYZ")
            terminal.wait_for_prompt(HINT)
            terminal.type("\x04")
            terminal.end()
    file = tmp_path / "qwen3cpu" / "chat_history"
    assert file.read_text().count("+hello there\n") == 1  # a line that is the same as the one before is kept once
    with Terminal("chat", "-m", thinker, "--no-history", XDG_STATE_HOME=str(tmp_path)) as terminal:
        terminal.wait_for_prompt(HINT)
        terminal.type("\x1b[Anobody\n")
        terminal.wait_for("XYZ")
        terminal.wait_for_prompt(HINT)
        terminal.type("\x04")
        terminal.end()
    assert "nobody" not in file.read_text()


def test_greedy_thinking_is_remarked_on_a_terminal(thinker):
    with Terminal("chat", "-m", thinker, "--temp", "0") as terminal:
        terminal.wait_for_prompt(HINT)
        terminal.type("hello\n")
        assert terminal.wait_for_prompt(HINT).count("greedy thinking") == 1
        terminal.type("hello\n")
        assert "greedy thinking" not in terminal.wait_for_prompt(HINT)


def test_bad_input_on_a_pipe_ends_with_2(random):
    done = run("chat", "-m", random, "-c", "40", stdin="hello " * 50 + "\nhello\n")
    assert done.returncode == 2
    assert "40 positions" in done.stderr
    assert run("chat", "-m", random, stdin="/retry\n").returncode == 2
    assert run("chat", "-m", random, stdin="/budget much\n").returncode == 2
    assert run("chat", "-m", random, "--temp", "-1").returncode == 2


def test_a_conversation_on_a_terminal(thinker):
    with Terminal("chat", "-m", thinker, "--temp", "0") as terminal:
        terminal.wait_for_prompt(HINT)
        terminal.type("hello\n")
        screen = terminal.wait_for_prompt(HINT)
        assert "\x1b[2mThought for " in screen
        assert "\r\n\r\nXYZ\r\n" in what_stays(screen)
        assert "answer 8 tokens" in screen
        terminal.type("again\n")
        assert "kept)" in terminal.wait_for_prompt(HINT)
        terminal.type("/help\n")
        assert "/no_think" in terminal.wait_for_prompt(HINT)
        terminal.type("/nonsense\n")
        assert "unknown command /nonsense; /? lists them" in terminal.wait_for_prompt(HINT)
        terminal.type("/budget x\n")
        assert "/budget: expected" in terminal.wait_for_prompt(HINT)
        terminal.type("/no_think\n")
        terminal.wait_for_prompt(HINT)
        terminal.type("/budget 1\n")
        terminal.wait_for_prompt(HINT)
        terminal.type("\x04")
        _, code = terminal.end()
    assert code == 0


@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}], ids=str)
def test_plain_answers(thinker, plain):
    prompt = PROMPT if "TERM" in plain else HINT
    flags = [] if plain else ["--no-markdown"]
    with Terminal("chat", "-m", thinker, "--temp", "0", *flags, **plain) as terminal:
        terminal.wait_for_prompt(prompt)
        terminal.type("hello\n")
        screen = terminal.wait_for_prompt(prompt)
        thought = "\x1b[2mab\x1b[0m" if not plain else "ab"
        assert f"{thought}\r\n\r\nXYZ\r\n" in screen
        terminal.type("\x04")
        _, code = terminal.end()
    assert code == 0


def test_without_the_editor(thinker):
    """Without prompt_toolkit, the chat says how to install it, and reads lines."""
    code = "import sys; sys.modules['prompt_toolkit'] = None; from qwen3cpu.cli.main import main; sys.exit(main())"
    with Terminal("chat", "-m", thinker, "--temp", "0", code=code) as terminal:
        assert "pip install 'qwen3cpu[chat]'" in terminal.wait_for_prompt(PROMPT)
        terminal.type('"""one\n')
        terminal.wait_for(". ")
        terminal.type('two"""\n')
        terminal.wait_for("XYZ")
        terminal.wait_for_prompt(PROMPT)
        terminal.type("/export kept.md\n")
        terminal.wait_for_prompt(PROMPT)
        terminal.type("\x03")
        terminal.wait_for("Ctrl-C again or Ctrl-D ends")
        terminal.wait_for_prompt(PROMPT)
        terminal.type("\x04")
        _, status = terminal.end()
    assert status == 0
    assert Path("kept.md").read_text().startswith("## User\n\none\ntwo\n")


def test_ctrl_c_stops_the_answer_and_keeps_the_conversation(endless):
    with Terminal("chat", "-m", endless, "--temp", "0") as terminal:
        terminal.wait_for_prompt(HINT)
        for _ in range(2):
            terminal.type("hello\n")
            terminal.wait_for("ABAB")
            terminal.type("\x03")
            terminal.wait_for("stopped; Ctrl-C again")
            terminal.wait_for_prompt(HINT)
        terminal.type("/tokens\n")
        screen = terminal.wait_for("positions in use")
        (used,) = re.findall(r"(\d+) of \d+ positions", screen)
        assert int(used) > 8
        terminal.type("/exit\n")
        _, code = terminal.end()
    assert code == 0


def test_a_second_ctrl_c_ends_the_conversation(endless):
    with Terminal("chat", "-m", endless, "--temp", "0") as terminal:
        terminal.wait_for_prompt(HINT)
        terminal.type("hello\n")
        terminal.wait_for("ABAB")
        terminal.type("\x03")
        terminal.wait_for("stopped; Ctrl-C again")
        terminal.wait_for_prompt(HINT)
        terminal.type("\x03")
        _, code = terminal.end()
    assert code == 0


def test_the_conversation_that_was_stopped_goes_on(thinker):
    """The stopped answer stays in the history, and the next answer is right."""
    with Terminal("chat", "-m", thinker, "--temp", "0") as terminal:
        terminal.wait_for_prompt(HINT)
        terminal.type("\x03")
        terminal.wait_for("Ctrl-C again or Ctrl-D ends")
        terminal.wait_for_prompt(HINT)
        terminal.type("hello\n")
        assert "XYZ" in terminal.wait_for_prompt(HINT)
        terminal.type("\x03")
        terminal.wait_for("Ctrl-C again")
        terminal.wait_for_prompt(HINT)
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
