"""`qwen3cpu plan`: sizes equal the engine's, the total is what a process takes, and limits are the system's."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checkpoints import write_checkpoint
from native_models import native_model
from random_models import SHAPES, config, random_weights

import qwen3cpu
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.tensors import QUANTS
from qwen3cpu.cli.main import main
from qwen3cpu.engine.engine import CHUNK
from qwen3cpu.loading.memory_plan import needs
from qwen3cpu.loading.random_weights import synthetic_config
from qwen3cpu.packed.matrix import plan_matrices
from qwen3cpu.system.free_memory import AvailableMemory, available_memory

# Sizes


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("quant", "kv", "threads", "activations"),
    [("q4", "f16", 1, "int8"), ("q8", "q8", 3, "int8"), ("bf16", "f32", 2, "int8"), ("q8", "f16", 2, "int16")],
)
def test_sizes_are_those_of_the_engine(shape: str, quant: str, kv: str, threads: int, activations: str) -> None:
    values = config(shape)
    int16 = activations == "int16"
    model = native_model(values, random_weights(values), quant, kv=kv, threads=threads, int16_inputs=int16)
    parsed = ModelConfig.from_dict(values, "test")
    found = needs(parsed, plan_matrices(parsed, quant), kv, 2 * CHUNK - 1, threads, activations)
    sequence = model.new_sequence()
    for tokens in (CHUNK, CHUNK - 1):
        model.forward([(sequence, np.zeros(tokens, np.int32), np.zeros(0, np.int32))])
    assert found.kv_bytes == model.kv_blocks_in_use() * model.kv_block_bytes()
    assert found.workspace_bytes == model.workspace_bytes()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("quant", QUANTS)
def test_weights_are_those_of_a_loaded_model(tmp_path: Path, quant: str, tied: bool) -> None:
    folder = write_checkpoint(tmp_path, tie_word_embeddings=tied, attention_bias=True, hidden_size=72).folder
    model = qwen3cpu.load(folder, quant=quant, threads=1)
    found = needs(model.config, plan_matrices(model.config, quant), "f16", 100, 1)
    assert found.weight_bytes == model.weight_bytes
    embedding = model._checkpoint.matrices["model.embed_tokens.weight"][3].nbytes
    assert found.read_bytes_at_start == model.weight_bytes - (0 if tied else embedding), "only one row of it is read"
    assert found.read_bytes == found.read_bytes_at_start + 100 * int(model.kv_bytes_per_token)


needs_status = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc for the peak of memory")


@needs_status
def test_planning_takes_no_memory() -> None:
    """A process that takes less than 1 GB plans 131 GB of f32 weights."""
    code = (
        "from qwen3cpu.packed.matrix import plan_matrices\nfrom qwen3cpu.loading.memory_plan import needs\n"
        "from qwen3cpu.loading.random_weights import synthetic_config\nconfig = synthetic_config('32B')\n"
        "print(needs(config, plan_matrices(config, 'f32'), 'f16', 1024, 1).weight_bytes)\n"
        # VmHWM, because getrusage's figure starts with the parent's memory.
        "print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM:')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    weights, peak = map(int, done.stdout.split())
    assert weights > 4 * 32e9
    assert peak * 1024 < 1e9


FILLING = """
import re, sys
import qwen3cpu
from qwen3cpu.model import Model
from qwen3cpu.loading.random_weights import SIZES, synthetic_checkpoint
source, quant, kv, context = sys.argv[1:4] + [int(sys.argv[4])]
if source in SIZES:
    model = Model(synthetic_checkpoint(source, quant, threads=2), kv=kv, context=context, threads=2)
else:
    model = qwen3cpu.load(source, quant=quant, kv=kv, context=context, threads=2)
