"""Computes the gain of a draft model from measured passes of both models, for any share of right guesses.

A draft of k tokens takes k passes of the small model over one token, and one pass of the large model over k + 1
positions. It brings one token, and one more for each drafted token that is right, up to the first wrong one.
"""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from qwen3cpu.bench.cases import Case
from qwen3cpu.bench.errors import BenchError
from qwen3cpu.bench.machine import Machine
from qwen3cpu.bench.process import Worker
from qwen3cpu.loading.random_weights import SIZES
from qwen3cpu.system.progress_bar import Progress

MOST_POSITIONS = 16
"""Most positions of a pass that are measured; all numbers from one on are."""
ACCEPTANCES = (0.3, 0.5, 0.7, 0.8, 0.9)
"""Shares of right guesses in the table."""


@dataclass(frozen=True)
class PassesOfBoth:
    """Seconds of passes in each turn.

    Attributes:
        model, draft: the names of both models, with their formats.
        threads: of both.
        depth: positions that the sequences already held.
        isa: instruction set.
        large: for 1, 2, ... positions, the seconds of a pass of the large model in each turn.
        small: the seconds of a pass of the small model over one token in each turn.
    """

    model: str
    draft: str
    threads: int
    depth: int
    isa: str
    large: Sequence[Sequence[float]]
    small: Sequence[float]

    @property
    def turns(self) -> Iterator[tuple[list[float], float]]:
        """The large model's passes by positions, and the small one's, for each turn."""
        return ((list(large), small) for *large, small in zip(*self.large, self.small, strict=True))

    @property
    def medians(self) -> tuple[list[float], float]:
        """The medians over the turns of the same times."""
        return [statistics.median(each) for each in self.large], statistics.median(self.small)


@dataclass(frozen=True)
class Gain:
    """The gain of drafts at one share of right guesses."""

    acceptance: float
    """How often a drafted token is right when those before it are, 0 to 1."""
    length: int
    """Length of the fastest drafts in tokens; 0: no drafts are fastest."""
    tokens_a_pass: float
    tokens_per_second: float
    """Of the passes alone, without sampling and detokenizing."""
    ratio: float
    """Speed relative to no drafts: the median of the turns."""
    quartiles: tuple[float, float]
    """Quartiles of the ratio over the turns."""


def expected_tokens(acceptance: float, length: int) -> float:
    """Expected tokens of a pass with a draft of `length` tokens."""
    return sum(acceptance**right for right in range(length + 1))


def ratio(large: Sequence[float], small: float, acceptance: float, length: int) -> float:
    """Speed with drafts of `length` tokens, relative to no drafts.

    Args:
        large: seconds of passes over 1, 2, ... positions.
        small: seconds of a pass of the small model.
        acceptance: see Gain.
        length: tokens of a draft.
    """
    return expected_tokens(acceptance, length) * large[0] / (large[length] + length * small)


def best_length(large: Sequence[float], small: float, acceptance: float) -> int:
    """The length of the fastest drafts, 0 for no drafts; arguments as for `ratio`."""
    return max(range(len(large)), key=lambda length: ratio(large, small, acceptance, length))


def break_even(large: Sequence[float], small: float) -> float:
    """The acceptance above which drafts pay; 1: they never pay. Arguments as for `ratio`."""
    below, above = 0.0, 1.0
    for _ in range(40):
        middle = (below + above) / 2
        if best_length(large, small, middle):
            above = middle
        else:
            below = middle
    return above


def gain(found: PassesOfBoth, acceptance: float) -> Gain:
    """The gain of drafts at one share of right guesses, with the length that is best by the medians of all turns."""
    large, small = found.medians
    length = best_length(large, small, acceptance)
    ratios = [ratio(*turn, acceptance, length) for turn in found.turns]
    middle = statistics.median(ratios)
    lower, _, upper = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else (middle,) * 3
    tokens = expected_tokens(acceptance, length)
    return Gain(acceptance, length, tokens, tokens / (large[length] + length * small), middle, (lower, upper))


