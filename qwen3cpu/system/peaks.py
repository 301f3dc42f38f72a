"""Measures the peak rates of this machine: bytes read and multiply-adds per second."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from qwen3cpu import _native

_SHORTEST: Final = 0.02  # seconds of a multiply probe: long compared with the clock's ticks and the start of threads
_LEAST_READ, _MOST_READ = 256 << 20, 1 << 30  # bytes: more than caches hold, but not too much for small machines


_kernels: Any = vars(_native)["kernels"]


@dataclass(frozen=True)
class Peaks:
    """Peak rates of the machine on a number of threads: 10^9 bytes read, and 10^9 multiply-adds, per second."""

    read_gb_s: float
    int8_gmac_s: float
    fp32_gmac_s: float


def measure_peaks(threads: int, model_bytes: int) -> Peaks:
    """Measure plain reading, and multiply-adds that never leave the registers, with the chosen instruction set.

    int8 is unsigned times signed with sums in int32, the widening that any 8-bit weight needs. Kernels that can sum in
    int16 for some steps (4-bit weights) may exceed it.

    Args:
        threads: number of threads that run at the same time.
        model_bytes: bytes that the model reads per pass. The same amount is read, within 256 MiB to 1 GiB.
    """
    isa = _native.chosen_isa()
    return Peaks(
        read_gb_s=measure_reading(threads, model_bytes),
        int8_gmac_s=_multiply_rate(isa, "int8", threads) / 1e9,
        fp32_gmac_s=_multiply_rate(isa, "fp32", threads) / 1e9,
    )


def measure_reading(threads: int, model_bytes: int) -> float:
    """Measure plain reading, in 10^9 bytes per second. Arguments as for `measure_peaks`."""
    size = min(max(model_bytes, _LEAST_READ), _MOST_READ)
    seconds: float = _kernels.probe_read(_native.chosen_isa(), size, threads, 1)
    return size / seconds / 1e9


def _multiply_rate(isa: str, name: str, threads: int) -> float:
    """Measure the multiply-adds per second of all threads together."""
    rounds = 1 << 14
    while _kernels.probe_multiply(isa, name, rounds)[1] < _SHORTEST:
        rounds *= 2

    def probe(_: int) -> float:
        done, seconds, _ticks = _kernels.probe_multiply(isa, name, rounds)
        return float(done / seconds)

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(probe, range(threads)))
