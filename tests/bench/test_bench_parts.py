"""The parts of qwen3cpu-bench: sweeps, arithmetic of bytes and multiply-adds, runs, workers; and random weights."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.bench.cases import Case, Sweep, names, whole_numbers
from qwen3cpu.bench.errors import BenchError
from qwen3cpu.bench.limits import model_costs
from qwen3cpu.bench.machine import Machine
from qwen3cpu.bench.process import OWN_WORKER, Worker
from qwen3cpu.bench.report import HEADINGS, Spread, spread_text
from qwen3cpu.bench.runs import Bench
from qwen3cpu.checkpoint.tensors import EMBEDDING, QUANTS
from qwen3cpu.engine.engine import CHUNK
from qwen3cpu.errors import ArgumentError, ContextLengthError
from qwen3cpu.loading import random_weights as synthetic
from qwen3cpu.loading.loaded_model import Checkpoint
from qwen3cpu.loading.random_weights import synthetic_checkpoint, synthetic_config
from qwen3cpu.model import Model
from qwen3cpu.system.peaks import measure_peaks

kernels: Any = vars(_native)["kernels"]


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return synthetic_checkpoint("test", "q4", threads=1)


@pytest.fixture
def bench(checkpoint: Checkpoint) -> Bench:
    return Bench(Model(checkpoint, kv="f16", context=None, threads=1))


def case(**settings: Any) -> Case:
    return Case(
        **{"n_prompt": 0, "n_gen": 0, "depth": 0, "batch": 1, "threads": 1, "quant": "q4", "kv": "f16", **settings}
    )


# Sweeps


def test_sweep_combines_and_drops_repeated_values() -> None:
    sweep = Sweep([4, 4], [0], [0, 8], [1], [2], ["q4", "q8"], ["f16"])
    assert sweep.cases() == [case(n_prompt=4, depth=d, threads=2, quant=q) for q in ("q4", "q8") for d in (0, 8)]


def test_lists_of_numbers_and_names() -> None:
    assert whole_numbers("0, 16,0,7", 0, 16) == [0, 16, 7]
    assert names("b,a", ["a", "b"]) == ["b", "a"]
    for text in ("", "1,", "-1", "1.0", "²", "17", "1 2"):
        with pytest.raises(ValueError, match="from 0 to 16"):
            whole_numbers(text, 0, 16)
    with pytest.raises(ValueError, match="'c'"):
        names("a,c", ["a", "b"])


# Arithmetic


def test_bytes_and_multiply_adds_of_decoding(checkpoint: Checkpoint) -> None:
    """Counted by hand for hidden 64, inner 192, 2 layers, 4 query and 2 KV heads of 32, vocabulary 512."""
    layer_weights = 2 * (64 * 128 + 2 * 64 * 64 + 128 * 64 + 3 * 64 * 192)
    kv_bytes = 2 * 2 * 32 * 2 * 2  # keys and values, KV heads, head_dim, layers, f16
    costs = model_costs(checkpoint, kv_bytes)
    assert costs.macs_per_token(case(n_gen=1)) == layer_weights + 512 * 64
    assert costs.macs_per_token(case(n_prompt=8)) == layer_weights + 512 * 64 / 8

    norms = 4 * (2 * (64 + 32 + 32 + 64) + 64)
    weights = sum(entry[3].nbytes for entry in checkpoint.matrices.values()) + norms
    assert costs.bytes_per_token(case(n_gen=1)) == weights + kv_bytes
    assert costs.bytes_per_token(case(n_gen=3, depth=10)) == weights + kv_bytes * (11 + 12 + 13) / 3
    assert costs.bytes_per_token(case(n_gen=1, batch=4)) == weights / 4 + kv_bytes


def test_bytes_of_a_prompt_grow_with_its_passes(checkpoint: Checkpoint) -> None:
    costs = model_costs(checkpoint, 256)
    head = checkpoint.matrices[EMBEDDING][3].nbytes
    layers = checkpoint.weight_bytes - head
    n = 2 * CHUNK
    one = (layers + head) + 256 * CHUNK  # the KV cache is read up to the end of the pass
    two = (2 * layers + head) + 256 * (CHUNK + n)
    assert costs.bytes_per_token(case(n_prompt=CHUNK)) * CHUNK == pytest.approx(one)
    assert costs.bytes_per_token(case(n_prompt=n)) * n == pytest.approx(two)


@pytest.mark.parametrize(("quant", "peak"), [("q4", "int8"), ("q4a64", "int8"), ("bf16", "fp32"), ("f32", "fp32")])
def test_the_peak_that_binds(quant: str, peak: str) -> None:
    assert model_costs(synthetic_checkpoint("test", quant, threads=1), 1.0).multiply == peak


def test_peaks_are_positive() -> None:
    peaks = measure_peaks(1, 1 << 20)
    assert min(peaks.read_gb_s, peaks.int8_gmac_s, peaks.fp32_gmac_s) > 0


def test_spread() -> None:
    spread = Spread.of(iter([3.0, 1.0, 2.0, 9.0]))
    assert spread == Spread(median=2.5, min=1.0, max=9.0, runs=[3.0, 1.0, 2.0, 9.0])
    assert spread_text(spread) == "2.5 (1.0 to 9.0)"
    assert spread_text(Spread.of([1234.5])) in ("1234 (1234 to 1234)", "1235 (1235 to 1235)")
    assert len(HEADINGS) == len(set(HEADINGS))


def test_machine_tells_cpu_and_commit() -> None:
    here = Machine.here()
    assert here.cpu
    assert here.commit is None or len(here.commit.removesuffix("-dirty")) >= 12


# Runs


class Passes:
    """Records (new tokens, wanted) of every sequence in every pass of the native model."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
        self.seen: list[list[tuple[int, int, int]]] = []
        timer = bench._timer
        forward = timer.forward

        def note(batch: Any) -> list[NDArray[np.float32]]:
            self.seen.append([(seq.length, len(new), len(want)) for seq, new, want, *_ in batch])
            return forward(batch)

        monkeypatch.setattr(timer, "forward", note)


