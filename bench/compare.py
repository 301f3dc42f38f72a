"""qwen3cpu beside llama.cpp on this machine, in one run: the same shape, random weights, ratios of medians.

Each engine has a process of its own that stays alive; the two take turns (A B A B ...), one working at a time with the
same number of threads, so that a machine that drifts drifts for both. qwen3cpu is measured as its users run it, with
sampling and detokenizing; of llama.cpp only llama_decode is timed (see peer_llama.py). Needs the extra `compare`, here
or in the interpreter that --peer-python names.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen3cpu.bench.cases import Case
from qwen3cpu.bench.errors import BenchError
from qwen3cpu.bench.limits import ModelCosts
from qwen3cpu.bench.machine import Machine
from qwen3cpu.bench.process import Worker
from qwen3cpu.bench.report import Spread, spread_text
from qwen3cpu.errors import Qwen3CpuError
from qwen3cpu.loading.random_weights import SIZES, synthetic_config
from qwen3cpu.system.peaks import Peaks
from qwen3cpu.system.thread_count import resolve_threads

PEER_TYPES = {"q4": "Q4_0", "q8": "Q8_0", "bf16": "BF16"}


@dataclass(frozen=True)
class Duel:
    """A case for both engines, and the ratio that qwen3cpu means to reach at least (None: shown for information)."""

    case: Case
    floor: float | None

    @property
    def name(self) -> str:
        """For people."""
        case = self.case
        after = f" after {case.depth}" if case.depth else ""
        together = f" of {case.batch} sequences" if case.batch > 1 else ""
        threads = f"{case.threads} thread" + ("s" if case.threads > 1 else "")
        return f"{case.quant} {case.label}{together}{after} on {threads}"


def duels(threads: int, n_gen: int) -> list[Duel]:
    """The table of cases, on `threads` threads, decoding `n_gen` tokens."""

    def duel(quant: str, floor: float | None, n_prompt: int = 0, **settings: int) -> Duel:
        values = {"n_gen": 0 if n_prompt else n_gen, "depth": 0, "batch": 1, "threads": threads, **settings}
        return Duel(Case(n_prompt=n_prompt, quant=quant, kv="f16", **values), floor)

    return [
        duel("q4", 1.4),
        duel("q4", 2.5, n_prompt=512),
        duel("q4", 2.5, depth=4096),
        duel("q4", 2.5, n_prompt=4096),
        duel("q4", 1.4, threads=1),
        duel("q4", 2.3, n_prompt=512, threads=1),
        duel("q4", None, batch=8),
        duel("q8", 1.35),
        duel("q8", 1.8, n_prompt=512),
        duel("bf16", 1.15),
    ]


@dataclass(frozen=True)
class Outcome:
    """What both engines did in a case."""

    name: str
    case: dict[str, Any]
    tokens_per_second: Spread
    peer_type: str
    peer_tokens_per_second: Spread
    ratio: float
    """Of the medians."""
    ratios: Spread
    """Of the runs that followed each other."""
    floor: float | None
    bytes_per_token: float
    read_gb_s: float
    read_percent: float
    multiply_percent: float
    peak_rss_bytes: int
    peer_peak_rss_bytes: int


def compare(
    size: str, chosen: Sequence[Duel], repetitions: int, peer_python: str, folder: Path
) -> tuple[list[Outcome], dict[str, Any]]:
    """Run the cases, one weight format after the other, so that memory holds two models at a time.

    Args:
        size: shape, one of SIZES.
        chosen: the cases.
        repetitions: timed runs of each case and engine, after one that is not timed.
        peer_python: interpreter with llama-cpp-python and gguf.
        folder: where GGUF files are written, or found from an earlier run.

    Returns:
        The outcomes, and what llama.cpp says of itself. Each round is told on stderr as it ends.

    Raises:
        BenchError: an engine failed.
    """
    outcomes: dict[Duel, Outcome] = {}
    peer: dict[str, Any] = {}
    with ExitStack() as stack:
        prober = stack.enter_context(Worker("peaks of the machine"))
        rounds = itertools.count(1)
        for quant in dict.fromkeys(duel.case.quant for duel in chosen):
            assert quant is not None
            own_duels = [duel for duel in chosen if duel.case.quant == quant]
            with _engines(size, quant, own_duels, peer_python, folder) as (own, other, opened, said):
                peer = said
                runs: dict[Duel, list[tuple[dict[str, Any], dict[str, Any]]]] = {duel: [] for duel in own_duels}
                peaks: dict[int, list[Peaks]] = {duel.case.threads: [] for duel in own_duels}

                def run(duel: Duel, own: Worker = own, other: Worker = other, runs: Any = runs) -> None:
                    case = duel.case.as_dict()
                    pair = own.ask("run", case=case), other.ask("run", case=case)
                    runs[duel].append(pair)
                    mine, theirs = (run["tokens"] / run["seconds"] for run in pair)
                    at = f"{next(rounds)}/{len(chosen) * (repetitions + 1)}"
                    print(f"{at} {duel.name}: {mine:.1f} beside {theirs:.1f} tok/s", file=sys.stderr, flush=True)

                for duel in sorted(own_duels, key=lambda duel: duel.case.batch * duel.case.positions):
                    run(duel)
                for _ in range(repetitions):
                    for threads, measured in peaks.items():
                        answer = prober.ask("peaks", threads=threads, model_bytes=opened["weight_bytes"])
                        measured.append(Peaks(**answer))
                    for duel in own_duels:
                        run(duel)
                for duel in own_duels:
                    outcomes[duel] = _outcome(duel, opened, runs[duel], peaks[duel.case.threads])
    return [outcomes[duel] for duel in chosen], peer


@contextmanager
def _engines(
    size: str, quant: str, own_duels: Sequence[Duel], peer_python: str, folder: Path
) -> Iterator[tuple[Worker, Worker, dict[str, Any], dict[str, Any]]]:
    """Both engines with their models loaded, and what each says of its own."""
    threads = max(duel.case.threads for duel in own_duels)
    config = synthetic_config(size)
    path = folder / f"{size}-{PEER_TYPES[quant]}.gguf"
    peer_command = (peer_python, str(Path(__file__).with_name("peer_llama.py")))
    with Worker("qwen3cpu") as own, Worker("llama.cpp", peer_command) as other:
        if not path.exists():
            other.ask("write", path=str(path), shape=dataclasses.asdict(config), kind=PEER_TYPES[quant])
        said = other.ask("open", path=str(path), vocab_size=config.vocab_size)
        opened = own.ask("open", model=None, synthetic=size, quant=quant, kv="f16", threads=threads)
        yield own, other, opened, said


def _outcome(
    duel: Duel,
    opened: dict[str, Any],
    runs: Sequence[tuple[dict[str, Any], dict[str, Any]]],
    peaks: Sequence[Peaks],
) -> Outcome:
    speeds = [tuple(run["tokens"] / run["seconds"] for run in pair) for pair in runs[1:]]
    own, other = Spread.of(speed for speed, _ in speeds), Spread.of(speed for _, speed in speeds)
    assert duel.case.quant is not None
    costs = ModelCosts(**opened["costs"])
    read = statistics.median(peak.read_gb_s for peak in peaks)
    multiply = statistics.median(getattr(peak, f"{costs.multiply}_gmac_s") for peak in peaks)
    return Outcome(
        name=duel.name,
        case=duel.case.as_dict(),
        tokens_per_second=own,
        peer_type=PEER_TYPES[duel.case.quant],
        peer_tokens_per_second=other,
        ratio=own.median / other.median,
        ratios=Spread.of(mine / theirs for mine, theirs in speeds),
        floor=duel.floor,
        bytes_per_token=costs.bytes_per_token(duel.case),
        read_gb_s=read,
        read_percent=100 * costs.bytes_per_token(duel.case) * own.median / (read * 1e9),
        multiply_percent=100 * costs.macs_per_token(duel.case) * own.median / (multiply * 1e9),
        peak_rss_bytes=runs[0][0]["peak_rss_bytes"],
        peer_peak_rss_bytes=runs[0][1]["peak_rss_bytes"],
    )


def together(outcomes: Sequence[Outcome]) -> float | None:
    """Tokens per second of 8 sequences decoded together against one, here; None when one of the cases did not run."""
    speeds = {
        outcome.case["batch"]: outcome.tokens_per_second.median
        for outcome in reversed(outcomes)
        if outcome.case["n_gen"] and outcome.case["quant"] == "q4" and not outcome.case["depth"]
    }
    return speeds[8] / speeds[1] if 8 in speeds and 1 in speeds else None


def as_markdown(outcomes: Sequence[Outcome]) -> str:
    """A table for people and docs."""
    lines = [
        "| case | qwen3cpu tok/s | llama.cpp tok/s | ratio of medians | floor | % of reading | % of multiply peak | "
        "peak RSS MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for outcome in outcomes:
        floor = (
            ""
            if outcome.floor is None
            else f"{outcome.floor:g}" + ("" if outcome.ratio >= outcome.floor else " MISSED")
        )
        decode = bool(outcome.case["n_gen"])
        cells = (
            f"{outcome.name}; {outcome.peer_type}",
            spread_text(outcome.tokens_per_second),
            spread_text(outcome.peer_tokens_per_second),
            f"**{outcome.ratio:.2f}** ({outcome.ratios.min:.2f} to {outcome.ratios.max:.2f})",
            floor,
            f"{outcome.read_percent:.0f} of {outcome.read_gb_s:.1f} GB/s" if decode else "",
            "" if decode else f"{outcome.multiply_percent:.0f}",
            f"{outcome.peak_rss_bytes / 1e6:.0f}; {outcome.peer_peak_rss_bytes / 1e6:.0f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    gain = together(outcomes)
    if gain is not None:
        lines += ["", f"8 sequences decoded together: {gain:.2f} times one sequence (floor 4)."]
    return "\n".join(lines) + "\n"


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=tuple(SIZES), default="1.7B", help="shape (default: %(default)s)")
    parser.add_argument("-t", "--threads", type=int, metavar="N", help="default: what qwen3cpu takes by itself")
    parser.add_argument("-r", "--repetitions", type=int, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("-n", "--n-gen", type=int, default=64, metavar="N", help="tokens to decode (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="2 repetitions, 16 tokens to decode")
    parser.add_argument(
        "--cases",
        nargs="+",
        default=[""],
        metavar="TEXT",
        help="only cases with one of these texts in their name, as in 'q4 prompt 512' bf16",
    )
    parser.add_argument(
        "--peer-python",
        default=sys.executable,
        metavar="PYTHON",
        help="interpreter with llama-cpp-python and gguf (default: this one)",
    )
    parser.add_argument(
        "--gguf-folder",
        type=Path,
        metavar="DIR",
        help="keep the GGUF files there and use them again (default: a temporary folder)",
    )
    parser.add_argument("-o", "--output", choices=("md", "json"), default="md", help="default: %(default)s")
    return parser


def chosen_duels(args: argparse.Namespace) -> list[Duel]:
    """The cases that the arguments ask for. Raises BenchError when there are none."""
    if args.repetitions < 1 or args.n_gen < 1:
        raise BenchError("expected at least one repetition and one token to decode")
    table = duels(resolve_threads(args.threads), 16 if args.quick else args.n_gen)
    context = synthetic_config(args.size).max_position_embeddings
    chosen = {
        duel.name: duel
        for duel in table
        if any(text in duel.name for text in args.cases) and duel.case.positions <= context
    }
    if not chosen:
        raise BenchError(f"--cases: expected a part of one of {'; '.join(duel.name for duel in table)}")
    return list(chosen.values())


def main() -> int:
    """Run the comparison; returns the exit code."""
    args = make_parser().parse_args()
    try:
        with ExitStack() as stack:
            folder = args.gguf_folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qwen3cpu-")))
            machine = Machine.here()
            outcomes, peer = compare(
                args.size, chosen_duels(args), 2 if args.quick else args.repetitions, args.peer_python, folder
            )
    except Qwen3CpuError as error:
        print(f"compare.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if args.output == "json":
        where = {**dataclasses.asdict(machine), "isa": chosen_isa(), "size": args.size, "peer": peer}
        print(json.dumps({**where, "cases": [dataclasses.asdict(outcome) for outcome in outcomes]}, indent=1))
        return 0
    print(f"Qwen3-{args.size} shape, random weights; {machine.cpu}, {chosen_isa()}; qwen3cpu {machine.version}", end="")
    print(f", commit {machine.commit}" if machine.commit else "", end="")
    print(f"; llama-cpp-python {peer['version']} ({peer['system'].strip(' |')})\n")
    print(as_markdown(outcomes), end="")
    return 0


def chosen_isa() -> str:
    """The instruction set that qwen3cpu uses here."""
    from qwen3cpu import _native

    return _native.chosen_isa()


if __name__ == "__main__":
    sys.exit(main())