def measure_passes(model: str | None, synthetic: str | None, draft: str, case: Case, turns: int) -> PassesOfBoth:
    """Measure passes of both models in turns, each model in its own process.

    Args:
        model: the large model, what `load` takes; or None.
        synthetic: a size of random weights, if `model` is None; then the draft is a size too.
        draft: the small model.
        case: gives threads, depth, weight format and KV format; the draft has its default weight format.
        turns: measured turns, after one that does not count.

    Raises:
        BenchError: the draft is not a size, or a worker failed.
    """
    if synthetic is not None and draft not in SIZES:
        raise BenchError(f"--draft: expected a size with --synthetic, one of {', '.join(SIZES)}, found {draft!r}")
    own = {"kv": case.kv, "threads": case.threads}
    with ExitStack() as stack, Progress("Measuring", turns + 1, unit="turns") as progress:
        large = stack.enter_context(Worker(model or synthetic or ""))
        small = stack.enter_context(Worker(f"the draft {draft}"))
        opened = large.ask("open", model=model, synthetic=synthetic, quant=case.quant, **own)
        about = small.ask(
            "open", model=None if synthetic else draft, synthetic=draft if synthetic else None, quant=None, **own
        )
        positions = case.depth + MOST_POSITIONS
        for each in (opened, about):
            if each["context"] < positions:
                raise BenchError(
                    f"{each['model']}: expected a context of {positions} positions, found {each['context']}"
                )
        times: list[list[float]] = [[] for _ in range(MOST_POSITIONS)]
        tokens: list[float] = []
        for turn in range(turns + 1):
            order = list(range(MOST_POSITIONS)) if turn % 2 else list(reversed(range(MOST_POSITIONS)))
            for place in order:
                seconds = _pass(large, place + 1, case)
                if turn:
                    times[place].append(seconds)
            seconds = _pass(small, 1, case)
            if turn:
                tokens.append(seconds)
            progress.advance(1)
    return PassesOfBoth(_named(opened), _named(about), case.threads, case.depth, opened["isa"], times, tokens)


def _pass(worker: Worker, tokens: int, case: Case) -> float:
    seconds: float = worker.ask("time_pass", tokens=tokens, depth=case.depth, threads=case.threads)["seconds"]
    return seconds


def _named(opened: dict[str, Any]) -> str:
    return f"{opened['model']}, {opened['quant']}"


def as_markdown(found: PassesOfBoth, machine: Machine) -> str:
    """The times of passes, a table by acceptance, and the break-even."""
    large, small = found.medians
    lines = [
        f"{found.model}, drafted by {found.draft}; {found.threads} threads, after {found.depth} tokens; {machine.cpu}, "
        f"{found.isa}; qwen3cpu {machine.version}",
        "",
        f"A token of the draft takes {1000 * small:.2f} ms, {small / large[0]:.2f} of a pass over one position.",
        "",
        "| positions | ms | relative to one (quartiles) |",
        "|---:|---:|---:|",
    ]
    for place, seconds in enumerate(large):
        ratios = [mine / one for mine, one in zip(found.large[place], found.large[0], strict=True)]
        lower, middle, upper = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        lines.append(f"| {place + 1} | {1000 * seconds:.2f} | {middle:.2f} ({lower:.2f} to {upper:.2f}) |")
    lines += [
        "",
        "| acceptance | draft length | tokens a pass | tok/s | ratio (quartiles) |",
        "|---:|---:|---:|---:|---:|",
    ]
    for each in (gain(found, acceptance) for acceptance in ACCEPTANCES):
        lower, upper = each.quartiles
        lines.append(
            f"| {each.acceptance} | {each.length} | {each.tokens_a_pass:.2f} | {each.tokens_per_second:.1f} | "
            f"**{each.ratio:.2f}** ({lower:.2f} to {upper:.2f}) |"
        )
    lines += ["", f"Drafts pay from an acceptance of {break_even(large, small):.2f} on."]
    return "\n".join(lines) + "\n"


def as_json(found: PassesOfBoth, machine: Machine) -> str:
    """One object: the times, and the gains computed from them."""
    rows = [asdict(gain(found, acceptance)) for acceptance in ACCEPTANCES]
    about = {**asdict(found), "gains": rows, "break_even": break_even(*found.medians), "machine": asdict(machine)}
    return json.dumps(about, indent=1) + "\n"


def as_csv(found: PassesOfBoth, machine: Machine) -> str:
    """A line for each acceptance."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["model", "draft", "threads", "depth", "cpu", "acceptance", "length", "tokens_a_pass", "tokens_per_second",
         "ratio", "ratio_lower_quartile", "ratio_upper_quartile"]
    )  # fmt: skip
    for each in (gain(found, acceptance) for acceptance in ACCEPTANCES):
        same = (found.model, found.draft, found.threads, found.depth, machine.cpu)
        own = (each.acceptance, each.length, each.tokens_a_pass, each.tokens_per_second, each.ratio)
        writer.writerow([*same, *own, *each.quartiles])
    return out.getvalue()


FORMS: dict[str, Callable[[PassesOfBoth, Machine], str]] = {"md": as_markdown, "csv": as_csv, "json": as_json}
