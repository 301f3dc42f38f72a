"""`qwen3cpu doctor`: its facts are those that a model is run with, and each warning comes with a remedy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runs import run

import qwen3cpu
from qwen3cpu import _native
from qwen3cpu.cli import machine_report as doctor
from qwen3cpu.cli.main import main
from qwen3cpu.loading.memory_plan import needs
from qwen3cpu.loading.random_weights import synthetic_config
from qwen3cpu.packed.cache import cache_folder
from qwen3cpu.packed.matrix import plan_matrices
from qwen3cpu.system.free_memory import AvailableMemory
from qwen3cpu.system.thread_count import resolve_threads


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch, tmp_path):
    """No environment variables of the tester; the cache is a folder that does not exist yet."""
    for name in ("QWEN3CPU_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("QWEN3CPU_CACHE", str(tmp_path / "cache"))


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def found(warned, text):
    """The one warning with this text; it says what to do."""
    (match,) = [each for each in warned if text in each.found]
    assert match.remedy
    return match


def test_the_report_is_what_a_model_runs_with(capsys):
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["cpu"]["chosen"] == _native.chosen_isa()
    assert report["cpu"]["compiled"] == [name for name, _ in _native.isas()]
    assert report["cpu"]["able"] == [name for name, runs in _native.isas() if runs]
    assert report["threads"]["count"] == resolve_threads(None) == qwen3cpu.load("tiny").threads
    assert 0 < report["memory"]["available"] <= report["memory"]["total"]
    assert report["memory"]["read_gb_s"] > 0
    assert report["versions"]["qwen3cpu"] == qwen3cpu.__version__
    assert report["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    import numpy

    assert report["versions"]["packages"]["numpy"] == numpy.__version__
    assert report["cache"]["folder"] == str(cache_folder())
    assert all(each["found"] and each["remedy"] for each in report["warnings"])


def test_the_commit_is_that_of_the_source_tree_or_of_the_build():
    folder = Path(qwen3cpu.__file__).parent
    command = ["git", "-C", str(folder), "ls-files", "--error-unmatch", "__init__.py"]
    commit = doctor.versions()[0]["commit"]
    if subprocess.run(command, capture_output=True).returncode:
        assert commit is None or len(commit.removesuffix("-dirty")) >= 12, "the commit of the build, if it was known"
    else:
        command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
        head = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert head.startswith(commit.removesuffix("-dirty"))


def test_the_text_shows_the_report_and_remedies():
    done = run("doctor", QWEN3CPU_THREADS="1000", QWEN3CPU_ISA="scalar")
    assert done.returncode == 0, done.stderr
    for text in ("chosen scalar", "1000, because of QWEN3CPU_THREADS", "GB/s", f"qwen3cpu {qwen3cpu.__version__}"):
        assert text in done.stdout
    assert "what to do: unset QWEN3CPU_THREADS" in done.stdout
    if _native.isas()[0][1]:
        assert "what to do: unset QWEN3CPU_ISA" in done.stdout


def test_settings_that_no_model_could_run_with_are_warnings():
    done = run("doctor", "--json", QWEN3CPU_THREADS="many", QWEN3CPU_ISA="sse9")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["threads"]["count"] is None
    assert report["cpu"]["chosen"] is None
    assert report["memory"]["read_gb_s"] is None
    assert [each["remedy"] for each in report["warnings"]][:2] == ["unset QWEN3CPU_ISA", "unset QWEN3CPU_THREADS"]
    assert "many" in report["warnings"][1]["found"]
    assert "sse9" in report["warnings"][0]["found"]


def test_a_cpu_without_fast_kernels(monkeypatch):
    monkeypatch.setattr(_native, "isas", lambda: [("avx2", False), ("scalar", True)])
    monkeypatch.setattr(_native, "chosen_isa", lambda: "scalar")
    facts, warned = doctor.processor()
    assert (facts["compiled"], facts["able"]) == (["avx2", "scalar"], ["scalar"])
    found(warned, "none of the instruction sets")


@pytest.mark.parametrize(
    ("affinity", "cores", "quota", "given", "count", "why"),
    [
        (8, 8, None, None, 8, "CPUs"),
        (8, 4, None, None, 4, "physical cores"),
        (3, 3, None, None, 3, "affinity"),
        (8, 4, "250000 100000", None, 2, "cgroup quota"),
        (8, 4, "800000 100000", None, 4, "physical cores"),
        (8, 4, "250000 100000", "6", 6, "QWEN3CPU_THREADS"),
    ],
)
def test_threads_and_why(tmp_path, monkeypatch, affinity, cores, quota, given, count, why):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for module in ("cli.machine_report", "system.thread_count"):
        monkeypatch.setattr(f"qwen3cpu.{module}.available_cpus", lambda: affinity)
    monkeypatch.setattr(_native, "physical_cores", lambda: cores)
    if given:
        monkeypatch.setenv("QWEN3CPU_THREADS", given)
    files = {"proc/self/cgroup": "0::/app\n", "sys/fs/cgroup/app/cpu.max": f"{quota}\n"} if quota else {}
    facts, warned = doctor.threads(tree(tmp_path, files))
    assert (facts["count"], facts["why"]) == (count, why)
    expected = ["QWEN3CPU_THREADS"] if given else []
    expected += ["control group"] if quota == "250000 100000" else []
    assert len(warned) == len(expected)
    for text in expected:
        found(warned, text)


def test_spinning_threads(monkeypatch):
    assert not [each for each in doctor.threads()[1] if "OMP_WAIT_POLICY" in each.found]
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    found(doctor.threads()[1], "OMP_WAIT_POLICY")


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("always [madvise] never\n", "madvise"),
        ("[always] madvise never\n", "always"),
        ("always madvise [never]\n", "never"),
        (None, None),
    ],
)
def test_huge_pages(tmp_path, text, setting):
    files = {} if text is None else {"sys/kernel/mm/transparent_hugepage/enabled": text}
    facts, warned = doctor.memory(tree(tmp_path, files))
    assert facts["huge_pages"] == setting
    assert [each.about for each in warned] == (["memory"] if setting == "never" else [])


def test_little_memory(monkeypatch):
    monkeypatch.setattr(doctor, "available_memory", lambda root: AvailableMemory(500_000_000, "cgroup"))
    assert "bound: cgroup" in found(doctor.memory()[1], "0.50 GB").found


def test_the_least_memory_is_what_plan_says():
    shape = synthetic_config("1.7B")
    planned = needs(shape, plan_matrices(shape, "q4"), "f16", 1024, 2).total_bytes
    assert planned == pytest.approx(doctor.LEAST_MEMORY, rel=0.02)


def test_openmp_runtimes(tmp_path):
    if Path("/proc/self/maps").exists():
        assert len(doctor.openmp_runtimes()) >= 1, "the native module's own"
    maps = (
        "7f00-7f01 r-xp 00000000 08:01 11 /usr/lib/libgomp.so.1\n"
        "7f01-7f02 r--p 00000000 08:01 11 /usr/lib/libgomp.so.1\n"
        "7f02-7f03 r-xp 00000000 08:01 12 /opt/my libs/libiomp5.so\n7f03-7f04 rw-p 00000000 00:00 0 \n"
        "7f04-7f05 r-xp 00000000 08:01 13 /usr/lib/libc.so.6\n"
    )
    root = tree(tmp_path, {"proc/self/maps": maps})
    assert doctor.openmp_runtimes(root) == ["/opt/my libs/libiomp5.so", "/usr/lib/libgomp.so.1"]
    found(doctor.versions(root)[1], "2 OpenMP runtimes")


def test_a_package_is_missing(monkeypatch):
    monkeypatch.setattr(doctor, "_PACKAGES", ("numpy", "no-such-package-at-all"))
    facts, warned = doctor.versions()
    assert facts["packages"]["no-such-package-at-all"] is None
    found(warned, "no-such-package-at-all is not installed")


def test_cache(monkeypatch, tmp_path):
    facts, warned = doctor.cache()
    assert (facts["folder"], facts["files"], facts["writable"]) == (str(tmp_path / "cache"), 0, True)
    assert not [each for each in warned if "cannot be written" in each.found]
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "old-q4-0.qwen3").write_bytes(b"not a packed file")
    facts, warned = doctor.cache()
    assert (facts["files"], facts["bytes"]) == (1, 17)
    assert found(warned, "are not needed").remedy == "qwen3cpu cache prune"


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QWEN3CPU_CACHE", str(tmp_path / "file"))
    facts, warned = doctor.cache()
    assert not facts["writable"]
    found(warned, "cannot be written")


def test_a_full_disk(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    found(doctor.cache()[1], "free on the disk")
