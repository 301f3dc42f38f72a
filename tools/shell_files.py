"""Writes the completion scripts and the man pages, from the parsers of the command line. Needs shtab and
argparse-manpage (extra `dev`) and Python 3.11, because argparse of other versions writes other usage lines.

python tools/shell_files.py
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import shtab
from argparse_manpage.manpage import Manpage

from qwen3cpu.checkpoint.known_models import KNOWN
from qwen3cpu.cli.completion import FOLDER, SHELLS
from qwen3cpu.cli.main import make_parser
from qwen3cpu.cli.overview import FIRST, Overview
from qwen3cpu.loading.locate import EMBEDDED

MAN = Path(__file__).parents[1] / "man"
MODELS = {"MODEL", "SOURCE", "BASE"}
FOLDERS = {"DIR", "FOLDER"}
FILES = {"FILE", "FILES", "PATH", "OUT", "CONFIG", "IN.jsonl", "OUT.jsonl", "ADAPTER", "[NAME=]PATH"}

NAMES = " ".join([*EMBEDDED, *(model.short for model in KNOWN)])
HUB = "${HF_HUB_CACHE:-${HF_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/huggingface}/hub}"
COMPLETE_MODEL: dict[str, Any] = {
    "bash": "_qwen3cpu_models",
    "zsh": "_qwen3cpu_models",
    "fish": "(_qwen3cpu_models; __fish_complete_path (commandline -ct))",
}
"""Released models, models in the hub's cache, and paths."""
PREAMBLE = {
    "bash": f"""\
_qwen3cpu_models() {{
  local hub="{HUB}" names="{NAMES}" each
  for each in "$hub"/models--*/; do
    each=${{each%/}} each=${{each##*/models--}}
    [ "$each" = "*" ] || names="$names ${{each/--//}}"
  done
  compgen -W "$names" -- "$1"
  compgen -f -- "$1"
}}
""",
    "zsh": f"""\
_qwen3cpu_models() {{
  local hub="{HUB}" each
  local -a names=({NAMES})
  for each in "$hub"/models--*(N/:t); do
    each=${{each#models--}}
    names+=(${{each/--//}})
  done
  compadd -a names
  _files
}}
""",
    "fish": f"""\
function _qwen3cpu_models
  printf '%s\\n' {NAMES}
  set -l cache $HOME/.cache
  set -q XDG_CACHE_HOME; and set cache $XDG_CACHE_HOME
  set -l hub $cache/huggingface/hub
  set -q HF_HOME; and set hub $HF_HOME/hub
  set -q HF_HUB_CACHE; and set hub $HF_HUB_CACHE
  for each in $hub/models--*/
    string replace -r '.*/models--(.*?)--(.*)/$' '$1/$2' -- $each
  end
end
""",
}


def files() -> dict[Path, str]:
    """All files with their contents."""
    parser = make_parser()
    for each in parsers(parser):
        for action in vars(each)["_actions"]:
            if isinstance(action.choices, dict):  # one line about a command, not the beginning of its help
                for entry in vars(action)["_choices_actions"]:
                    action.choices[entry.dest].description = entry.help
            complete = completer(action)
            if complete is not None:
                action.complete = complete
    found = {
        FOLDER / f"qwen3cpu.{shell}": shtab.complete(parser, shell=shell, preamble=PREAMBLE[shell]) for shell in SHELLS
    }
    for each in parsers(parser := make_parser()):
        if each is parser:
            continue
        found[MAN / f"{each.prog.replace(' ', '-')}.1"] = man_page(each)
    found[MAN / f"{parser.prog}.1"] = overview_page(parser)
    return {path: "".join(f"{line.rstrip()}\n" for line in text.splitlines()) for path, text in found.items()}


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and, recursively, the parsers of its commands."""
    yield parser
    for action in vars(parser)["_actions"]:
        if isinstance(action.choices, dict):
            for each in action.choices.values():
                yield from parsers(each)


def completer(action: argparse.Action) -> dict[str, Any] | None:
    """The completion of an argument's value; None: no completion, or its choices."""
    if action.metavar in MODELS:
        return COMPLETE_MODEL
    if action.metavar in FOLDERS:
        return shtab.DIRECTORY
    return shtab.FILE if action.metavar in FILES else None


def man_page(parser: argparse.ArgumentParser) -> str:
    """The page of a command."""
    about = {"project_name": "qwen3cpu", "manual_title": "qwen3cpu", "manual_section": 1, "date": "undated"}
    page = Manpage(parser, about)
    page.date = ""
    page.prog = parser.prog.replace(" ", "-")
    page.description = str(parser.description).partition(". ")[0].rstrip(".")
    return str(page)


def overview_page(parser: Overview) -> str:
    """The page of the whole command line, with a list of the commands' pages."""
    alone = argparse.ArgumentParser(prog=parser.prog, description=parser.description, usage="%(prog)s COMMAND ...")
    alone.add_argument("--version", action="version", help="show the version and exit")
    page = Manpage(alone, {"project_name": "qwen3cpu", "manual_title": "qwen3cpu", "date": "undated"})
    page.date = ""
    page.description = str(parser.description).rstrip(".")
    for title, commands in (("First", FIRST), *parser.groups):
        rows = [f".TP\n\\fB{name}\\fR\n{text}" for name, text in commands]
        page.add_section(title, "=", "\n".join(rows).replace("-", "\\-"))
    names = [f"\\fB{parser.prog}-{name}\\fR(1)" for _, commands in parser.groups for name, _ in commands]
    page.add_section("See also", "=", ",\n".join(names).replace("-", "\\-"))
    return str(page)


if __name__ == "__main__":
    for folder in (FOLDER, MAN):
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
    for path, text in files().items():
        path.write_text(text, "utf-8")
