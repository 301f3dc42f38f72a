"""What `qwen3cpu doctor` finds: facts about CPU, threads, memory, versions and cache, and what is wrong with them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from qwen3cpu.errors import ArgumentError, EngineError
from qwen3cpu.packed.cache import cache_folder, entries
from qwen3cpu.system import cgroups
from qwen3cpu.system.blas_threads import (
    SHORT_TIMEOUT,
    TIMEOUT_VARIABLE,
    openblas_files,
    openblas_libraries,
    openmp_runtimes,
)
from qwen3cpu.system.free_memory import available_memory
from qwen3cpu.system.instruction_sets import chosen_isa, instruction_sets, physical_cores
from qwen3cpu.system.memory import system_memory
from qwen3cpu.system.thread_count import VARIABLE, available_cpus, cgroup_quota, default_threads, resolve_threads

LEAST_MEMORY: Final = 1_334_000_000
"""Bytes: what `qwen3cpu plan 1.7B --quant q4` says for 1,024 positions. The cache needs as much space on its disk."""
_PACKAGES: Final = ("numpy", "tokenizers", "safetensors", "jinja2", "huggingface_hub")
_PROBED_BYTES: Final = 256 << 20


@dataclass(frozen=True)
class Warned:
    """Something that costs speed or will fail.

    Attributes:
        about: the part of the report it belongs to.
        found: what is wrong.
        remedy: what to do about it.
    """

    about: str
    found: str
    remedy: str


Part = tuple[dict[str, Any], list[Warned]]
"""Facts, built of JSON's own types, and warnings."""


def examine(root: Path = Path("/")) -> dict[str, Any]:
    """The whole report: facts under "cpu", "threads", "memory", "versions" and "cache", and a list of "warnings".

    Reads 256 MiB of memory a few times to measure it. Sizes are bytes, `read_gb_s` is 10^9 bytes per second.

    Args:
        root: where /proc and /sys are found.
    """
    parts = {
        "cpu": processor(),
        "threads": threads(root),
        "memory": memory(root),
        "versions": versions(root),
        "cache": cache(),
    }
    report: dict[str, Any] = {name: facts for name, (facts, _) in parts.items()}
    count = report["threads"]["count"]
    usable = count is not None and report["cpu"]["chosen"] is not None
    report["memory"]["read_gb_s"] = read_speed(count) if usable else None
    report["warnings"] = [asdict(each) for _, found in parts.values() for each in found]
    return report


def processor() -> Part:
    """The CPU, and instruction sets: compiled in, able to run (both best first) and chosen."""
    # Imported here: it starts git, and nothing but this report and the benchmark needs it.
    from qwen3cpu.bench.machine import cpu_name

    sets = instruction_sets()
    able = [name for name, runs in sets if runs]
    forced = os.environ.get("QWEN3CPU_ISA") or None
    facts: dict[str, Any] = {
        "name": cpu_name(),
        "architecture": platform.machine(),
        "compiled": [name for name, _ in sets],
        "able": able,
        "forced": forced,
    }
    try:
        facts["chosen"] = chosen_isa()
    except EngineError as error:
        facts["chosen"] = None
        return facts, [Warned("cpu", str(error), "unset QWEN3CPU_ISA")]
    if facts["chosen"] != able[0]:
        text = f"QWEN3CPU_ISA={forced} is used, this CPU can run {able[0]}"
        return facts, [Warned("cpu", text, "unset QWEN3CPU_ISA, unless slower kernels are what you want")]
    if facts["chosen"] == "scalar":
        text = "this CPU has none of the instruction sets with fast kernels: answers will be slow"
        return facts, [Warned("cpu", text, "in a virtual machine let it see the host's CPU; else use another machine")]
    return facts, []


def threads(root: Path = Path("/")) -> Part:
    """How many threads a model gets without `threads=`, and each bound: affinity, cgroup quota, cores, environment."""
    given = os.environ.get(VARIABLE, "").strip() or None
    facts: dict[str, Any] = {
        "logical_cpus": os.cpu_count(),
        "affinity": available_cpus(),
        "physical_cores": physical_cores(),
        "cgroup_quota": cgroup_quota(root),
        "environment": given,
        "default": default_threads(root),
    }
    try:
        facts["count"] = resolve_threads(None) if given else facts["default"]
    except ArgumentError as error:
        facts["count"] = None
        return facts, [Warned("threads", str(error), f"unset {VARIABLE}")]
    facts["why"] = _why(facts)
    warned = []
    if facts["count"] > facts["default"]:
        text = f"{VARIABLE}={given} is more than the {facts['default']} that cores, affinity and quota give"
        warned.append(Warned("threads", text, f"unset {VARIABLE}"))
    quota = facts["cgroup_quota"]
    if quota is not None and quota < facts["physical_cores"]:
        text = f"the control group allows {quota:g} CPUs of {facts['physical_cores']} physical cores"
        warned.append(Warned("threads", text, "raise the container's CPU limit (docker --cpus, Kubernetes limits.cpu)"))
    if os.environ.get("OMP_WAIT_POLICY", "").lower() == "active":
        text = "OMP_WAIT_POLICY=active lets waiting threads spin, which takes time from those that work"
        warned.append(Warned("threads", text, "unset OMP_WAIT_POLICY"))
    return facts, warned


