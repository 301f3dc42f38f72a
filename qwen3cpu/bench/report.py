"""Records of the measurements, and their formats: JSON, CSV, and a Markdown table."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qwen3cpu.bench.cases import Case
from qwen3cpu.bench.limits import ModelCosts
from qwen3cpu.bench.machine import Machine
from qwen3cpu.system.peaks import Peaks


@dataclass(frozen=True)
class Spread:
    """The values of all repetitions, in the order in which they ran."""

    median: float
    min: float
    max: float
    runs: list[float]

    @classmethod
    def of(cls, runs: Iterable[float]) -> Spread:
        """Make it from at least one value."""
        values = list(runs)
        return cls(statistics.median(values), min(values), max(values), values)

    @property
    def uncertain_percent(self) -> float:
        """Width of the median's 95 % confidence interval, in percent of the median; infinite below six values.

        The interval goes from the k-th smallest to the k-th largest value. The probability that the true median lies
        below the k-th smallest is that of fewer than k heads in n coin tosses.
        """
        ordered, n, outside, k = sorted(self.runs), len(self.runs), 0.0, 0
        while outside + (more := 2 * math.comb(n, k) / 2**n) <= 0.05:
            outside, k = outside + more, k + 1
        return 100 * (ordered[n - k] - ordered[k - 1]) / self.median if k else math.inf


@dataclass(frozen=True)
class Record:
    """One case: a prompt (n_gen 0) or decoding (n_prompt 0)."""

    model: str
    quant: str
    kv: str
    n_prompt: int
    n_gen: int
    depth: int
    """Tokens that every sequence already held."""
    batch: int
    threads: int
    isa: str
    tokens_per_second: Spread
    """All sequences together."""
    first_token_seconds: Spread | None
    """For prompts: from the call to the first token of every sequence."""
    outside_engine_percent: float
    """Share of the time in Python, sampling and detokenizing: median."""
    bytes_per_token: float
    """Computed bytes that must be read from memory."""
    read_gb_s: float
    """Memory bandwidth of this machine with as many threads, measured between the repetitions: median."""
    read_percent: float
    """bytes_per_token * tokens_per_second, in percent of read_gb_s."""
    macs_per_token: float
    """Computed multiply-adds of the linear layers."""
    int8_gmac_s: float
    """10^9 multiply-adds per second that this machine's int8 instructions reach with as many threads: median."""
    fp32_gmac_s: float
    multiply_percent: float
    """macs_per_token * tokens_per_second, in percent of the peak: fp32 for bf16 and f32, int8 for all others."""
    peak_rss_bytes: int
    """Peak of the process with this model, up to the end of the first run of this case; smaller cases ran before it."""
    weight_bytes: int
    load_seconds: float | None
    """From the call of `load` to a model ready to run. Null for random weights."""
    load_to_first_token_seconds: float | None
    """From the same call to the first token after a prompt of 16 tokens."""
    cpu: str
    version: str
    commit: str | None
    """Null when the package does not run from a source tree."""
    time: str
    """When the measurement began: ISO 8601, UTC."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a dict, for JSON."""
        return asdict(self)


def make_record(
    case: Case, opened: dict[str, Any], runs: Sequence[dict[str, Any]], peaks: Sequence[Peaks], machine: Machine
) -> Record:
    """Make the record of a case.

    Args:
        case: the measured case.
        opened: the worker's answer to "open".
        runs: the worker's answers, the warm-up first.
        peaks: of the machine with the case's threads.
        machine: where it ran.
    """
    warm_up, timed = runs[0], runs[1:]
    speed = Spread.of(run["tokens"] / run["seconds"] for run in timed)
    costs = ModelCosts(**opened["costs"])
    read = statistics.median(peak.read_gb_s for peak in peaks)
    multiply = {
        "int8": statistics.median(peak.int8_gmac_s for peak in peaks),
        "fp32": statistics.median(peak.fp32_gmac_s for peak in peaks),
    }
    bytes_per_token, macs_per_token = costs.bytes_per_token(case), costs.macs_per_token(case)
    return Record(
        model=opened["model"],
        quant=opened["quant"],
        kv=case.kv,
        n_prompt=case.n_prompt,
        n_gen=case.n_gen,
        depth=case.depth,
        batch=case.batch,
        threads=case.threads,
        isa=opened["isa"],
        tokens_per_second=speed,
        first_token_seconds=Spread.of(run["first_token_seconds"] for run in timed) if case.n_prompt else None,
        outside_engine_percent=100 * statistics.median(1 - run["native_seconds"] / run["seconds"] for run in timed),
        bytes_per_token=bytes_per_token,
        read_gb_s=read,
        read_percent=100 * bytes_per_token * speed.median / (read * 1e9),
        macs_per_token=macs_per_token,
        int8_gmac_s=multiply["int8"],
        fp32_gmac_s=multiply["fp32"],
        multiply_percent=100 * macs_per_token * speed.median / (multiply[costs.multiply] * 1e9),
        peak_rss_bytes=warm_up["peak_rss_bytes"],
        weight_bytes=opened["weight_bytes"],
        load_seconds=opened["load_seconds"],
        load_to_first_token_seconds=opened["load_to_first_token_seconds"],
        cpu=machine.cpu,
        version=machine.version,
        commit=machine.commit,
        time=machine.time,
    )


