"""Estimate the ARM kernels' cycles per 256 weights with a static analyser, without an ARM machine.

    python bench/mca.py [--mca llvm-mca-19] [--cpus neoverse-n1 neoverse-v1] [--compiler aarch64-linux-gnu-g++]

Every products file of neon, dotprod and i8mm is compiled to assembly. The innermost loop that multiplies is cut out of
the function for T tokens and passed to llvm-mca. The products of a loop pass are counted from its instructions. The
figures leave out the work for a whole block of 4-bit weights, on its scales or for unpacking it. They assume that all
data are in L1 and that LLVM's model of the CPU is right. So they compare kernels and show their bottlenecks, but are
not measurements. LLVM has its own models of neoverse-n1 and neoverse-v1 from version 16 on; older versions silently use
that of cortex-a57.
"""

import argparse
import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

KERNELS = Path(__file__).parents[1] / "csrc" / "kernels"
ISA_FLAGS = {
    "neon": [],
    "dotprod": ["-march=armv8.2-a+dotprod"],
    "i8mm": ["-march=armv8.2-a+dotprod+i8mm"],
}
FEATURES = "+dotprod,+i8mm"
"""Features for the analyser: all of them on any CPU, so that one table compares the variants."""
MULTIPLIES = {
    r"[su]?mmla\t|usmmla\t": 32,
    r"usdot\t|sdot\t": 16,
    r"s(mull|mlal)2?\tv\d+\.8h": 8,
}
"""Instruction -> products of one weight and one activation of the quantised formats."""
FLOAT_MULTIPLIES = {r"fmla\tv\d+\.4s": 4}
"""The same for the float formats; in the loops of the other formats these instructions apply scales."""
PASSES = 200


class Row(NamedTuple):
    """One kernel of one instruction set for a number of tokens."""

    isa: str
    weight_format: str
    tokens: int

    @property
    def function(self) -> re.Pattern[str]:
        if self.weight_format in ("q8", "q4", "q4s"):
            bits = self.weight_format[:2]  # q4 and q4s are one function, compiled for each
            name = "multiply_panel" if self.tokens == PANEL_TOKENS else f"multiply_{bits}_tile"
            return re.compile(rf"{name}I.*Li{self.tokens}EEEv")
        row_tiles = 4 if self.tokens <= 2 else 2
        return re.compile(rf"multiply_tilesI.*Li{row_tiles}ELi{self.tokens}EEEv")


MOST_TOKENS = 4
"""Tokens of the products of quantised formats: kMaxTokens in kernels/*/dot.h."""
PANEL_TOKENS = 8
"""Tokens of products with weights that are unpacked in advance: kPanelRun in the same files."""
PANELS = {("q4", "dotprod"), ("q4", "i8mm")}
ROWS = [Row("neon", name, tokens) for name in ("f32", "bf16") for tokens in (1, 6)] + [
    Row(isa, name, tokens)
    for name in ("q8", "q4", "q4s")
    for isa in ISA_FLAGS
    for tokens in (1, MOST_TOKENS, *((PANEL_TOKENS,) if (name, isa) in PANELS else ()))
]


def assembly(compiler: str, row: Row) -> list[str]:
    """The lines of the row's function."""
    source = KERNELS / row.isa / f"{row.weight_format}.cc"
    flags = [
        "-O3",
        "-std=c++17",
        "-ffp-contract=off",
        "-fno-asynchronous-unwind-tables",
        f"-I{KERNELS.parent}",
        *ISA_FLAGS[row.isa],
    ]
    text = subprocess.run(
        [compiler, *flags, "-S", "-o", "-", str(source)], check=True, capture_output=True, text=True
    ).stdout
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines) if line.endswith(":") and row.function.search(line)]
    if len(starts) != 1:
        raise SystemExit(f"{source}: {len(starts)} functions match {row.function.pattern}")
    name = lines[starts[0]][:-1]
    end = next(i for i in range(starts[0], len(lines)) if lines[i].startswith(f"\t.size\t{name}"))
    return lines[starts[0] + 1 : end]


def products(body: list[str]) -> int:
    """Products of weights and activations in one pass."""

    def count(multiplies: dict[str, int]) -> int:
        return sum(n for line in body for pattern, n in multiplies.items() if re.match(rf"\t({pattern})", line))

    return count(MULTIPLIES) or count(FLOAT_MULTIPLIES)


def main_loop(lines: list[str]) -> list[str]:
    """The loop with the most products, among those without a loop inside."""
    labels = {line[:-1]: i for i, line in enumerate(lines) if line.startswith(".L") and line.endswith(":")}
    loops = []
    for i, line in enumerate(lines):
        match = re.match(r"\tb?(?:\.\w+|c?bn?z|\w+)\t(?:\w+, )*(\.L\w+)$", line)
        if match and labels.get(match.group(1), i) < i:
            loops.append((labels[match.group(1)], i))
    inner = [a for a in loops if not any(a[0] <= b[0] and b[1] <= a[1] and a != b for b in loops)]
    bodies = [
        [line for line in lines[first + 1 : last + 1] if not line.startswith((".", "\t."))] for first, last in inner
    ]
    return max(bodies, key=products)


def cycles_per_pass(mca: str, cpu: str, body: list[str]) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".s") as file:
        file.write("\n".join(body) + "\n")
        file.flush()
        command = [mca, "-mtriple=aarch64-linux-gnu", f"-mcpu={cpu}", f"-mattr={FEATURES}", f"-iterations={PASSES}"]
        result = subprocess.run([*command, file.name], check=True, capture_output=True, text=True)
    match = re.search(r"Total Cycles:\s+(\d+)", result.stdout)
    if match is None:
        raise SystemExit(result.stdout + result.stderr)
    return int(match.group(1)) / PASSES


def main() -> None:
    """Print a table for docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mca", default="llvm-mca", help="the analyser")
    parser.add_argument("--cpus", nargs="+", default=["neoverse-n1", "neoverse-v1"], help="LLVM's models")
    parser.add_argument("--compiler", default="aarch64-linux-gnu-g++")
    args = parser.parse_args()
    print("| format | kernels | tokens | " + " | ".join(args.cpus) + " |")
    print("|---|---|---|" + "---|" * len(args.cpus))
    for row in ROWS:
        body = main_loop(assembly(args.compiler, row))
        weights = products(body) / row.tokens
        figures = [cycles_per_pass(args.mca, cpu, body) * 256 / weights for cpu in args.cpus]
        cells = [f"{whole:.1f}" + (f" ({whole / row.tokens:.1f})" if row.tokens > 1 else "") for whole in figures]
        print(f"| {row.weight_format} | {row.isa} | {row.tokens} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