result = model.generate([5] * (context - 4), max_new_tokens=4, ignore_eos=True)
assert result.usage.total_tokens == context
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024)
"""


def peak_of(source: str, quant: str, kv: str, context: int) -> int:
    """Return the peak of resident memory of a process that fills a context."""
    command = [sys.executable, "-c", FILLING, source, quant, kv, str(context)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.heavy
@needs_status
def test_the_total_is_what_a_process_takes() -> None:
    """Within 5 %: the 0.6B shape with random weights, its context filled with 512 tokens."""
    shape = synthetic_config("0.6B")
    planned = needs(shape, plan_matrices(shape, "q4"), "f32", 512, 2).total_bytes
    assert planned == pytest.approx(peak_of("0.6B", "q4", "f32", 512), rel=0.05)


@pytest.mark.synthetic
@needs_status
@pytest.mark.parametrize(("quant", "kv", "context"), [("q4", "f16", 4096), ("q8", "q8", 1024)])
def test_the_total_is_what_the_1_7b_takes(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quant: str, kv: str, context: int
) -> None:
    monkeypatch.setenv("QWEN3CPU_CACHE", str(tmp_path))
    qwen3cpu.load(synthetic, quant=quant, threads=2)  # packs first; the plan is for a process that maps the file
    shape = synthetic_config("1.7B")
    planned = needs(shape, plan_matrices(shape, quant), kv, context, 2).total_bytes
    peak = peak_of(str(synthetic), quant, kv, context)
    print(f"{quant}, kv {kv}, context {context}: planned {planned / 1e6:.0f} MB, peak {peak / 1e6:.0f} MB")
    assert planned == pytest.approx(peak, rel=0.05)


# What may be used


MEMINFO = {"proc/meminfo": "MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n"}
V2 = {**MEMINFO, "proc/self/cgroup": "0::/user.slice/app\n"}
V1 = {**MEMINFO, "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n"}
SYSTEM = AvailableMemory(8_000_000 * 1024, "system")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        (MEMINFO, SYSTEM),
        ({**V2, "sys/fs/cgroup/user.slice/app/memory.max": "max\n"}, SYSTEM),
        (
            {
                **V2,
                "sys/fs/cgroup/user.slice/app/memory.max": "2000000000\n",
                "sys/fs/cgroup/user.slice/app/memory.current": "700000000\n",
                "sys/fs/cgroup/user.slice/app/memory.stat": "anon 1\ninactive_file 200000000\n",
            },
            AvailableMemory(1_500_000_000, "cgroup"),
        ),
        (  # the parent group has a lower limit, which is exceeded
            {
                **V2,
                "sys/fs/cgroup/user.slice/app/memory.max": "2000000000\n",
                "sys/fs/cgroup/user.slice/app/memory.current": "0\n",
                "sys/fs/cgroup/user.slice/memory.max": "1000000000\n",
                "sys/fs/cgroup/user.slice/memory.current": "1000000001\n",
            },
            AvailableMemory(0, "cgroup"),
        ),
        (
            {
                **V1,
                "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "3000000000\n",
                "sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes": "1000000000\n",
                "sys/fs/cgroup/memory/docker/abc/memory.stat": "inactive_file 5\ntotal_inactive_file 600\n",
            },
            AvailableMemory(2_000_000_600, "cgroup"),
        ),
        (  # what v1 writes for "no limit"
            {
                **V1,
                "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes": "1000000000\n",
            },
            SYSTEM,
        ),
    ],
)
def test_available_memory(tmp_path: Path, files: dict[str, str], expected: AvailableMemory | None) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert available_memory(tmp_path) == expected


@needs_status
def test_a_limit_on_address_space() -> None:
    code = "from qwen3cpu.system.free_memory import available_memory\n"
    code += "found = available_memory()\nprint(found.bytes, found.bound)"
    limit = 1 << 32

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, preexec_fn=limited)
    size, bound = done.stdout.split(" ", 1)
    if available_memory().bytes > limit:
        assert bound.strip() == "resource limit"
    assert 0 < int(size) < limit


# The command


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    assert main(["plan", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def reads_10_gb_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the measurement of memory speed, which takes half a second. One test measures it."""
    monkeypatch.setattr("qwen3cpu.system.peaks.measure_reading", lambda threads, size: 10.0)


