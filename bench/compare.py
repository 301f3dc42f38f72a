"""Compare qwen3cpu with llama.cpp on this machine, in one run: the same shape, random weights, ratios of medians.

Each engine has a process of its own that stays alive. The two take turns (A B A B ...), one at a time and with the same
number of threads, so changes of the machine's speed affect both. A case ends when the median of its ratios is known to
5 %: when the interval that holds it with 95 % certainty is so narrow. qwen3cpu is measured as its users run it, with
sampling and detokenizing. For llama.cpp only llama_decode is timed (see peer_llama.py). `--isa` compares instruction
sets one by one, each with the build of llama.cpp that build_peers.py made for it. Needs the extra `compare`, here or in
the interpreter of `--peer-python`.
"""

from __future__ import annotations

import argparse
import dataclasses
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
from qwen3cpu.packed.cache import cache_folder
from qwen3cpu.system.instruction_sets import chosen_isa
from qwen3cpu.system.peaks import Peaks
from qwen3cpu.system.thread_count import resolve_threads

PEER_TYPES = {"q4": "Q4_0", "q8": "Q8_0", "bf16": "BF16"}
SETTLED_PERCENT = 5
"""A case is done when its ratio is known this closely."""
SHARED = 0.75
"""Threads share a unit, or a clock, if they reach less than this part of their number times one thread's speed."""


@dataclass(frozen=True)
class Duel:
    """A case for both engines, and the least ratio that qwen3cpu aims for (None: shown for information)."""

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


PROMPT_FLOORS = {"amx": 4.0, "avx512vnni": 2.2, "avxvnni": 2.5, "avx2": 2.6}
"""The least ratio of a q4 prompt of 512, for each instruction set with builds of both engines."""