def test_a_decode_run_is_one_token_in_and_one_out_for_every_step(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run(case(n_gen=1, depth=70, batch=2))  # fills the starting points
    passes = Passes(monkeypatch, bench)
    run = bench.run(case(n_gen=3, depth=70, batch=2))
    assert passes.seen == [[(70 + step, 1, 1)] * 2 for step in range(3)]
    assert run.tokens == 6
    assert 0 < run.native_seconds <= run.seconds
    assert 0 < run.first_token_seconds <= run.seconds


def test_a_prompt_run_goes_in_chunks_and_ends_with_the_first_token(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = Passes(monkeypatch, bench)
    assert bench.run(case(n_prompt=CHUNK + 9)).tokens == CHUNK + 9
    assert passes.seen == [[(0, CHUNK, 0)], [(CHUNK, 9, 1)]]


def test_depth_is_processed_once_and_serves_every_repetition(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = Passes(monkeypatch, bench)
    for depth in (100, 100, 40, 100):
        bench.run(case(n_gen=1, depth=depth))
    filled, *steps = passes.seen
    assert filled == [(0, 100, 0)]
    assert steps == [[(depth, 1, 1)] for depth in (100, 100, 40, 100)]


def test_sequences_run_together_have_memory_of_their_own(bench: Bench) -> None:
    bench.run(case(n_gen=1, depth=64, batch=3))
    blocks = [block for sequence in bench._filled for block in sequence.native.block_ids()]
    assert len(blocks) == len(set(blocks)) == 3


def test_runs_give_their_memory_back(bench: Bench) -> None:
    bench.run(case(n_gen=2, depth=64, batch=2))
    before = bench._engine.native.kv_blocks_in_use()
    bench.run(case(n_prompt=200, depth=64, batch=2))
    assert bench._engine.native.kv_blocks_in_use() == before == 2


def test_a_case_longer_than_the_context_is_refused(bench: Bench) -> None:
    with pytest.raises(ContextLengthError, match="1025 tokens"):
        bench.run(case(n_gen=4, depth=1020))


# Workers

ECHO = "import sys\nfor line in sys.stdin: print(line.strip(), flush=True)"


def test_a_worker_answers_and_reports_errors() -> None:
    with Worker("echo", (sys.executable, "-c", ECHO)) as worker:
        assert worker.ask("run", case={"n": 1}) == {"op": "run", "case": {"n": 1}}
        with pytest.raises(BenchError, match="echo: no luck"):
            worker.ask("run", error="no luck")


@pytest.mark.parametrize(("death", "message"), [("sys.exit(3)", "code 3$"), ("os.kill(os.getpid(), 9)", "memory")])
def test_a_worker_that_dies_is_reported(death: str, message: str) -> None:
    with (
        Worker("short-lived", (sys.executable, "-c", f"import os, sys; sys.stdin.readline(); {death}")) as worker,
        pytest.raises(BenchError, match=f"short-lived: .*'run'.*{message}"),
    ):
        worker.ask("run")


def test_a_command_that_does_not_exist_is_reported(tmp_path: Any) -> None:
    with pytest.raises(BenchError, match="cannot be started"):
        Worker("nothing", (str(tmp_path / "nothing"),))


def test_the_worker_keeps_stdout_for_answers() -> None:
    """A print in the process does not reach the parent as an answer."""
    code = (
        "from qwen3cpu.bench import worker;"
        "worker.Server.peaks = lambda self, **arguments: print('noise') or arguments; worker.main()"
    )
    with Worker("own", (sys.executable, "-c", f"import sys; sys.path[0] = sys.argv[1]; {code}", OWN_WORKER[-1])) as own:
        assert own.ask("peaks", threads=1) == {"threads": 1}
        with pytest.raises(BenchError, match="own: size: expected one of"):
            own.ask("open", model=None, synthetic="9B", quant="q4", kv="f16", threads=1)


# Random weights


@pytest.mark.parametrize("pattern_rows", [40, 256])
@pytest.mark.parametrize("quant", QUANTS)
def test_random_weights_are_valid_packed_matrices(
    quant: str, pattern_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row unpacks to numbers of the wanted spread, also where the repeated block is cut off."""
    monkeypatch.setattr(synthetic, "_PATTERN_ROWS", pattern_rows)
    checkpoint = synthetic_checkpoint("test", quant, threads=1)
    for name, (format_, rows, cols, data) in checkpoint.matrices.items():
        assert data.nbytes == _native.matrix_bytes(format_, rows, cols)
        assert data.ctypes.data % 64 == 0
        unpacked = np.stack([kernels.row_to_float(format_, data, rows, cols, row) for row in range(rows)])
        spread = (3.0 if name == EMBEDDING else 1.0) * cols**-0.5
        # 4-bit rounding adds about 0.7 % to the variance; a row of 64 numbers deviates by 9 % at random.
        assert unpacked.std() == pytest.approx(spread, rel=0.05)
        assert (unpacked.std(axis=1) > spread / 2).all()
        assert (unpacked.std(axis=1) < spread * 2).all()
        nonzero = np.abs(unpacked[unpacked != 0])
        assert nonzero.min() > 1e-30


def test_layers_repeat_a_block_and_the_head_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "_PATTERN_ROWS", 40)
    checkpoint = synthetic_checkpoint("test", "q4", threads=1)

    def rows_of(name: str) -> NDArray[np.float32]:
        format_, rows, cols, data = checkpoint.matrices[name]
        return np.stack([kernels.row_to_float(format_, data, rows, cols, row) for row in range(rows)])

    up_proj = rows_of("model.layers.1.mlp.up_proj.weight")
    np.testing.assert_array_equal(up_proj, np.resize(up_proj[:40], up_proj.shape))
    assert len(np.unique(up_proj, axis=0)) == 40
    assert len(np.unique(rows_of(EMBEDDING), axis=0)) == 512


def test_random_weights_depend_on_the_seed_only() -> None:
    one, same, other = (synthetic_checkpoint("test", "q4", threads=t, seed=s) for t, s in ((1, 0), (2, 0), (1, 1)))
    for name in one.matrices:
        np.testing.assert_array_equal(one.matrices[name][3], same.matrices[name][3])
        assert not np.array_equal(one.matrices[name][3], other.matrices[name][3])
    assert one.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize("quant", QUANTS)
def test_a_model_of_random_weights_answers(quant: str) -> None:
    model = Model(synthetic_checkpoint("test", quant, threads=1), kv="f16", context=None, threads=1)
    logits = model.logits(list(range(200)))
    assert np.isfinite(logits).all()
    assert 2 < logits.std() < 4
    result = model.generate([1, 2, 3], max_new_tokens=12, ignore_eos=True, seed=1)
    assert len(result.token_ids) == 12
    assert result.text + result.reasoning


@pytest.mark.parametrize(
    ("size", "billions"),
    [("0.6B", 0.596), ("1.7B", 1.721), ("4B", 4.022), ("8B", 8.191), ("14B", 14.768), ("32B", 32.762)],
)
def test_sizes_are_those_of_the_released_models(size: str, billions: float) -> None:
    assert synthetic_config(size).parameters() / 1e9 == pytest.approx(billions, rel=1e-3)


def test_unknown_sizes_and_formats_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"0\.6B, 1\.7B.*'2B'"):
        synthetic_checkpoint("2B", threads=1)
    with pytest.raises(ArgumentError, match="q5"):
        synthetic_checkpoint("test", "q5", threads=1)


def test_json_of_a_case_makes_the_case_again() -> None:
    original = case(n_gen=5, depth=3, quant=None)
    assert Case(**json.loads(json.dumps(original.as_dict()))) == original