def _why(facts: dict[str, Any]) -> str:
    """The bound that decided."""
    if facts["environment"]:
        return VARIABLE
    quota = facts["cgroup_quota"]
    if quota is not None and int(quota) < min(facts["affinity"], facts["physical_cores"]):
        return "cgroup quota"
    if facts["physical_cores"] < facts["affinity"]:
        return "physical cores"
    return "affinity" if facts["affinity"] < (facts["logical_cpus"] or 0) else "CPUs"


def memory(root: Path = Path("/")) -> Part:
    """The memory limit of this process, what it may still use, and the setting of transparent huge pages."""
    left = available_memory(root)
    pages = huge_pages(root)
    facts = {
        "total": system_memory(root),
        "available": None if left is None else left.bytes,
        "bound": None if left is None else left.bound,
        "huge_pages": pages,
    }
    warned = []
    if left is not None and left.bytes < LEAST_MEMORY:
        text = f"{left.bytes / 1e9:.2f} GB may be used (bound: {left.bound}), Qwen3-1.7B in q4 takes 1.3 GB"
        warned.append(Warned("memory", text, "see with `qwen3cpu plan 0.6B` what fits, or raise the limit"))
    if pages == "never":
        text = "transparent huge pages are off: weights are read through 4 KiB pages, which is slower"
        remedy = "as root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
        warned.append(Warned("memory", text, remedy))
    return facts, warned


def huge_pages(root: Path = Path("/")) -> str | None:
    """The setting for transparent huge pages, "always", "madvise" or "never"; None where the system has none."""
    found = cgroups.lines(root / "sys/kernel/mm/transparent_hugepage/enabled")
    chosen = [word.strip("[]") for word in found[0].split() if word.startswith("[")] if found else []
    return chosen[0] if chosen else None


def read_speed(count: int) -> float:
    """10^9 bytes per second that `count` threads read from memory: the best of three short runs."""
    from qwen3cpu.system.peaks import measure_reading

    return max(measure_reading(count, _PROBED_BYTES) for _ in range(3))


def versions(root: Path = Path("/")) -> Part:
    """Versions of qwen3cpu, Python and packages, the commit if known, and OpenMP and OpenBLAS in this process."""
    from qwen3cpu._version import VERSION
    from qwen3cpu.system.build_commit import commit

    runtimes = openmp_runtimes(root)
    facts: dict[str, Any] = {
        "qwen3cpu": VERSION,
        "commit": commit(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "openmp": runtimes,
        "openblas": openblas_files(root),
    }
    missing = [name for name, version in facts["packages"].items() if version is None]
    warned = [
        Warned("versions", f"{name} is not installed", f"pip install --force-reinstall {name}") for name in missing
    ]
    if len(runtimes) > 1:
        text = f"{len(runtimes)} OpenMP runtimes are in this process: {', '.join(runtimes)}; each has its own threads"
        remedy = "do not run the others (torch, scikit-learn) while a model answers, or give each fewer threads"
        warned.append(Warned("versions", text, remedy))
    slow = [library.path for library in openblas_libraries() if library.workers and not library.timeout]
    if slow:
        text = f"threads of {', '.join(slow)} spin for about a tenth of a second after every matrix product"
        remedy = f"import qwen3cpu before NumPy and SciPy, or set {TIMEOUT_VARIABLE}={SHORT_TIMEOUT}"
        warned.append(Warned("versions", text, remedy))
    return facts, warned


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def cache() -> Part:
    """The cache directory: what is in it, whether it can be written, room on its disk."""
    try:
        folder = cache_folder()
    except RuntimeError as error:
        facts: dict[str, Any] = {"folder": None, "files": 0, "bytes": 0, "free": None, "writable": False}
        return facts, [Warned("cache", f"no cache directory: {error}", "set QWEN3CPU_CACHE to a folder")]
    kept = entries(folder)
    # What does not exist yet will be made in the nearest folder that does.
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    writable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    free = shutil.disk_usage(existing).free
    facts = {
        "folder": str(folder),
        "files": len(kept),
        "bytes": sum(each.size for each in kept),
        "free": free,
        "writable": writable,
    }
    warned = []
    if not writable:
        text = f"{folder} cannot be written: every load converts the weights again"
        warned.append(Warned("cache", text, "set QWEN3CPU_CACHE to a folder that can be written"))
    elif free < LEAST_MEMORY:
        text = f"{free / 1e9:.2f} GB are free on the disk of {folder}"
        warned.append(Warned("cache", text, "`qwen3cpu cache prune --older-than 30d`, or set QWEN3CPU_CACHE"))
    needless = [each for each in kept if each.needless]
    if needless:
        text = f"{len(needless)} files ({sum(each.size for each in needless) / 1e9:.2f} GB) are not needed"
        warned.append(Warned("cache", text, "qwen3cpu cache prune"))
    return facts, warned
