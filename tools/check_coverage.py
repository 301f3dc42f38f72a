"""Compares the coverage of the tests with the committed one in .ci/coverage.json.

    python tools/check_coverage.py python.json cpp.json            # exit code 1 when a share has fallen
    python tools/check_coverage.py python.json cpp.json --raise    # writes the shares that have risen

python.json is written by `coverage json`, cpp.json by `gcovr --json-summary`. Shares are per cent, rounded down to a
tenth. Each instruction set has shares of its own, because a processor cannot run the kernels of sets that it does not
support. A set without shares is printed and passes. A share may be lower by TOLERANCE, because tests that stop a thread
or a process at any moment reach some lines in one run and not in the next.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from qwen3cpu import _native

COMMITTED = Path(__file__).parents[1] / ".ci" / "coverage.json"
TOLERANCE = 0.5
"""Percentage points."""

Shares = dict[str, float]


def main() -> int:
    """Compare, and return the exit code."""
    parser = argparse.ArgumentParser(description="Compare the coverage of the tests with the committed one.")
    parser.add_argument("python", type=Path, help="file written by `coverage json`")
    parser.add_argument("cpp", type=Path, help="file written by `gcovr --json-summary`")
    parser.add_argument("--raise", dest="raises", action="store_true", help="write the shares that have risen")
    args = parser.parse_args()
    found = of_python(read(args.python)) | of_cpp(read(args.cpp))
    isa = _native.chosen_isa()
    everything: dict[str, Shares] = read(COMMITTED)
    committed = everything.get(isa, {})
    if args.raises:
        everything[isa] = {name: max(share, committed.get(name, 0.0)) for name, share in found.items()}
        COMMITTED.write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")
        return 0
    for name, share in found.items():
        least = f"at least {committed[name]:.1f} - {TOLERANCE}" if name in committed else "nothing yet"
        print(f"coverage of {name} with {isa}: {share:.1f} % (expected {least})")
    lower = fallen(found, committed)
    if lower:
        print(f"fallen: {', '.join(lower)}. Test what is new, or say in the commit why it cannot be tested.")
    return 1 if lower else 0


def read(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def of_python(report: dict[str, Any]) -> Shares:
    """The shares of a report of the package coverage."""
    totals = report["totals"]
    return {
        "Python lines": share(totals["covered_lines"], totals["num_statements"]),
        "Python branches": share(totals["covered_branches"], totals["num_branches"]),
    }


def of_cpp(report: dict[str, Any]) -> Shares:
    """The shares of a summary of gcovr."""
    return {
        "C++ lines": share(report["line_covered"], report["line_total"]),
        "C++ branches": share(report["branch_covered"], report["branch_total"]),
    }


def share(part: int, whole: int) -> float:
    """Per cent, rounded down to a tenth."""
    return math.floor(1000 * part / whole) / 10


def fallen(found: Shares, committed: Shares) -> list[str]:
    """The names of the shares that are lower than the committed ones by more than the tolerance, or missing."""
    return [name for name, share in committed.items() if found.get(name, 0.0) < round(share - TOLERANCE, 1)]


if __name__ == "__main__":
    raise SystemExit(main())
