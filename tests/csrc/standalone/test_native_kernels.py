"""kernel_check: every kernel against its scalar twin by ==, without Python.

It runs on this machine, with musl, on Windows emulated by Wine and, under an emulator, on 64-bit ARM. On other machines
it also compares with packed matrices, inputs and expected outputs that were written on this one.

Compiling takes a minute, so these tests are heavy; .ci/run has a step for them. The kernels of this machine are tested
through Python too, in tests/csrc/kernels. With QWEN3CPU_REQUIRE_CROSS=1 a missing cross compiler or emulator is a
failure; otherwise those tests are skipped.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from standalone import Machine

from qwen3cpu import _native

pytestmark = pytest.mark.heavy
ARM_LIBRARIES = "/usr/aarch64-linux-gnu"

KERNELS = {
    *(("matmul", name) for name in _native.FORMATS),
    *((kind, name) for kind in ("attend", "store") for name in _native.KV_FORMATS),
    *(("quantize", name) for name in ("i8g32", "i8g256")),
    ("round", "q4"),
    *((kind, "") for kind in ("rms_norm", "rope", "silu_mul")),
}


@pytest.fixture(scope="module")
def vectors(native: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed matrices, inputs and the scalar kernels' outputs, made on this machine."""
    path = tmp_path_factory.mktemp("vectors") / "vectors.bin"
    result = native.run("kernel_check", "write", str(path))
    assert result.returncode == 0, result.stderr
    return path


def assert_all_equal(result: subprocess.CompletedProcess[str], isas: Sequence[str], extra: Sequence[str] = ()) -> None:
    """Every kernel of every ISA was compared and no case was different."""
    assert result.returncode == 0, result.stdout + result.stderr
    *rows, total = result.stdout.splitlines()
    found = set()
    for row in rows:
        match = re.fullmatch(r"(\w+) (\w+) (\w*): (\d+) cases, 0 different", row)
        assert match, row
        isa, kind, name, cases = match.groups()
        assert int(cases) >= 5
        found.add((isa, kind, name))
    assert found == {(isa, *kernel) for isa in isas for kernel in KERNELS} | set(extra)
    assert total.endswith("cases, 0 different")


# ---- this machine


def test_every_kernel_equals_its_scalar_twin(native: Machine) -> None:
    isas = [isa for isa in native.runnable() if isa != "scalar"]
    if not isas:
        pytest.skip("this CPU runs the scalar kernels only")
    assert_all_equal(native.run("kernel_check", "twins"), isas)


def test_amx_equals_its_scalar_twin_on_emulated_tiles(native: Machine) -> None:
    """emulated_amx.h replaces the tile registers. The CPU must have the vector units."""
    isas = [isa for isa in native.runnable() if isa != "scalar"]
    if "avx512vnni" not in isas:
        pytest.skip("this CPU has no AVX-512 VNNI")
    emulated = "kernel_check_emulated_amx"
    assert native.runnable(emulated)[0] == "amx"
    assert_all_equal(native.run(emulated, "twins"), ["amx", *(isa for isa in isas if isa != "amx")])


def test_the_check_reports_a_single_wrong_bit(native: Machine, vectors: Path, tmp_path: Path) -> None:
    content = bytearray(vectors.read_bytes())
    content[-1] ^= 1  # the last case's last output: a row of unpacked weights
    wrong = tmp_path / "wrong.bin"
    wrong.write_bytes(content)
    result = native.run("kernel_check", "read", str(wrong))
    assert result.returncode == 1
    assert "DIFFERENT scalar pack" in result.stdout
    assert "1 different" in result.stdout.splitlines()[-1]