def as_json(records: Sequence[Record]) -> str:
    """A list of objects."""
    return json.dumps([record.as_dict() for record in records], indent=1) + "\n"


def as_csv(records: Sequence[Record]) -> str:
    """A header line and a line for each record; a spread has columns for its parts, without the runs."""
    out = io.StringIO()
    rows = [_flat(record) for record in records]
    writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _flat(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in record.as_dict().items():
        if name in ("tokens_per_second", "first_token_seconds"):
            for part in ("median", "min", "max"):
                row[f"{name}_{part}"] = value[part] if value is not None else None
        else:
            row[name] = value
    return row


HEADINGS = (
    *("quant", "kv", "threads", "batch", "depth"),
    *("prompt", "prompt tok/s", "first token ms", "% of multiply peak"),
    *("decode", "decode tok/s", "MB per token", "% of reading", "% outside engine"),
    *("reading GB/s", "int8 GMAC/s", "peak RSS MB"),
)


def as_markdown(records: Sequence[Record]) -> str:
    """A line about the machine and a table; a row shows a prompt and a decode case with the same settings."""
    first = records[0]
    lines = [
        f"{first.model}; {first.cpu}, {first.isa}; qwen3cpu {first.version}"
        + (f", commit {first.commit}" if first.commit else ""),
        "",
        *_loading(records),
        _row(HEADINGS),
        _row("---" if heading in ("quant", "kv") else "---:" for heading in HEADINGS),
    ]
    settings: dict[tuple[Any, ...], tuple[list[Record], list[Record]]] = {}
    for record in records:
        key = (record.quant, record.kv, record.threads, record.batch, record.depth)
        settings.setdefault(key, ([], []))[0 if record.n_prompt else 1].append(record)
    for key, (prompts, decodes) in settings.items():
        for prompt, decode in itertools.zip_longest(prompts, decodes):
            lines.append(
                _row((*map(str, key), *_prompt_cells(prompt), *_decode_cells(decode), *_cells(prompt, decode)))
            )
    return "\n".join(lines) + "\n"


def _loading(records: Sequence[Record]) -> list[str]:
    """How fast the models on disk were ready."""
    ready = {
        f"{record.quant}, kv {record.kv}: first token {record.load_to_first_token_seconds:.2f} s after load was called"
        for record in records
        if record.load_to_first_token_seconds is not None
    }
    return ["; ".join(sorted(ready)), ""] if ready else []


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _prompt_cells(record: Record | None) -> tuple[str, ...]:
    if record is None or record.first_token_seconds is None:
        return ("",) * 4
    return (
        str(record.n_prompt),
        spread_text(record.tokens_per_second),
        f"{1000 * record.first_token_seconds.median:.0f}",
        f"{record.multiply_percent:.0f}",
    )


def _decode_cells(record: Record | None) -> tuple[str, ...]:
    if record is None:
        return ("",) * 5
    return (
        str(record.n_gen),
        spread_text(record.tokens_per_second),
        f"{record.bytes_per_token / 1e6:.1f}",
        f"{record.read_percent:.0f}",
        f"{record.outside_engine_percent:.1f}",
    )


def _cells(*pair: Record | None) -> tuple[str, ...]:
    """The cells for both records: the machine's peaks, which are the same, and the larger peak of memory."""
    present = [record for record in pair if record is not None]
    return (
        f"{present[0].read_gb_s:.1f}",
        f"{present[0].int8_gmac_s:.0f}",
        f"{max(record.peak_rss_bytes for record in present) / 1e6:.0f}",
    )


def spread_text(spread: Spread) -> str:
    """The median, and the smallest and largest value."""
    digits = 1 if spread.median < 100 else 0
    return f"{spread.median:.{digits}f} ({spread.min:.{digits}f} to {spread.max:.{digits}f})"
