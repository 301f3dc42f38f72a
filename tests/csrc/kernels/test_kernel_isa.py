"""The choice of an instruction set, proof that the chosen one runs, and that no other code needs it.

With QWEN3CPU_REQUIRE_OBJDUMP=1 a missing objdump, an extension without its symbols, or one without wide kernels is a
failure; otherwise those tests are skipped.
"""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter

import pytest

from qwen3cpu import _native

kernels = _native.kernels
RUNNABLE = [name for name, supported in _native.isas() if supported]

WIDE_EVERYWHERE = {
    *(f"matmul {name}" for name in _native.FORMATS),
    *(f"{kind} {kv}" for kind in ("attend", "store") for kv in ("f32", "f16", "q8")),
    *(
        f"op {name}"
        for name in ("rms_norm", "rope", "silu_mul", "add_scaled", "route", "quantize_i8g32", "quantize_i8g256")
    ),
    "round q4",
}
"""Kernels for which no wide instruction set falls back to scalar."""

REPORT = """
import json
from qwen3cpu import _native
print(json.dumps([_native.chosen_isa(), _native.kernels.addresses(""),
                  {n: _native.kernels.addresses(n) for n, supported in _native.isas() if supported}]))
"""


def run_with(isa: str | None, program: str = REPORT) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "QWEN3CPU_ISA"}
    if isa is not None:
        environment["QWEN3CPU_ISA"] = isa
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("isa", RUNNABLE)
def test_the_forced_isa_is_the_one_that_runs(isa: str) -> None:
    result = run_with(isa)
    assert result.returncode == 0, result.stderr
    chosen, engine, tables = json.loads(result.stdout)
    assert chosen == isa
    assert engine == tables[isa]
    for other in RUNNABLE:  # an instruction set may take kernels from a lesser one, but not all of them
        if other != isa:
            assert engine != tables[other]


def test_the_first_runnable_isa_is_chosen_without_a_wish() -> None:
    for wish in (None, ""):
        chosen, engine, tables = json.loads(run_with(wish).stdout)
        assert chosen == RUNNABLE[0]
        assert engine == tables[chosen]


def test_an_unknown_isa_is_an_error_that_names_the_known_ones() -> None:
    result = run_with("avx9000", "from qwen3cpu import _native; _native.chosen_isa()")
    assert result.returncode != 0
    message = result.stderr.strip().splitlines()[-1]
    assert "EngineError" in message
    assert "QWEN3CPU_ISA" in message
    assert "avx9000" in message
    for name, _ in _native.isas():
        assert name in message


def test_list_shows_what_was_compiled_in_what_runs_and_what_was_chosen() -> None:
    result = run_with("list", "import qwen3cpu; from qwen3cpu import _native; print(_native.chosen_isa())")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{RUNNABLE[0]}\n"
    states = {True: "runs here", False: "not on this CPU"}
    expected = [
        f"{name}: {'runs here, chosen' if name == RUNNABLE[0] else states[supported]}"
        for name, supported in _native.isas()
    ]
    assert result.stderr.splitlines() == expected


