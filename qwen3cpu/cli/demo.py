"""`qwen3cpu demo`: a short guided tour on the model inside the package."""

from __future__ import annotations

import argparse
import sys
from time import perf_counter
from typing import Any

from qwen3cpu.checkpoint.known_models import KNOWN
from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.options import REAL_MODELS
from qwen3cpu.cli.sizes import size_text
from qwen3cpu.cli.terminal import DIM, PLAIN, figures, uses_colour
from qwen3cpu.generation.results import Result
from qwen3cpu.model import Model, load

QUESTION = "Tom has 14 apples. He buys 9 more and gives 5 away. How many apples does he have now?"
ANSWER = "18 apples."
SHORT_QUESTION = "What is 17 + 25?"
BUDGET = 8
REAL = next(model for model in KNOWN if model.short == REAL_MODELS["tiny"])


def add_command(commands: Commands) -> None:
    """Add `demo` to the command line."""
    parser = commands.add_parser(
        "demo",
        help="a short tour on the model inside the package",
        allow_abbrev=False,
        description="A short tour without network: streaming, thinking on and off, a thinking budget, a repeated seed.",
    )
    parser.add_argument("-t", "--threads", type=int, metavar="N", help="default: see `qwen3cpu generate --help`")
    parser.set_defaults(run=run_demo)


def run_demo(args: argparse.Namespace) -> int:
    """`qwen3cpu demo`."""
    start = perf_counter()
    model = load("tiny", threads=args.threads)
    millions = model.config.parameters() / 1e6
    _say(
        f"qwen3cpu carries a small Qwen3 model of {millions:.1f} million parameters, taught everyday arithmetic."
        f"\nLoaded in {perf_counter() - start:.2f} s as {model.quant}: {model.weight_bytes / 1e6:.1f} MB of weights, "
        f"{model.threads} threads."
    )
    _heading("1. It thinks before it answers; the answer streams as it is made")
    _judge(_show(model, QUESTION, thinking=True, seed=1))
    _heading("2. The same question without thinking: faster, and a guess where several steps are needed")
    _judge(_show(model, QUESTION, thinking=False, seed=1))
    _heading(f"3. A thinking budget of {BUDGET} tokens: the thinking is closed for it, and an answer still comes")
    _judge(_show(model, QUESTION, thinking=True, thinking_budget=BUDGET, seed=1))
    _heading("4. A seed repeats an answer token for token, whatever the number of threads")
    _repeat(model)
    _heading("And now a real one")
    _say(
        f"  qwen3cpu run {REAL.short}\n\n"
        f"downloads {REAL.name} once ({size_text(REAL.file_bytes)}), converts it to 4 bits and talks with you. In "
        f'Python:\n\n  import qwen3cpu\n  model = qwen3cpu.load("{REAL.hub_id}")\n'
        '  print(model.generate("Why is the sky blue?").text)'
    )
    return 0


def _judge(result: Result) -> None:
    """Says whether an answer to QUESTION is right."""
    _say("Right." if result.text == ANSWER else f"Wrong: {ANSWER}")


def _repeat(model: Model) -> None:
    """Two answers with one seed, and with different numbers of threads."""
    threads = model.threads
    first = _show(model, SHORT_QUESTION, thinking=True, seed=7, temperature=1.0)
    model.threads = 1 if threads > 1 else 2
    second = model.generate(SHORT_QUESTION, thinking=True, seed=7, temperature=1.0)
    same = "the same" if first.token_ids == second.token_ids else "NOT the same"
    _say(f"Again with seed 7 on {model.threads} instead of {threads} threads: {same} {len(second.token_ids)} tokens.")
    model.threads = threads


def _show(model: Model, question: str, **options: Any) -> Result:
    """Stream one answer, with the speed live on a terminal and after the answer elsewhere."""
    _say(f"Q: {question}")
    shown = _stream_live if sys.stdout.isatty() else _stream_plain
    result = shown(model, question, options)
    colour = uses_colour(sys.stdout)
    _say(f"{DIM if colour else ''}[{figures(result)}]{PLAIN if colour else ''}")
    return result


def _stream_plain(model: Model, question: str, options: dict[str, Any]) -> Result:
    from qwen3cpu.cli.terminal import AnswerWriter

    writer = AnswerWriter(sys.stdout, show_thinking=True)
    result = None
    for chunk in model.stream(question, **options):
        writer.write(chunk)
        result = chunk.result
    writer.end()
    assert result is not None
    return result


def _stream_live(model: Model, question: str, options: dict[str, Any]) -> Result:
    """The growing answer with a line under it that counts tokens and tokens per second."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    reasoning, answer, tokens, result = "", "", 0, None
    start = perf_counter()
    # Rich keeps NO_COLOR for colours alone; nothing is dimmed then either.
    dim, dim_cyan = ("dim", "dim cyan") if uses_colour(sys.stdout) else ("", "")
    with Live(console=Console(), refresh_per_second=20, transient=False) as live:
        for chunk in model.stream(question, **options):
            reasoning += chunk.reasoning
            answer += chunk.text
            tokens += len(chunk.token_ids)
            result = chunk.result
            parts = [Text(reasoning + "\n", style=dim)] if reasoning else []
            speed = f"{tokens} tokens, {tokens / (perf_counter() - start):.0f}/s"
            parts += [Text(answer)] if result else [Text(answer), Text(speed, style=dim_cyan)]
            live.update(Group(*parts))
    assert result is not None
    return result


def _heading(text: str) -> None:
    bold = "\x1b[1m" if uses_colour(sys.stdout) else ""
    _say(f"\n{bold}{text}{PLAIN if bold else ''}")


def _say(text: str) -> None:
    print(text, flush=True)
