"""`qwen3cpu generate` with a regular expression, choices and a grammar."""

import re

import pytest
from cli_runs import Terminal, run_here

pytest.importorskip("llguidance", reason="constraints need the extra [schema]")

ASK = ("generate", "What is 17 + 25?", "--model", "tiny", "--seed", "1")


@pytest.mark.parametrize(
    ("flags", "expression"),
    [
        (("--regex", "[a-d]{5}"), "[a-d]{5}\n"),
        (("--choices", "ja,nein"), "(ja|nein)\n"),
        (("--choice", "ja, sehr", "--choice", "nein, danke"), "(ja, sehr|nein, danke)\n"),
        (("--choices", "ja", "--choice", "ja"), "ja\n"),
    ],
)
def test_the_answer_has_the_form(flags, expression):
    done = run_here(*ASK, *flags)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(expression, done.stdout)


@pytest.mark.parametrize("grammar", ['start: "(" /[0-9]{3}/ ")"', 'root ::= "(" [0-9]{3} ")"'])
def test_a_grammar_from_a_file(tmp_path, grammar):
    (tmp_path / "form").write_text(grammar)
    done = run_here(*ASK, "--grammar", tmp_path / "form")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"\([0-9]{3}\)\n", done.stdout)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--regex", "("), "regex: character 1 of the expression: unclosed group"),
        (("--regex", "a", "--choices", "a"), "choices: expected one of schema, regex, choices and grammar"),
        (("--grammar", "/no/such/file"), "--grammar /no/such/file"),
    ],
)
def test_bad_input(flags, words):
    done = run_here(*ASK, *flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_an_answer_that_cannot_have_the_form_says_so():
    done = run_here(*ASK, "--thinking", "off", "--regex", "a{1000000}")
    assert (done.returncode, done.stdout) == (0, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("qwen3cpu: the answer ended early: ")
    with Terminal(*ASK, "--thinking", "off", "--regex", "a{1000000}") as terminal:
        screen, _ = terminal.end()
    assert "the answer ended early: " in screen
    assert "as asked" not in screen


def test_an_answer_in_a_loop_says_so(endless):
    done = run_here("generate", "Q", "--model", endless, "--temp", "0", "--thinking", "off", "-c", "40000")
    assert done.returncode == 0
    assert re.fullmatch(r"qwen3cpu: ended after \d+ new tokens: the answer repeated itself in a loop\n", done.stderr)
