"""The parser of a command: prompts need no quotes, and an error is one line that suggests what was likely meant."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from qwen3cpu.arguments import NEEDLESS, OTHER_NAMES, did_you_mean, nearest, not_a_choice
from qwen3cpu.system.standard_streams import BAD_INPUT, Parser, complain

FLAGS: Final = {
    "source": ("--model", "MODEL"),
    "context": ("--ctx-size", "--context"),
    "max_new_tokens": ("--n-predict",),
    "temperature": ("--temp",),
    "repetition_penalty": ("--repeat-penalty",),
    "adapters": ("--adapter",),
    "dry_sequence_breakers": ("--dry-sequence-breaker",),
    "system_prompt": ("--system",),
    "sys": ("--system",),
    "served_model_name": ("--model-name",),
    "alias": ("--model-name",),
    "max_num_seqs": ("--parallel",),
    "n_parallel": ("--parallel",),
    "no_think": ("--thinking off",),
    "nothink": ("--thinking off",),
    "hidethinking": ("--no-show-thinking",),
    "max_tokens": ("--n-predict",),
    "enable_thinking": ("--thinking",),
}
"""Arguments of Python, and flags of other programs without their dashes -> our flags, where the names differ."""
LETTERS: Final = {
    "-p": "prompt",
    "-tb": "threads_batch",
    "-ngl": "n_gpu_layers",
    "-fa": "flash_attn",
    "-b": "batch_size",
    "-ub": "ubatch_size",
    "-ctk": "cache_type_k",
    "-ctv": "cache_type_v",
    "-hf": "hf_repo",
    "-sys": "system_prompt",
    "-np": "n_parallel",
    "-a": "alias",
    "-q": "quantize",
    "-i": "interactive",
    "-cnv": "interactive",
    "-j": "json_schema",
}
"""Short flags of other programs -> their long names."""
COMMANDS: Final = {
    "ls": "list",
    "ps": "list",
    "models": "list",
    "remove": "rm",
    "delete": "rm",
    "uninstall": "rm",
    "download": "pull",
    "fetch": "pull",
    "get": "pull",
    "info": "show",
    "card": "show",
    "server": "serve",
    "api": "serve",
    "start": "serve",
    "convert": "quantize",
    "pack": "quantize",
    "create": "quantize",
    "complete": "generate",
    "prompt": "generate",
    "ask": "generate",
    "infer": "generate",
    "talk": "chat",
    "embeddings": "embed",
    "perplexity": "eval",
    "bench": "qwen3cpu-bench",
    "benchmark": "qwen3cpu-bench",
    "help": "--help",
    "version": "--version",
}
"""Commands of other programs -> what does the same here."""


class CommandParser(Parser):
    """A parser of the command line or of one command."""

    words: str | None = None
    """The argument that collects all words that are not flags, wherever they stand."""

    def add_words(self, name: str, *, metavar: str, help: str) -> None:
        """Add an argument that is a list of words. Flags may stand between them."""
        self.add_argument(name, nargs="*", default=[], metavar=metavar, help=help)
        self.words = name

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse like argparse, but end the program for unknown arguments, and suggest the right one."""
        args = sys.argv[1:] if args is None else args
        if not self._has_commands():
            for each in self._unknown_flags(args):
                self._refuse_flag(each)
        found, left = super().parse_known_args(args, namespace)
        if left and self.words is not None:
            after = left.index("--") if "--" in left else len(left)
            more = [*left[:after], *left[after + 1 :]]
            setattr(found, self.words, [*getattr(found, self.words), *more])
            left = []
        for each in left:
            if each.startswith("-"):
                self._refuse_flag(each)
            self.error(f"unexpected argument {each!r}")
        return found, left

    def error(self, message: str) -> NoReturn:
        """End the program with one line on stderr."""
        complain(self.prog.partition(" ")[0], f"{message} (see `{self.prog} --help`)")
        self.exit(BAD_INPUT)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        choices = action.choices
        if choices is None or value in choices:
            return
        if isinstance(choices, dict):
            self.error(f"unknown command {value!r}{self._command_hint(str(value), tuple(choices))}")
        name = "/".join(action.option_strings) or str(action.metavar or action.dest)
        self.error(f"{name}: {not_a_choice(value, [str(each) for each in choices])}")

    def _command_hint(self, found: str, commands: Sequence[str]) -> str:
        meant = nearest(found, commands)
        other = COMMANDS.get(found)
        if "generate" in commands and other is not None:
            meant = other
        if meant is None:
            return f"; `{self.prog} --help` lists the commands"
        return f"; did you mean `{meant if meant.startswith(self.prog) else f'{self.prog} {meant}'}`?"

    # argparse has no public names for what the methods below read.

    def _flags(self) -> list[str]:
        actions: list[argparse.Action] = vars(self)["_actions"]
        return [flag for action in actions for flag in action.option_strings]

    def _has_commands(self) -> bool:
        return vars(self)["_subparsers"] is not None

    def _unknown_flags(self, args: Sequence[str]) -> list[str]:
        """Return the arguments that argparse would treat as unknown flags."""
        flags = self._flags()
        found = []
        for each in args:
            if each == "--":
                break
            if len(each) < 2 or each[0] != "-" or " " in each or re.fullmatch(r"-\d+|-\d*\.\d+", each):
                continue
            flag = each.partition("=")[0]
            joined = each[1] != "-" and each[:2] in flags and flag not in LETTERS  # -n5
            known = flag in flags or joined
            if not known:
                found.append(each)
        return found

    def _refuse_flag(self, given: str) -> NoReturn:
        flag = given.partition("=")[0]
        self.error(f"unknown flag {flag}{self._flag_hint(flag)}")

    def _flag_hint(self, flag: str) -> str:
        flags = self._flags()
        name = LETTERS.get(flag, flag.lstrip("-").replace("-", "_").lower())
        if name == "prompt" and self.words is not None:
            return f"; the prompt needs no flag: `{self.prog} {self.words.upper()}`"
        if name in ("interactive", "conversation"):
            return "; `qwen3cpu chat` is a conversation"
        own = OTHER_NAMES.get(name, name)
        for candidate in (*FLAGS.get(name, ()), *FLAGS.get(own, ()), "--" + own.replace("_", "-")):
            if candidate.partition(" ")[0] in flags and candidate != flag:
                return f"; it is {candidate} here"
            if not candidate.startswith("-") and candidate in self.format_usage():
                return f"; {candidate} is an argument without a flag here"
        if name in NEEDLESS:
            return f"; {NEEDLESS[name]}"
        return did_you_mean(flag, [each for each in flags if each.startswith("--")])