def duels(threads: int, n_gen: int, isa: str) -> list[Duel]:
    """The table of cases, on `threads` threads, decoding `n_gen` tokens."""

    def duel(quant: str, floor: float | None, n_prompt: int = 0, **settings: int) -> Duel:
        values = {"n_gen": 0 if n_prompt else n_gen, "depth": 0, "batch": 1, "threads": threads, **settings}
        return Duel(Case(n_prompt=n_prompt, quant=quant, kv="f16", **values), floor)

    return [
        duel("q4", 1.4),
        duel("q4", PROMPT_FLOORS.get(isa), n_prompt=512),
        duel("q4", 3.8, depth=4096),
        duel("q4", 5.0, depth=16384),
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
    """The results of both engines in a case."""

    name: str
    isa: str
    """Of qwen3cpu."""
    case: dict[str, Any]
    tokens_per_second: Spread
    peer_type: str
    peer_tokens_per_second: Spread
    ratio: float
    """Of the medians."""
    ratios: Spread
    """Of consecutive runs."""
    floor: float | None
    bytes_per_token: float
    read_gb_s: float
    read_percent: float
    int8_gmac_s: Spread
    """10^9 multiply-adds a second of all threads, measured between the turns."""
    int8_gmac_s_one: Spread
    """The same of one thread, with the other cores idle."""
    multiply_percent: float
    peak_rss_bytes: int
    peer_peak_rss_bytes: int


@dataclass(frozen=True)
class Plan:
    """How a comparison is made.

    Args:
        size: shape, one of SIZES.
        least: timed turns of each case, after one that is not timed.
        most: turns after which a case ends even if its ratio is not settled.
        folder: where GGUF files are written, or found from an earlier run.
    """

    size: str
    least: int
    most: int
    folder: Path


Pairs = list[tuple[dict[str, Any], dict[str, Any]]]
"""The reports of both engines for each run of a case, beginning with the run that warms up."""


def _speeds(pairs: Pairs) -> list[tuple[float, float]]:
    return [(mine["tokens"] / mine["seconds"], its["tokens"] / its["seconds"]) for mine, its in pairs[1:]]


def _settled(pairs: Pairs) -> bool:
    return Spread.of(mine / its for mine, its in _speeds(pairs)).uncertain_percent < SETTLED_PERCENT


def compare(plan: Plan, chosen: Sequence[Duel], isa: str, peer_python: str) -> tuple[list[Outcome], dict[str, Any]]:
    """Run the cases, one weight format after the other, so that memory holds two models at a time.

    Args:
        plan: how to compare.
        chosen: the cases.
        isa: instruction set of qwen3cpu.
        peer_python: interpreter with llama-cpp-python and gguf.

    Returns:
        The outcomes, and llama.cpp's description of itself. Each turn is reported on stderr as it ends.

    Raises:
        BenchError: an engine failed.
    """
    outcomes: dict[Duel, Outcome] = {}
    peer: dict[str, Any] = {}
    with Worker("peaks of the machine", environment={"QWEN3CPU_ISA": isa}) as prober:
        for quant in dict.fromkeys(duel.case.quant for duel in chosen):
            assert quant is not None
            own_duels = [duel for duel in chosen if duel.case.quant == quant]
            with _engines(plan, quant, own_duels, isa, peer_python) as (own, other, opened, said):
                peer = said
                runs: dict[Duel, Pairs] = {duel: [] for duel in own_duels}
                peaks: dict[int, list[Peaks]] = {threads: [] for threads in {1, *(d.case.threads for d in own_duels)}}

                def run(duel: Duel, own: Worker = own, other: Worker = other, runs: Any = runs) -> None:
                    case = duel.case.as_dict()
                    pair = own.ask("run", case=case), other.ask("run", case=case)
                    runs[duel].append(pair)
                    mine, theirs = (run["tokens"] / run["seconds"] for run in pair)
                    told = f"{isa}, {duel.name}, turn {len(runs[duel]) - 1}: {mine:.1f} beside {theirs:.1f} tok/s"
                    print(told, file=sys.stderr, flush=True)

                for duel in sorted(own_duels, key=lambda duel: duel.case.batch * duel.case.positions):
                    run(duel)
                for turn in range(plan.most):
                    open_duels = [duel for duel in own_duels if turn < plan.least or not _settled(runs[duel])]
                    for threads in {1, *(duel.case.threads for duel in open_duels)} if open_duels else ():
                        answer = prober.ask("peaks", threads=threads, model_bytes=opened["weight_bytes"])
                        peaks[threads].append(Peaks(**answer))
                    for duel in open_duels:
                        run(duel)
                for duel in own_duels:
                    outcomes[duel] = _outcome(duel, isa, opened, runs[duel], peaks)
    return [outcomes[duel] for duel in chosen], peer


@contextmanager
def _engines(
    plan: Plan, quant: str, own_duels: Sequence[Duel], isa: str, peer_python: str
) -> Iterator[tuple[Worker, Worker, dict[str, Any], dict[str, Any]]]:
    """Both engines with their models loaded, and the description of each."""
    threads = max(duel.case.threads for duel in own_duels)
    config = synthetic_config(plan.size)
    path = plan.folder / f"{plan.size}-{PEER_TYPES[quant]}.gguf"
    peer_command = (peer_python, str(Path(__file__).with_name("peer_llama.py")))
    with (
        Worker("qwen3cpu", environment={"QWEN3CPU_ISA": isa}) as own,
        Worker("llama.cpp", peer_command) as other,
    ):
        if not path.exists():
            other.ask("write", path=str(path), shape=dataclasses.asdict(config), kind=PEER_TYPES[quant])
        said = other.ask("open", path=str(path), vocab_size=config.vocab_size)
        opened = own.ask("open", model=None, synthetic=plan.size, quant=quant, kv="f16", threads=threads)
        yield own, other, opened, said


def _outcome(duel: Duel, isa: str, opened: dict[str, Any], runs: Pairs, all_peaks: dict[int, list[Peaks]]) -> Outcome:
    speeds, peaks = _speeds(runs), all_peaks[duel.case.threads]
    own, other = Spread.of(speed for speed, _ in speeds), Spread.of(speed for _, speed in speeds)
    assert duel.case.quant is not None
    costs = ModelCosts(**opened["costs"])
    read = statistics.median(peak.read_gb_s for peak in peaks)
    multiply = statistics.median(getattr(peak, f"{costs.multiply}_gmac_s") for peak in peaks)
    return Outcome(
        name=duel.name,
        isa=isa,
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
        int8_gmac_s=Spread.of(peak.int8_gmac_s for peak in peaks),
        int8_gmac_s_one=Spread.of(peak.int8_gmac_s for peak in all_peaks[1]),
        multiply_percent=100 * costs.macs_per_token(duel.case) * own.median / (multiply * 1e9),
        peak_rss_bytes=runs[0][0]["peak_rss_bytes"],
        peer_peak_rss_bytes=runs[0][1]["peak_rss_bytes"],
    )


def together(outcomes: Sequence[Outcome]) -> float | None:
    """Speed of 8 sequences decoded together / speed of one, in qwen3cpu; None when one of the cases did not run."""
    speeds = {
        outcome.case["batch"]: outcome.tokens_per_second.median
        for outcome in reversed(outcomes)
        if outcome.case["n_gen"] and outcome.case["quant"] == "q4" and not outcome.case["depth"]
    }
    return speeds[8] / speeds[1] if 8 in speeds and 1 in speeds else None


def as_markdown(outcomes: Sequence[Outcome]) -> str:
    """A table for people and docs."""
    lines = [
        "| case | qwen3cpu tok/s | llama.cpp tok/s | ratio of medians | turns | floor | % of reading | "
        "% of multiply peak | peak RSS MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for outcome in outcomes:
        missed = outcome.floor is not None and outcome.ratio < outcome.floor
        decode = bool(outcome.case["n_gen"])
        cells = (
            f"{outcome.name}; {outcome.peer_type}",
            spread_text(outcome.tokens_per_second),
            spread_text(outcome.peer_tokens_per_second),
            f"**{outcome.ratio:.2f}** ({outcome.ratios.min:.2f} to {outcome.ratios.max:.2f})",
            f"{len(outcome.ratios.runs)}, known to {outcome.ratios.uncertain_percent:.1f} %",
            "" if outcome.floor is None else f"{outcome.floor:g}" + (" MISSED" if missed else ""),
            f"{outcome.read_percent:.0f} of {outcome.read_gb_s:.1f} GB/s" if decode else "",
            "" if decode else f"{outcome.multiply_percent:.0f}",
            f"{outcome.peak_rss_bytes / 1e6:.0f}; {outcome.peer_peak_rss_bytes / 1e6:.0f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *dict.fromkeys(peaks_text(outcome) for outcome in outcomes)]
    gain = together(outcomes)
    if gain is not None:
        lines += ["", f"8 sequences decoded together: {gain:.2f} times one sequence (floor 4)."]
    return "\n".join(lines) + "\n"


def peaks_text(outcome: Outcome) -> str:
    """The machine's peak of multiplications during a case, and whether its threads slowed each other down."""
    threads, every, one = outcome.case["threads"], outcome.int8_gmac_s, outcome.int8_gmac_s_one
    text = f"int8 peak, 10^9 multiply-adds a second: {spread_text(one)} on 1 thread"
    if threads > 1:
        text += f", {spread_text(every)} on {threads}"
        if every.median < SHARED * threads * one.median:
            text += " (the threads share a multiplier, or clocks fall when all work)"
    if min(every.min / every.max, one.min / one.max) < SHARED:
        text += " (it changed during the run: other work, or throttled clocks)"
    return text + "."


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=tuple(SIZES), default="1.7B", help="shape (default: %(default)s)")
    parser.add_argument("-t", "--threads", type=int, metavar="N", help="default: what qwen3cpu takes by itself")
    parser.add_argument("-r", "--repetitions", type=int, default=7, metavar="N", help="turns at least (%(default)s)")
    parser.add_argument("--at-most", type=int, default=31, metavar="N", help="turns at most (%(default)s)")
    parser.add_argument("-n", "--n-gen", type=int, default=64, metavar="N", help="tokens to decode (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="2 turns, 16 tokens to decode")
    parser.add_argument(
        "--cases",
        nargs="+",
        default=[""],
        metavar="TEXT",
        help="only cases whose name contains one of these texts, such as 'q4 prompt 512' or bf16",
    )
    parser.add_argument(
        "--isa",
        nargs="+",
        metavar="NAME",
        help="instruction sets, each compared with its build of llama.cpp (default: the best, with --peer-python)",
    )
    parser.add_argument("--peers", type=Path, metavar="DIR", help="folder of build_peers.py (default: its default)")
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
        help="keep the GGUF files in this folder and use them again (default: a temporary folder)",
    )
    parser.add_argument("-o", "--output", choices=("md", "json"), default="md", help="default: %(default)s")
    return parser


def chosen_duels(args: argparse.Namespace, isa: str) -> list[Duel]:
    """The cases that the arguments ask for. Raises BenchError when there are none."""
    if args.repetitions < 1 or args.n_gen < 1 or args.at_most < 1:
        raise BenchError("expected at least one repetition, one turn at most and one token to decode")
    table = duels(resolve_threads(args.threads), 16 if args.quick else args.n_gen, isa)
    context = synthetic_config(args.size).max_position_embeddings
    chosen = {
        duel.name: duel
        for duel in table
        if any(text in duel.name for text in args.cases) and duel.case.positions <= context
    }
    if not chosen:
        raise BenchError(f"--cases: expected a part of one of {'; '.join(duel.name for duel in table)}")
    return list(chosen.values())


def peers(args: argparse.Namespace) -> dict[str, str]:
    """Instruction set of qwen3cpu -> interpreter of llama.cpp's build. Raises BenchError for a missing build."""
    if args.isa is None:
        return {chosen_isa(): args.peer_python}
    folder = args.peers or cache_folder() / "peers"
    found = {isa: folder / isa / "bin" / "python" for isa in args.isa}
    for isa, python in found.items():
        if not python.exists():
            raise BenchError(f"--isa {isa}: expected {python}, found none; bench/build_peers.py makes it")
    return {isa: str(python) for isa, python in found.items()}


def main() -> int:
    """Run the comparison; returns the exit code."""
    args = make_parser().parse_args()
    outcomes: list[Outcome] = []
    said: dict[str, Any] = {}
    try:
        with ExitStack() as stack:
            folder = args.gguf_folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qwen3cpu-")))
            machine = Machine.here()
            least, most = (2, 2) if args.quick else (args.repetitions, max(args.repetitions, args.at_most))
            pythons = peers(args)
            chosen = {isa: chosen_duels(args, isa) for isa in pythons}
            for isa, python in pythons.items():
                found, said[isa] = compare(Plan(args.size, least, most, folder), chosen[isa], isa, python)
                outcomes += found
    except Qwen3CpuError as error:
        print(f"compare.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if args.output == "json":
        where = {**dataclasses.asdict(machine), "size": args.size, "peers": said}
        print(json.dumps({**where, "cases": [dataclasses.asdict(outcome) for outcome in outcomes]}, indent=1))
        return 0
    print(f"Qwen3-{args.size} shape, random weights; {machine.cpu}; qwen3cpu {machine.version}", end="")
    print(f", commit {machine.commit}" if machine.commit else "")
    for isa, peer in said.items():
        print(f"\n{isa}; llama-cpp-python {peer['version']} ({peer['system'].strip(' |')})\n")
        print(as_markdown([outcome for outcome in outcomes if outcome.isa == isa]), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