@pytest.mark.usefixtures("reads_10_gb_s")
def test_the_table_has_every_format_and_three_contexts(capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(capsys, "0.6b")
    assert found["read_gb_s"] == 10
    assert [(row["quant"], row["context"]) for row in found["plans"]] == [
        (quant, context) for quant in QUANTS for context in (1024, 16384, 32768)
    ]
    for row in found["plans"]:
        parts = ("weight_bytes", "kv_bytes", "workspace_bytes", "process_bytes")
        assert row["total_bytes"] == sum(row[part] for part in parts)
        assert row["fits"] == (row["total_bytes"] <= found["available"]["bytes"])
        assert row["tokens_per_second_at_end"] == pytest.approx(10e9 / row["read_bytes"])
        assert row["tokens_per_second_at_start"] == pytest.approx(10e9 / row["read_bytes_at_start"])
    assert main(["plan", "0.6B", "--quant", "q4,q8", "-c", "1k,100", "--kv", "q8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[4:8]] == [["q4", "1024"], ["q4", "100"], ["q8", "1024"], ["q8", "100"]]


@pytest.mark.usefixtures("reads_10_gb_s")
def test_experts_that_do_not_fit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A token reads only its chosen experts, in total 1.9 GB of 16.7."""
    row = planned(capsys, "30B-A3B", "--quant", "q4", "-c", "64")["plans"][0]
    assert row["weight_bytes"] > 8 * row["read_bytes_at_start"]
    for left, said in ((10**12, False), (10**10, True)):
        found = AvailableMemory(left, "system")
        monkeypatch.setattr("qwen3cpu.cli.plan.available_memory", lambda found=found: found)
        assert main(["plan", "30B-A3B", "--quant", "q4", "-c", "64"]) == 0
        assert ("are read from the disk" in capsys.readouterr().out) is said


@pytest.mark.usefixtures("reads_10_gb_s")
def test_a_draft_takes_memory_too(capsys: pytest.CaptureFixture[str]) -> None:
    with_draft = planned(capsys, "1.7B", "--draft", "0.6B", "--quant", "q8")["plans"]
    for row, plain, small in zip(
        with_draft,
        planned(capsys, "1.7B", "--quant", "q8")["plans"],
        planned(capsys, "0.6B", "--quant", "q4")["plans"],
        strict=True,
    ):
        tables = small["process_bytes"] - 47_000_000
        assert row["draft_bytes"] == small["weight_bytes"] + small["kv_bytes"] + small["workspace_bytes"] + tables
        assert row["total_bytes"] == plain["total_bytes"] + row["draft_bytes"]
        assert plain["draft_bytes"] == 0
    assert main(["plan", "1.7B", "--draft", "0.6B", "--quant", "q8"]) == 0
    heading = capsys.readouterr().out.splitlines()[3]
    assert heading.split()[-8:] == ["process", "draft", "in", "all", "fits", "tok/s", "at", "most"]


@pytest.mark.usefixtures("reads_10_gb_s")
def test_what_does_not_fit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen3cpu.cli.plan.available_memory", lambda: AvailableMemory(2_000_000_000, "cgroup"))
    found = planned(capsys, "1.7B", "--quant", "q4")
    assert [row["fits"] for row in found["plans"]] == [True, False, False]
    assert main(["plan", "1.7B", "--quant", "q4"]) == 0
    out = capsys.readouterr().out
    assert "2.00 GB (cgroup)" in out
    assert out.count(" NO ") == 2
    monkeypatch.setattr("qwen3cpu.cli.plan.available_memory", lambda: None)
    assert {row["fits"] for row in planned(capsys, "1.7B", "--quant", "q4")["plans"]} == {None}


def test_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder needs no weights; a packed file is planned as it is packed."""
    folder = write_checkpoint(tmp_path / "model").folder
    qwen3cpu.pack(folder, tmp_path / "model.qwen3", "q8")
    weights = qwen3cpu.load(tmp_path / "model.qwen3").weight_bytes
    (folder / "model.safetensors").unlink()
    (row,) = planned(capsys, str(folder), "--quant", "q8", "--context", "64")["plans"]
    assert row["weight_bytes"] == weights
    (packed,) = planned(capsys, str(tmp_path / "model.qwen3"), "--context", "64")["plans"]
    assert {
        key: value for key, value in packed.items() if not key.startswith("tokens_per_second")
    }.items() <= row.items()
    assert planned(capsys, "tiny")["parameters"] == qwen3cpu.load("tiny").config.parameters()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["5B"], "5B"),
        (["1.7B", "--quant", "q5"], "q5"),
        (["1.7B", "-c", "0"], "--context"),
        (["1.7B", "-c", "many"], "--context"),
        (["1.7B", "-c", "1k,"], "--context"),
        (["1.7B", "-c", "9999999999"], "--context"),
        (["1.7B", "-t", "0"], "threads"),
        (["PACKED", "--quant", "q4"], "is packed as 'q8'"),
    ],
)
def test_bad_arguments(tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    if arguments[0] == "PACKED":
        qwen3cpu.pack(write_checkpoint(tmp_path / "model").folder, tmp_path / "model.qwen3", "q8")
        arguments[0] = str(tmp_path / "model.qwen3")
    assert main(["plan", *arguments]) == 2
    assert says in capsys.readouterr().err
