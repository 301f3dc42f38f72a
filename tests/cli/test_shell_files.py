"""The completion scripts and man pages are those of the parsers, and shells and groff take them."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runs import run_here
from support.scripts import script_module

from qwen3cpu.cli.completion import FOLDER, SHELLS

ROOT = Path(__file__).parents[2]
MAN = ROOT / "man"
needs_pages = pytest.mark.skipif(not MAN.is_dir(), reason="needs man/ beside the tests")


@needs_pages
def test_the_files_are_those_of_the_parsers() -> None:
    pytest.importorskip("shtab")
    pytest.importorskip("argparse_manpage")
    if sys.version_info[:2] != (3, 11):
        pytest.skip("argparse of Python 3.11 wrote the man pages")
    tool = script_module("tools/shell_files.py")
    expected = tool.files()
    found = {path: path.read_text("utf-8") for folder in (FOLDER, MAN) for path in folder.iterdir()}
    assert set(found) == set(expected)
    assert [path.name for path in found if found[path] != expected[path]] == [], "run `python tools/shell_files.py`"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_the_script(shell: str) -> None:
    done = run_here("completion", shell)
    assert (done.returncode, done.stdout) == (0, (FOLDER / f"qwen3cpu.{shell}").read_text("utf-8"))


LINES = {
    "qwen3cpu pl": {"plan"},
    "qwen3cpu rm --y": {"--yes"},
    "qwen3cpu generate hello --kv q": {"q8"},
    "qwen3cpu generate --thinking o": {"on", "off"},
    "qwen3cpu completion fi": {"fish"},
    "qwen3cpu show Reranker-0": {"Reranker-0.6B"},
    "qwen3cpu chat --model Embedding-4": {"Embedding-4B"},
    "qwen3cpu run owner/na": {"owner/name"},
    "qwen3cpu plan own": {"owner/name", "own.qwen3"},
}
"""The text before Tab -> the offered completions."""


@pytest.fixture
def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A home with a model in the hub's cache, and a folder with a packed file."""
    (tmp_path / "hf" / "hub" / "models--owner--name").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "own.qwen3").write_text("")
    monkeypatch.chdir(tmp_path / "here")
    return {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "LC_ALL": "C.UTF-8"}


def offered(shell: str, code: str, variables: dict[str, str]) -> dict[str, set[str]]:
    """The offers of a shell for each of LINES. Its code prints "== LINE" before the offers, one on each line."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([program, "-c", code], capture_output=True, text=True, env=variables)
    assert (done.returncode, done.stderr) == (0, "")
    return in_blocks(done.stdout)


def in_blocks(text: str) -> dict[str, set[str]]:
    """Lines after each "== LINE"."""
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line.startswith("== "):
            found[line[3:]] = set()
        else:
            found[list(found)[-1]].add(line.partition("\t")[0].strip())
    return found


def test_bash(variables: dict[str, str]) -> None:
    code = f"source {FOLDER / 'qwen3cpu.bash'}\n"
    for line in LINES:
        words = line.split()
        code += (
            f"COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
            "COMPREPLY=(); complete -p qwen3cpu >/dev/null; "
            "function=$(complete -p qwen3cpu | sed 's/.*-F \\([^ ]*\\) .*/\\1/'); "
            f"$function qwen3cpu '{words[-1]}' '{words[-2]}'; "
            f"echo '== {line}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
        )
    assert offered("bash", code, variables) == LINES


ZSH_SETUP = """\
autoload -U compinit && compinit -u -D
eval "$(<{script})"
probe() {{
  local typed=$BUFFER
  zle expand-or-complete
  print -rl -- "== $typed" "${{${{BUFFER% }}##* }}" >> $OUT
  BUFFER=
}}
zle -N probe
bindkey '^X' probe
"""
"""Ctrl-X completes a line, notes its last word in a file, and forgets it."""


def test_zsh(variables: dict[str, str], tmp_path: Path) -> None:
    """The offers of zsh on a terminal, because its completion works only there."""
    program = shutil.which("zsh")
    if program is None:
        pytest.skip("zsh is not installed")
    (tmp_path / ".zshrc").write_text(ZSH_SETUP.format(script=FOLDER / "qwen3cpu.zsh"))
    out = tmp_path / "offered"
    ours, theirs = pty.openpty()
    environment = {**variables, "ZDOTDIR": str(tmp_path), "OUT": str(out), "TERM": "xterm"}
    with subprocess.Popen(
        [program, "-d", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    ) as shell:
        os.close(theirs)
        os.write(ours, "".join(f"{line}\x18\n" for line in LINES).encode() + b"exit\n")
        with contextlib.suppress(OSError):  # Linux reports the end of a terminal as an error
            while os.read(ours, 65536):
                pass
        shell.wait()
    os.close(ours)
    assert in_blocks(out.read_text()) == {
        line: offers if len(offers) == 1 else {line.split()[-1]} for line, offers in LINES.items()
    }


def test_fish(variables: dict[str, str]) -> None:
    code = f"source {FOLDER / 'qwen3cpu.fish'}\n" + "".join(
        f"echo '== {line}'; complete -C '{line}'\n" for line in LINES
    )
    assert offered("fish", code, variables) == LINES


@needs_pages
def test_man_pages_have_no_warnings() -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    pages = sorted(MAN.iterdir())
    assert len(pages) > 20
    for page in pages:
        done = subprocess.run(
            ["groff", "-ww", "-man", "-Tutf8", "-Kutf8", "-P-cbou", page], capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "NAME" in done.stdout
