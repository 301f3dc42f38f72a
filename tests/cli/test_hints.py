"""Errors of the command line suggest what was likely meant, in one line; words need no quotes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from cli_runs import Terminal, run, run_here

from qwen3cpu.cli.main import make_parser
from qwen3cpu.system.command_parser import COMMANDS


def refused(*arguments: object) -> str:
    """The text on stderr for a refused command."""
    done = run_here(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("qwen3cpu: error: ")
    assert done.stderr.count("\n") == 1
    text: str = done.stderr
    return text.removeprefix("qwen3cpu: error: ").rstrip("\n")


def test_the_overview() -> None:
    done = run_here()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run_here("--help").stdout
    first, *groups = done.stdout.split("\n\n")[2:]
    assert "qwen3cpu demo" in first
    assert "qwen3cpu run 1.7B" in first
    listed = [line.split()[0] for group in groups[:-1] for line in group.splitlines()[1:]]
    (commands,) = [each.choices for each in vars(make_parser())["_actions"] if isinstance(each.choices, dict)]
    assert sorted(listed) == sorted(commands)
    assert "--help" in groups[-1]


@pytest.mark.parametrize(
    ("flag", "hint"),
    [
        ("--max-tokens", "it is --n-predict here"),
        ("--max-new-tokens=5", "it is --n-predict here"),
        ("--num-predict", "it is --n-predict here"),
        ("--temperature", "it is --temp here"),
        ("--n-ctx", "it is --ctx-size here"),
        ("--num_ctx", "it is --ctx-size here"),
        ("--threads-batch", "it is --threads here"),
        ("-tb", "it is --threads here"),
        ("--repetition-penalty", "it is --repeat-penalty here"),
        ("--cache-type-k", "it is --kv here"),
        ("-ctk", "it is --kv here"),
        ("--dtype", "it is --quant here"),
        ("--lora", "it is --adapter here"),
        ("--hf-repo", "it is --model here"),
        ("--system-prompt", "it is --system here"),
        ("--think", "it is --thinking here"),
        ("--no-think", "it is --thinking off here"),
        ("--max-length", "it is --n-predict here"),
        ("-p", "the prompt needs no flag: `qwen3cpu generate PROMPT`"),
        ("--prompt", "the prompt needs no flag: `qwen3cpu generate PROMPT`"),
        ("-ngl", "qwen3cpu computes on CPUs only, so leave it out"),
        ("--n-gpu-layers", "qwen3cpu computes on CPUs only, so leave it out"),
        ("--flash-attn", "there is only one implementation of attention, so leave it out"),
        ("-cnv", "`qwen3cpu chat` is a conversation"),
        ("--theads", "did you mean '--threads'?"),
        ("--top_k", "it is --top-k here"),
        ("--JSON", "it is --json here"),
    ],
)
def test_flags(flag: str, hint: str) -> None:
    name = flag.partition("=")[0]
    assert refused("generate", "hello", flag, "5") == f"unknown flag {name}; {hint} (see `qwen3cpu generate --help`)"


def test_flags_of_other_commands() -> None:
    assert refused("serve", "--alias", "x").startswith("unknown flag --alias; it is --model-name here")
    assert refused("serve", "--max-num-seqs", "4").startswith("unknown flag --max-num-seqs; it is --parallel here")
    assert refused("plan", "--n-ctx", "5").startswith("unknown flag --n-ctx; it is --context here")
    assert refused("show", "--model", "1.7B").startswith(
        "unknown flag --model; MODEL is an argument without a flag here"
    )
    assert refused("generate", "hello", "--xyzzy") == "unknown flag --xyzzy (see `qwen3cpu generate --help`)"
    assert refused("--xyzzy") == "unknown flag --xyzzy (see `qwen3cpu --help`)"
    assert refused("cache", "prune", "--force").startswith("unknown flag --force")
    assert refused("run") == "the following arguments are required: MODEL (see `qwen3cpu run --help`)"
    assert refused("plan", "1.7B", "4B") == "unexpected argument '4B' (see `qwen3cpu plan --help`)"


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        ("gen", "generate"),
        ("Chat", "chat"),
        ("ls", "list"),
        ("remove", "rm"),
        ("download", "pull"),
        ("bench", "qwen3cpu-bench"),
        ("help", "--help"),
    ],
)
def test_commands(command: str, meant: str) -> None:
    meant = meant if meant.startswith("qwen3cpu") else f"qwen3cpu {meant}"
    expected = f"unknown command {command!r}; did you mean `{meant}`? (see `qwen3cpu --help`)"
    assert refused(command, "hello") == expected


def test_commands_that_are_like_none() -> None:
    assert refused("xyzzy").startswith("unknown command 'xyzzy'; `qwen3cpu --help` lists the commands")
    assert refused("cache", "lst").startswith("unknown command 'lst'; did you mean `qwen3cpu cache list`?")


def test_commands_of_other_programs_lead_to_commands_that_there_are() -> None:
    (commands,) = [each.choices for each in vars(make_parser())["_actions"] if isinstance(each.choices, dict)]
    assert set(COMMANDS.values()) - {"qwen3cpu-bench", "--help", "--version"} <= set(commands)
    assert not set(COMMANDS) & set(commands)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (
            ["--quant", "Q4_K_M"],
            "--quant: expected one of f32, bf16, q8, q4, q4a32, q4a64, q4a128, found 'Q4_K_M'; did ",
        ),
        (["--quant", "int8"], "did you mean 'q8'?"),
        (["--kv", "q4_0"], "--kv: expected one of f32, f16, q8, found 'q4_0'; did you mean 'q8'?"),
        (["--thinking", "of"], "--thinking: expected one of on, off, auto, found 'of'; did you mean 'off'?"),
        (["-m", "Qwen3-1.8B"], "did you mean 'Qwen3-1.7B'?"),
    ],
)
def test_values(flags: list[str], says: str) -> None:
    assert says in refused("generate", "hello", *flags)


def test_values_of_other_commands(tmp_path: Path) -> None:
    assert "did you mean 'q4'?" in refused("plan", "1.7B", "--quant", "q8,q4_k_m")
    (tmp_path / "text").write_text("a text")
    assert "did you mean 'q8'?" in refused("eval", "tiny", "--text", tmp_path / "text", "--quant", "q8_0")
    assert "did you mean 'Q4_0'?" in refused("export", "tiny", "out.gguf", "--type", "q4")


def prompt_of(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    prompts: list[Any] = []

    def stop(args: Any, *_: object) -> None:
        from qwen3cpu.cli.generate import read_prompt

        prompts.append(read_prompt(args))
        raise KeyboardInterrupt

    monkeypatch.setattr("qwen3cpu.cli.generate.form_options", stop)
    assert run_here("generate", *arguments).returncode == 130
    text: str = prompts.pop()
    return text


def test_words_need_no_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert prompt_of(monkeypatch, "tell", "me", "a", "joke") == "tell me a joke"
    assert prompt_of(monkeypatch, "tell", "me", "--temp", "0", "a", "joke", "-n", "5") == "tell me a joke"
    assert prompt_of(monkeypatch, "--temp", "0", "tell me", "a joke") == "tell me a joke"
    assert prompt_of(monkeypatch, "--", "-x", "--temp") == "-x --temp"
    assert prompt_of(monkeypatch, "is", "--temp", "0", "--", "-5", "-x?") == "is -5 -x?"
    assert prompt_of(monkeypatch, "-5", "+", "3?") == "-5 + 3?"


def test_nothing_to_answer(tmp_path: Path) -> None:
    for stdin, what in (("", "none"), (" \n", "white space only")):
        done = run("generate", stdin=stdin)
        expected = f"qwen3cpu: error: stdin is empty: expected a prompt, found {what}\n"
        assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)
    (tmp_path / "file").write_text("")
    assert refused("generate", "--file", tmp_path / "file").endswith("file is empty: expected a prompt, found none")
    assert refused("generate", "") == "PROMPT is empty: expected a prompt, found none"
    assert refused("generate", "--raw", "") == "PROMPT is empty: expected a prompt, found none"


def test_a_plot_needs_matplotlib_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("qwen3cpu.cli.eval.measure_source", lambda *_, **__: pytest.fail("measured"))
    (tmp_path / "text").write_text("a text")
    assert "--plot: needs matplotlib" in refused("eval", "tiny", "--text", tmp_path / "text", "--plot", "out.png")


def test_the_demo_keeps_no_color() -> None:
    with Terminal("demo", NO_COLOR="1") as terminal:
        screen, code = terminal.end()
    assert code == 0
    assert "\x1b[2m" not in screen
    assert "\x1b[1m" not in screen
    assert "\x1b[2;36m" not in screen