def test_the_command_line_lists_and_does_nothing_else() -> None:
    result = run_with(
        "list", "import sys; from qwen3cpu.cli.main import main; sys.exit(main(['demo', '--no-such-flag']))"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [name for name, _ in _native.isas()]


def test_scalar_is_always_compiled_in_and_runnable() -> None:
    assert ("scalar", True) in _native.isas()


def test_every_isa_has_the_same_kernels() -> None:
    by_isa = Counter(isa for isa, _, _ in kernels.rows())
    assert set(by_isa) == {name for name, _ in _native.isas()}
    assert len({frozenset(row[1:] for row in kernels.rows() if row[0] == isa) for isa in by_isa}) == 1


def test_every_isa_has_its_own_products_of_the_quantised_formats() -> None:
    """If an ISA's kernels.h forgets a kernel, a lesser one is used and the compiler gives no warning."""
    tables = {isa: kernels.addresses(isa) for isa in RUNNABLE}
    for name in ("matmul q8", "matmul q4"):
        assert len({table[name] for table in tables.values()}) == len(tables)
    for isa in set(RUNNABLE) - {"scalar"}:
        borrowed = {name for name, address in tables[isa].items() if address == tables["scalar"][name]}
        assert borrowed & WIDE_EVERYWHERE == set()


# ---- machine code


FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")
WIDE = re.compile(r"%[yz]mm\d|\tv(?!err|erw)[a-z0-9]+\s+.*%[xyz]mm")
"""An operand of 256 or 512 bits, or a VEX-encoded instruction on 128."""


EXTENSIONS = {
    "VNNI": (re.compile(r"\bvpdp(busd|wssd)\s"), {"avxvnni", "avx512vnni", "amx"}),
    "AVX-512": (re.compile(r"%zmm\d|%[xy]mm(1[6-9]|2\d|3[01])\b|\{%k[1-7]\}"), {"avx512vnni", "amx"}),
    "AMX": (re.compile(r"%tmm\d|\t(ldtilecfg|tilerelease)\b"), {"amx"}),
}
"""Extension -> pattern of its instructions, and the instruction sets whose kernels may use them."""


def cannot_look(reason: str) -> None:
    if os.environ.get("QWEN3CPU_REQUIRE_OBJDUMP"):
        pytest.fail(f"QWEN3CPU_REQUIRE_OBJDUMP is set, and {reason}")
    pytest.skip(reason)


@functools.cache
def disassembly() -> dict[str, list[str]]:
    """Function -> its instructions, for the whole extension module."""
    objdump = shutil.which("objdump")
    if objdump is None:
        cannot_look("objdump is not installed")
    arguments = [objdump, "-d", "-C", "--no-show-raw-insn", _native.__file__]
    listing: dict[str, list[str]] = {}
    function: list[str] = []
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if match := FUNCTION.match(line.rstrip()):
                function = listing.setdefault(match.group(1), [])
            else:
                function.append(line)
    assert process.returncode == 0
    return listing


def functions_with(pattern: re.Pattern[str]) -> set[str]:
    """Functions with an instruction that matches."""
    return {function for function, lines in disassembly().items() if any(map(pattern.search, lines))}


def test_wide_instructions_are_in_the_kernels_that_need_them_only() -> None:
    """Shared inline functions must not have them either: the linker could keep that copy for every CPU."""
    compiled = [name for name, _ in _native.isas() if name != "scalar"]
    if "avx2" not in compiled:
        cannot_look("no kernels with wide instructions are compiled in")
    found = functions_with(WIDE)
    own = re.compile(rf"(^|[\s<])qwen3cpu::({'|'.join(compiled)})::")
    inside = {function for function in found if own.search(function)}
    if not inside:
        cannot_look("the extension is stripped of its symbols")
    for isa in compiled:  # checks that the search finds wide instructions at all
        assert any(f"qwen3cpu::{isa}::" in function for function in inside)
    assert found == inside


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_an_extension_is_used_by_the_instruction_sets_that_need_it_only(extension: str) -> None:
    pattern, owners = EXTENSIONS[extension]
    compiled = {name for name, _ in _native.isas()} & owners
    if not compiled:
        cannot_look(f"no kernels with {extension} are compiled in")
    found = functions_with(pattern)
    if not any("qwen3cpu::" in function for function in found):
        cannot_look("the extension is stripped of its symbols")
    for isa in compiled - {"amx"} or compiled:
        assert any(f"qwen3cpu::{isa}::" in function for function in found)
    strangers = [f for f in found if not any(f"qwen3cpu::{isa}::" in f for isa in compiled)]
    assert strangers == []


FEW_TOKENS = {
    "q8": "multiply_q8_tile",
    "q4": "multiply_q4_tile(?!.*Q4sFormat)",
    "q4s": "multiply_q4s_tile|multiply_q4_tile.*Q4sFormat",  # avx2 has one function for both
    "q4a": "multiply_q4a_tile",
}
"""Format -> pattern of the functions for its products of few tokens."""


@pytest.mark.parametrize("quant", FEW_TOKENS)
def test_products_of_few_tokens_fetch_their_weights_ahead(quant: str) -> None:
    """GCC silently drops calls of functions that only prefetch, unless they are inlined: 13 % of the speed."""
    compiled = {name for name, _ in _native.isas()} - {"scalar", "amx"}  # amx leaves few tokens to avx512vnni
    if not compiled:
        pytest.skip("no kernels that prefetch are compiled in")
    found = functions_with(re.compile(r"\t(prefetch\w+|prfm)\s"))
    if not any("qwen3cpu::" in function for function in found):
        pytest.skip("the extension is stripped of its symbols")
    for isa in compiled:
        own = {function for function in found if f"qwen3cpu::{isa}::" in function}
        assert any(re.search(FEW_TOKENS[quant], function) for function in own)
