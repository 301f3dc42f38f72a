"""Rounding to q4 while packing: its native sums against NumPy, the same bytes everywhere, and its gain."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from checkpoints import write_checkpoint

import qwen3cpu
from qwen3cpu import _native
from qwen3cpu.errors import EngineError
from qwen3cpu.evaluation.quality import evaluate
from qwen3cpu.loading import open as opening
from qwen3cpu.packed.packed_file import PackedFile
from qwen3cpu.quantization import pack_model as quantize

PACKAGE = str(Path(qwen3cpu.__file__).parents[1])


@pytest.mark.parametrize(("cols", "block"), [(5, 8), (64, 64), (77, 32), (300, 192)])
def test_moments_within_blocks(cols: int, block: int) -> None:
    rng = np.random.default_rng(cols)
    inputs = (rng.standard_normal((131, cols)) * np.exp(rng.standard_normal(cols))).astype(np.float32)
    blocks = -(-cols // block)
    found = np.zeros((blocks, block, block), np.float32)
    for part in (inputs[:70], inputs[70:]):
        _native.add_block_moments(part, found, 2)
    for b in range(blocks):
        own = inputs[:, b * block : (b + 1) * block].astype(np.float64)
        # A float32 sum of n terms is within n roundings of the sum of their magnitudes.
        bound = 131 * 2.0**-24 * (np.abs(own).T @ np.abs(own))
        size = own.shape[1]
        assert (np.abs(np.triu(found[b, :size, :size] - own.T @ own)) <= bound).all()
    alone = np.zeros_like(found)
    for part in (inputs[:70], inputs[70:]):
        _native.add_block_moments(part, alone, 1)
    assert alone.tobytes() == found.tobytes()


@pytest.mark.parametrize("n", [1, 7, 32, 192])
def test_factors_of_inverses(n: int) -> None:
    rng = np.random.default_rng(n)
    x = rng.standard_normal((5, 2 * n, n)) * np.exp(rng.standard_normal(n))
    matrices = np.einsum("bti,btj->bij", x, x) + np.eye(n) * 0.05
    found = _native.invert_factors(matrices, 2).astype(np.float64)
    assert (found == np.triu(found)).all()
    for u, matrix in zip(found, matrices, strict=True):
        inverse = np.linalg.inv(matrix)
        scale = np.sqrt(np.outer(inverse.diagonal(), inverse.diagonal()))
        # Float32 entries: n products of two, each with two roundings; the inverse's diagonal bounds their magnitudes.
        assert (np.abs(u.T @ u - inverse) <= (n + 2) * 2.0**-23 * scale).all()
    assert _native.invert_factors(matrices, 1).tobytes() == found.astype(np.float32).tobytes()


def test_what_is_not_positive_definite_is_refused() -> None:
    matrices = np.stack([np.eye(3), np.diag([1.0, -1.0, 1.0])])
    with pytest.raises(EngineError, match="not positive definite"):
        _native.invert_factors(matrices, 1)
    with pytest.raises(EngineError, match="moments"):
        _native.add_block_moments(np.ones((2, 9), np.float32), np.zeros((1, 8, 8), np.float32), 1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quick") / "model"
    return write_checkpoint(folder, hidden_size=72, intermediate_size=272, num_hidden_layers=2).folder


PACK = "import qwen3cpu, sys; qwen3cpu.pack(sys.argv[1], sys.argv[2], 'q4', threads=int(sys.argv[3]))"


def test_every_instruction_set_and_number_of_threads_packs_the_same_bytes(model: Path, tmp_path: Path) -> None:
    digests = {}
    for isa in [name for name, runs in _native.isas() if runs]:
        for threads in (1, 2):
            out = tmp_path / f"{isa}-{threads}.qwen3"
            environment = {**os.environ, "QWEN3CPU_ISA": isa, "PYTHONPATH": PACKAGE}
            subprocess.run([sys.executable, "-c", PACK, model, out, str(threads)], env=environment, check=True)
            digests[isa, threads] = hashlib.sha256(out.read_bytes()).hexdigest()
    assert len(set(digests.values())) == 1, digests


def test_inputs_that_overflow_leave_plain_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_checkpoint(tmp_path / "model", dtype="float32", hidden_size=64)
    monkeypatch.setattr(_native, "add_block_moments", lambda inputs, moments, threads: moments.fill(np.inf))
    qwen3cpu.pack(written.folder, tmp_path / "m.qwen3", "q4", threads=1)
    file = PackedFile(tmp_path / "m.qwen3")
    name = "model.layers.0.mlp.up_proj.weight"
    values = np.ascontiguousarray(written.tensors[name], np.float32)
    plain = np.zeros(_native.matrix_bytes("q4", *values.shape), np.uint8)
    _native.pack_into("q4", values, plain, len(values), 0, 1)
    np.testing.assert_array_equal(file.stored(name).reshape(-1)[: plain.size], plain)


def test_it_takes_a_tenth_of_the_divergence_from_the_embedded_model(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(f"{a} + {b} * {a} - {b}?" for a in range(11, 60) for b in (3, 14, 27))
    reference = qwen3cpu.load("tiny", "bf16", cache=False)
    monkeypatch.setattr(opening, "pack_in_memory", quantize.pack_in_memory)  # packs each time
    models = {"quick": qwen3cpu.load("tiny", "q4", cache=False)}
    monkeypatch.setattr(
        quantize,
        "packer",
        lambda weights, _config, _quant, **options: partial(quantize.pack_matrix, weights, **options),
    )
    models["plain"] = qwen3cpu.load("tiny", "q4", cache=False)
    found = {each.quant: each.mean_kl for each in evaluate(models, reference, text, windows=16, window=128)}
    assert found["quick"] < 0.9 * found["plain"]
