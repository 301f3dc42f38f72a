"""`qwen3cpu doctor`: report what qwen3cpu finds on this machine, and what to do about problems."""

from __future__ import annotations

import argparse
from typing import Any

from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.terminal import json_text


def add_command(commands: Commands) -> None:
    """Add `doctor` to the command line."""
    parser = commands.add_parser(
        "doctor",
        help="CPU, threads, memory, versions, and what to do about problems",
        allow_abbrev=False,
        description="Report what qwen3cpu finds on this machine: CPU and instruction sets, the number of threads and "
        "its reason, memory and its measured reading speed, versions, cache directory. Each warning says what to do.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run_doctor)


def run_doctor(args: argparse.Namespace) -> int:
    """`qwen3cpu doctor`."""
    from qwen3cpu.cli.machine_report import examine

    report = examine()
    print(json_text(report) if args.json else as_text(report))
    return 0


def as_text(report: dict[str, Any]) -> str:
    """The report of `qwen3cpu.cli.machine_report.examine` for people."""
    cpu, threads, memory = report["cpu"], report["threads"], report["memory"]
    versions, cache = report["versions"], report["cache"]
    quota = "none" if threads["cgroup_quota"] is None else f"{threads['cgroup_quota']:g} CPUs"
    reading = "not measured" if memory["read_gb_s"] is None else f"{memory['read_gb_s']:.1f} GB/s"
    left = "unknown" if memory["available"] is None else f"{_gb(memory['available'])} (bound: {memory['bound']})"
    built = "" if versions["commit"] is None else f" ({versions['commit']})"
    needed = [f"{name} {value or 'missing'}" for name, value in versions["packages"].items()]
    lines = [
        f"CPU         {cpu['name']}, {cpu['architecture']}",
        f"  sets      chosen {cpu['chosen'] or 'none'}; can run {', '.join(cpu['able'])}; "
        f"compiled in {', '.join(cpu['compiled'])}",
        f"threads     {threads['count'] or 'none'}" + (f", because of {threads['why']}" if threads["count"] else ""),
        f"  bounds    {threads['logical_cpus']} logical CPUs, affinity {threads['affinity']}, "
        f"{threads['physical_cores']} physical cores, cgroup quota {quota}",
        f"memory      {_gb(memory['total'])} in all, {left} may be used now",
        f"  reading   {reading}; transparent huge pages {memory['huge_pages'] or 'unknown'}",
        f"versions    qwen3cpu {versions['qwen3cpu']}{built}, Python {versions['python']}, {', '.join(needed)}",
        f"  system    {versions['system']}",
        f"  OpenMP    {', '.join(versions['openmp']) or 'unknown'}",
        f"  OpenBLAS  {', '.join(versions['openblas']) or 'unknown'}",
        f"cache       {cache['folder'] or 'none'}",
        f"  files     {cache['files']}, {_gb(cache['bytes'])}; "
        f"{'unknown' if cache['free'] is None else _gb(cache['free'])} free on the disk",
        "",
    ]
    for each in report["warnings"]:
        lines += [f"warning ({each['about']}): {each['found']}", f"  what to do: {each['remedy']}"]
    return "\n".join(lines if report["warnings"] else [*lines, "No warnings."])


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
