"""The command line of `qwen3cpu-bench`, and the order in which its cases run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from qwen3cpu._version import VERSION
from qwen3cpu.bench.cases import Case, Sweep, names, whole_numbers
from qwen3cpu.bench.drafting import FORMS, measure_passes
from qwen3cpu.bench.errors import BenchError
from qwen3cpu.bench.machine import Machine
from qwen3cpu.bench.plot import plotter
from qwen3cpu.bench.process import Worker
from qwen3cpu.bench.report import Record, as_csv, as_json, as_markdown, make_record
from qwen3cpu.checkpoint.tensors import DEFAULT_QUANT, QUANTS
from qwen3cpu.engine.formats import KV_FORMATS
from qwen3cpu.errors import Qwen3CpuError
from qwen3cpu.loading.random_weights import SIZES
from qwen3cpu.system.command_parser import CommandParser
from qwen3cpu.system.peaks import Peaks
from qwen3cpu.system.progress_bar import Progress
from qwen3cpu.system.signals import ended_by_signals
from qwen3cpu.system.standard_streams import BAD_INPUT, complain, with_streams
from qwen3cpu.system.thread_count import MOST_THREADS, resolve_threads

FORMATS: dict[str, Callable[[Sequence[Record]], str]] = {"md": as_markdown, "csv": as_csv, "json": as_json}
MOST_TOKENS, MOST_BATCH, MOST_REPETITIONS = 1 << 20, 1024, 1000

T = TypeVar("T")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `qwen3cpu-bench`; return the exit code."""
    return with_streams("qwen3cpu-bench", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    args = make_parser().parse_args(argv)
    try:
        with ended_by_signals():
            _run(args)
        return 0
    except Qwen3CpuError as error:
        complain("qwen3cpu-bench", str(error))
        return BAD_INPUT


def _run(args: argparse.Namespace) -> None:
    """Measure and print what the arguments ask for."""
    if args.draft is not None:
        sys.stdout.write(_with_draft(args))
        return
    draw = plotter(args.plot) if args.plot else None
    records = measure(args.model, args.synthetic, sweep_of(args), args.repetitions)
    sys.stdout.write(FORMATS[args.output](records))
    if draw is not None:
        draw(records)


def _with_draft(args: argparse.Namespace) -> str:
    """Measure the gain of a draft model; return it in the requested format."""
    sweep = sweep_of(args)
    if args.plot:
        raise BenchError("--plot: cannot be used with --draft")
    for flag in ("threads", "depth", "quant", "kv"):
        if len(values := getattr(sweep, flag)) > 1:
            raise BenchError(f"--{flag}: expected one value with --draft, found {len(values)}")
    machine = Machine.here()
    found = measure_passes(args.model, args.synthetic, args.draft, sweep.cases()[0], args.repetitions)
    return FORMS[args.output](found, machine)


def _checked(read: Callable[..., list[T]], *limits: Any) -> Callable[[str], list[T]]:
    """Make a type for argparse of a list parser, so that argparse shows the parser's message."""

    def parse(text: str) -> list[T]:
        try:
            return read(text, *limits)
        except ValueError as reason:
            raise argparse.ArgumentTypeError(str(reason)) from None

    return parse


def _repetitions(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MOST_REPETITIONS):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {MOST_REPETITIONS}, found {text[:60]!r}")
    return int(text)


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = CommandParser(
        prog="qwen3cpu-bench",
        allow_abbrev=False,
        description="Measures how fast this machine runs a model, and compares it with the limits of its memory and "
        "multipliers. Settings that take lists are swept: every combination is measured, and repetitions alternate "
        "between them.",
    )
    parser.add_argument("--version", action="version", version=f"qwen3cpu {VERSION}")
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("-m", "--model", metavar="MODEL", help="a folder, a packed file, a hub id, or tiny")
    model.add_argument(
        "--synthetic",
        choices=tuple(SIZES),
        metavar="SIZE",
        help=f"random weights of a released shape: {', '.join(size for size in SIZES if size != 'test')}",
    )
    parser.add_argument(
        "--draft",
        metavar="MODEL",
        help="measure passes of the model and of a smaller draft model (with --synthetic: a size), and print the gain "
        "of drafts for several shares of right guesses",
    )
    counts = _checked(whole_numbers, 0, MOST_TOKENS)
    parser.add_argument(
        "-p", "--n-prompt", type=counts, default=[512], metavar="N", help="prompt tokens (512; 0: none)"
    )
    parser.add_argument(
        "-n", "--n-gen", type=counts, default=[128], metavar="N", help="tokens to decode (128; 0: none)"
    )
    parser.add_argument("-d", "--depth", type=counts, default=[0], metavar="N", help="tokens already held (0)")
    parser.add_argument(
        "-b",
        "--batch",
        type=_checked(whole_numbers, 1, MOST_BATCH),
        default=[1],
        metavar="N",
        help="sequences processed together (1)",
    )
    parser.add_argument(
        "-t",
        "--threads",
        type=_checked(whole_numbers, 1, MOST_THREADS),
        metavar="N",
        help="default: QWEN3CPU_THREADS, else as many as physical cores, CPU affinity and cgroup quota allow",
    )
    parser.add_argument(
        "--quant",
        type=_checked(names, QUANTS),
        metavar="NAME",
        help=f"weight formats out of {', '.join(QUANTS)} (default: {DEFAULT_QUANT}, or the packed file's)",
    )
    parser.add_argument(
        "--kv",
        type=_checked(names, KV_FORMATS),
        default=["f16"],
        metavar="NAME",
        help=f"formats of the KV cache out of {', '.join(KV_FORMATS)} (f16)",
    )
    parser.add_argument("-r", "--repetitions", type=_repetitions, default=5, metavar="N", help="runs of every case (5)")
    parser.add_argument("-o", "--output", choices=tuple(FORMATS), default="md", help="format of the output (md)")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw tokens per second and the roofline")
    return parser


def sweep_of(args: argparse.Namespace) -> Sweep:
    """The sweep that the arguments describe. Raises ArgumentError for a bad QWEN3CPU_THREADS."""
    return Sweep(
        n_prompt=args.n_prompt,
        n_gen=args.n_gen,
        depth=args.depth,
        batch=args.batch,
        threads=args.threads or [resolve_threads(None)],
        quant=args.quant or [None],
        kv=args.kv,
    )


def measure(model: str | None, synthetic: str | None, sweep: Sweep, repetitions: int) -> list[Record]:
    """Measure all cases of a sweep.

    First each case runs once as a warm-up, smallest first. Then every repetition runs all cases, so that a drift of the
    machine affects all of them alike. Only one process works at a time.

    Args:
        model: what `load` takes, or None.
        synthetic: a size of random weights, if `model` is None.
        sweep: the settings.
        repetitions: timed runs of every case.

    Raises:
        BenchError: no case, a case that does not fit the model, or a worker that failed.
    """
    machine = Machine.here()
    cases = sweep.cases()
    with _workers(cases, model, synthetic) as (prober, workers, opened):
        runs: dict[Case, list[dict[str, Any]]] = {case: [] for case in cases}
        peaks: dict[int, list[Peaks]] = {case.threads: [] for case in cases}
        largest = max(each["weight_bytes"] for each in opened.values())

        def run(case: Case) -> None:
            runs[case].append(workers[case.quant, case.kv].ask("run", case=case.as_dict()))
            progress.advance(1)

        with Progress("Measuring", len(cases) * (repetitions + 1), unit="runs") as progress:
            for case in sorted(cases, key=lambda case: case.batch * case.positions):
                run(case)
            for _ in range(repetitions):
                for threads, measured in peaks.items():
                    measured.append(Peaks(**prober.ask("peaks", threads=threads, model_bytes=largest)))
                for case in cases:
                    run(case)
    return [make_record(case, opened[case.quant, case.kv], runs[case], peaks[case.threads], machine) for case in cases]


Key = tuple["str | None", str]


@contextmanager
def _workers(
    cases: Sequence[Case], model: str | None, synthetic: str | None
) -> Iterator[tuple[Worker, dict[Key, Worker], dict[Key, dict[str, Any]]]]:
    """Start a process that measures the machine and one for each model; also return what each reported on opening."""
    with ExitStack() as stack:
        prober = stack.enter_context(Worker("peaks of the machine"))
        workers: dict[Key, Worker] = {}
        opened: dict[Key, dict[str, Any]] = {}
        models = dict.fromkeys((case.quant, case.kv) for case in cases)
        threads = max(case.threads for case in cases)
        with Progress("Loading", len(models), unit="models") as progress:
            for quant, kv in models:
                key = (quant, kv)
                name = f"{model or synthetic}, {quant or 'default quant'}, kv {kv}"
                workers[key] = stack.enter_context(Worker(name))
                opened[key] = workers[key].ask(
                    "open", model=model, synthetic=synthetic, quant=quant, kv=kv, threads=threads
                )
                progress.advance(1)
        for case in cases:
            context = opened[case.quant, case.kv]["context"]
            if case.positions > context:
                raise BenchError(
                    f"{case.label} after {case.depth} tokens needs {case.positions} positions; "
                    f"the context of {opened[case.quant, case.kv]['model']} has {context}"
                )
        yield prober, workers, opened