def test_a_cut_file_of_vectors_is_an_error(native: Machine, vectors: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.bin"
    cut.write_bytes(vectors.read_bytes()[:-1])
    result = native.run("kernel_check", "read", str(cut))
    assert result.returncode == 1
    assert "ends too early" in result.stderr


# ---- this machine with another C library, and Windows


@pytest.mark.parametrize("machine", ["musl", "windows"])
def test_other_systems_run_what_the_cpu_has_and_give_its_bits(
    machine: str, native: Machine, vectors: Path, request: pytest.FixtureRequest
) -> None:
    system: Machine = request.getfixturevalue(machine)
    isas = [isa for isa in native.runnable() if isa != "amx" or machine != "windows"]
    assert system.runnable() == isas
    assert_all_equal(system.run("kernel_check", "twins"), [isa for isa in isas if isa != "scalar"])
    packing = [("scalar", "pack", name) for name in _native.FORMATS]
    assert_all_equal(system.run("kernel_check", "read", str(vectors)), isas, packing)


# ---- 64-bit ARM

CPUS = {"cortex-a57": ["neon"], "neoverse-n1": ["dotprod", "neon"], "max": ["i8mm", "dotprod", "neon"]}
"""CPUs of the emulator -> the instruction sets that they run, best first."""


@pytest.fixture(params=CPUS)
def arm(request: pytest.FixtureRequest, arm_programs: Path) -> tuple[Machine, list[str]]:
    emulator = ("qemu-aarch64", "-L", ARM_LIBRARIES, "-cpu", request.param)
    return Machine(arm_programs, emulator=emulator), [*CPUS[request.param], "scalar"]


def test_arm_runs_what_the_cpu_has_and_chooses_the_best(arm: tuple[Machine, list[str]]) -> None:
    machine, expected = arm
    states = machine.isas()
    assert list(states) == ["i8mm", "dotprod", "neon", "scalar"]
    assert machine.runnable() == expected
    assert [name for name, state in states.items() if state == "runs here, chosen"] == expected[:1]


def test_arm_obeys_a_forced_isa(arm: tuple[Machine, list[str]]) -> None:
    machine, expected = arm
    for isa in expected:
        assert machine.isas(isa)[isa] == "runs here, chosen"
    for isa in {"i8mm", "dotprod"} - set(expected):
        result = machine.run("kernel_check", "list", isa=isa)
        assert result.returncode == 1
        assert f'instruction set "{isa}" cannot run on this CPU' in result.stderr


def test_arm_kernels_equal_their_scalar_twins(arm: tuple[Machine, list[str]]) -> None:
    machine, expected = arm
    assert_all_equal(machine.run("kernel_check", "twins"), expected[:-1])


def test_arm_gives_the_bits_of_this_machine(arm: tuple[Machine, list[str]], vectors: Path) -> None:
    """It does so from the bytes packed here, and packing there gives the same bytes."""
    machine, expected = arm
    packing = [("scalar", "pack", name) for name in _native.FORMATS]
    assert_all_equal(machine.run("kernel_check", "read", str(vectors)), expected, packing)


def test_arm_instructions_are_in_the_kernels_that_need_them_only(arm_programs: Path) -> None:
    objdump = shutil.which("aarch64-linux-gnu-objdump")
    assert objdump is not None, "binutils for 64-bit ARM come with the cross compiler"
    listing = subprocess.run(
        [objdump, "-d", "-C", "--no-show-raw-insn", arm_programs / "kernel_check"], capture_output=True, text=True
    )
    assert listing.returncode == 0
    function = ""
    found: dict[str, set[str]] = {"dotprod": set(), "i8mm": set()}
    for line in listing.stdout.splitlines():
        if match := re.match(r"^[0-9a-f]+ <(.+)>:$", line):
            function = match.group(1)
        elif re.search(r"\t[su]dot\s", line):
            found["dotprod"].add(function)
        elif re.search(r"\t(usdot|sudot|[su]mmla|usmmla)\s", line):
            found["i8mm"].add(function)
    for isa, functions in found.items():
        assert functions
        assert all(f"qwen3cpu::{isa}::" in function for function in functions), functions
