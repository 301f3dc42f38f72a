"""bench/mca.py: finding the loop that multiplies, and a row from compiler to analyser if both are installed."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import mca

NESTED = """\
.L1:
\tmovi\tv0.4s, 0
.L2:
\tldr\tq1, [x0], 16
\tsdot\tv0.4s, v1.16b, v2.4b[0]
\tfmla\tv3.4s, v1.4s, v2.4s
\tusmmla\tv0.4s, v1.16b, v2.16b
\tcmp\tx0, x1
\tbne\t.L2
\tsdot\tv0.4s, v1.16b, v2.4b[0]
\tcbnz\tw3, .L1
.L3:
\tfmla\tv0.4s, v1.4s, v2.s[0]
\tb.ne\t.L3
\tcbz\tw3, .L4
.L4:
\tret
"""


def test_the_innermost_loop_with_the_most_products_is_taken() -> None:
    body = mca.main_loop(NESTED.splitlines())
    assert [line.split()[0] for line in body] == ["ldr", "sdot", "fmla", "usmmla", "cmp", "bne"]
    assert mca.products(body) == 16 + 32


@pytest.mark.heavy
@pytest.mark.parametrize("row", mca.ROWS, ids=lambda row: "-".join(map(str, row)))
def test_a_pass_of_every_kernel_multiplies_whole_rows(row: mca.Row) -> None:
    if shutil.which("aarch64-linux-gnu-g++") is None or shutil.which("llvm-mca") is None:
        pytest.skip("needs aarch64-linux-gnu-g++ and llvm-mca")
    body = mca.main_loop(mca.assembly("aarch64-linux-gnu-g++", row))
    products = mca.products(body)
    assert products % (8 * row.tokens) == 0
    if row.weight_format in ("q8", "q4", "q4s"):
        panel = row.tokens == mca.PANEL_TOKENS and (row.weight_format, row.isa) in mca.PANELS
        k = 16 if panel else 32  # half a group, or a whole one
        assert products == k * 8 * row.tokens  # by 8 rows
    assert mca.cycles_per_pass("llvm-mca", "neoverse-n1", body) >= products / (4 * 32)  # four pipes, 32 each
