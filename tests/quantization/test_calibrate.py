"""`qwen3cpu quantize --calibrate` and `pack(calibrate=...)`: the written file, its reproducibility, and errors."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checkpoints import write_checkpoint
from cli_runs import Terminal, run
from retrieval_models import write_embedding_model

import qwen3cpu
from qwen3cpu import _native
from qwen3cpu.checkpoint.tensors import EMBEDDING, matrices_by_input
from qwen3cpu.errors import ArgumentError, CheckpointError
from qwen3cpu.packed.matrix import MatrixLayout, PackedMatrix, plan_matrices
from qwen3cpu.packed.packed_file import PackedFile
from qwen3cpu.quantization import calibrate as calibration_run
from qwen3cpu.quantization.bit_budget import SCORED_EVERY, CostMeter, choose_formats
from qwen3cpu.quantization.calibration_report import as_table, read_report
from qwen3cpu.quantization.divergence import log_softmax
from qwen3cpu.quantization.gptq import Rounding
from qwen3cpu.quantization.layer_runner import Layer
from qwen3cpu.quantization.recipe import Recipe

TEXT = " ".join(f"The {number} th fox sleeps in house {number * 7 % 31} and sees the sky." for number in range(400))
SMALL = Recipe(bits=7.0, tokens=512, sequence=64, held_out=128)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(
        tmp_path_factory.mktemp("calibrate") / "model", hidden_size=96, intermediate_size=160, num_hidden_layers=3
    ).folder


@pytest.fixture(scope="module")
def calibrated(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calibrated") / "model.qwen3"
    qwen3cpu.pack(model, path, calibrate=SMALL, threads=1)
    return path


def test_the_same_file_every_time_and_for_any_number_of_threads(model: Path, calibrated: Path, tmp_path: Path) -> None:
    for threads in (1, 2):
        qwen3cpu.pack(model, tmp_path / "again.qwen3", "q4", calibrate=SMALL, threads=threads)
        assert (tmp_path / "again.qwen3").read_bytes() == calibrated.read_bytes()
    qwen3cpu.pack(model, tmp_path / "other.qwen3", calibrate=Recipe(**{**vars(SMALL), "seed": 1}), threads=1)
    assert (tmp_path / "other.qwen3").read_bytes() != calibrated.read_bytes()


def test_the_file_loads_verifies_and_tells_how_it_was_made(calibrated: Path) -> None:
    file = PackedFile(calibrated)
    assert file.quant == "q4"
    report = read_report(file)
    assert report is not None
    assert report.recipe["tokens"] == 512
    config = file.texts.config
    assert set(report.costs) == {
        name for layer in range(3) for names in matrices_by_input(config, layer).values() for name in names
    }
    assert all(cost > 0 for cost in report.costs.values())
    table = as_table(report, file)
    assert len(table.splitlines()) == len(report.costs) + 2
    assert run("verify", calibrated).returncode == 0
    loaded = qwen3cpu.load(calibrated, threads=1)
    assert np.isfinite(loaded.logits([1, 2, 3])).all()


def average_bits(file: PackedFile) -> float:
    weights = sum(matrix.rows * matrix.cols for matrix in file.plan.values())
    return 8 * sum(matrix.bytes for matrix in file.plan.values()) / weights


def test_the_costliest_matrices_are_in_q8_as_far_as_bits_go(calibrated: Path) -> None:
    file = PackedFile(calibrated)
    report = read_report(file)
    assert report is not None
    assert average_bits(file) <= SMALL.bits
    assert file.plan[EMBEDDING].format == "q4x2"

    def worth(name: str) -> float:
        rows, cols = file.plan[name].rows, file.plan[name].cols
        more = _native.matrix_bytes("q8", rows, cols) - _native.matrix_bytes("q4", rows, cols)
        return report.costs[name] / more

    left = SMALL.bits / 8 * sum(m.rows * m.cols for m in file.plan.values())
    left -= sum(m.bytes for m in file.plan.values())
    in_q4 = [name for name in report.costs if file.plan[name].format == "q4"]
    in_q8 = [name for name in report.costs if file.plan[name].format == "q8"]
    assert in_q4
    assert in_q8
    for name in in_q4:
        matrix = file.plan[name]
        more = _native.matrix_bytes("q8", matrix.rows, matrix.cols) - matrix.bytes
        # A matrix in q4 is worth less than all matrices in q8, unless it would not have fitted.
        assert more > left or worth(name) <= min(map(worth, in_q8))


def test_more_bits_are_never_fewer_matrices() -> None:
    plan = {name: MatrixLayout("q4", 64, 64) for name in "abcd"}
    costs = {"a": 0.1, "b": 0.4, "c": 0.2, "d": 0.3}
    sizes = []
    for bits in (5.5, 6.5, 7.5, 8.5, 9.0):
        chosen = choose_formats(plan, costs, bits)
        sizes.append([name for name in "bdca" if chosen[name].format == "q8"])
    assert sizes == [[], ["b"], ["b", "d"], ["b", "d", "c"], ["b", "d", "c", "a"]]


def test_a_cost_is_the_divergence_of_the_model_with_one_matrix_in_q4(model: Path, calibrated: Path) -> None:
    # The same number, computed by the whole engine instead of layer by layer.
    report = read_report(PackedFile(calibrated))
    assert report is not None
    source = qwen3cpu.load(model, "q8", threads=1, cache=False)
    checkpoint = source._checkpoint
    ids = text_of(source)[:2]
    meter = CostMeter(source.config, checkpoint.matrices, checkpoint.vectors, ids, threads=1)
    in_q4 = qwen3cpu.load(model, "q4", threads=1, cache=False)._checkpoint.matrices
    for layer in range(3):
        name = f"model.layers.{layer}.mlp.down_proj.weight"
        found = meter.layer({name: in_q4[name]})
        swapped = _native.Model(
            source.config.native(64), {**checkpoint.matrices, name: in_q4[name]}, checkpoint.vectors, "f16", 1
        )
        total = 0.0
        for piece in ids:
            every, native = np.arange(64, dtype=np.int32), source.engine.native
            p = log_softmax(native.forward([(native.new_sequence(), piece, every)])[0])
            q = log_softmax(swapped.forward([(swapped.new_sequence(), piece, every)])[0])
            total += float((np.exp(p) * (p - q))[SCORED_EVERY - 1 :: SCORED_EVERY].sum(dtype=np.float64))
        assert found[name] == pytest.approx(total * SCORED_EVERY / 128, rel=1e-5)


def text_of(model: qwen3cpu.Model) -> np.ndarray:
    """Return the text that a model in q8 writes when it is calibrated with SMALL."""
    checkpoint = model._checkpoint
    source = calibration_run.Source(
        model.config,
        checkpoint.matrices,
        checkpoint.vectors,
        model.tokenizer.size,
        lambda name: np.empty(0),
        model.tokenizer.encode,
    )
    progress = calibration_run.Progress("", None)
    return calibration_run.own_text(source, SMALL, 2, threads=1, progress=progress)


def test_what_the_matrices_give_on_changes_less_than_with_plain_rounding(model: Path, tmp_path: Path) -> None:
    # tr(E M E') of every matrix in q4, with M of its inputs in the calibrated model for the calibration text.
    qwen3cpu.pack(model, tmp_path / "calibrated.qwen3", calibrate=Recipe(**{**vars(SMALL), "bits": None}), threads=1)
    exact = qwen3cpu.load(model, "f32", threads=1, cache=False)._checkpoint.matrices
    plain = qwen3cpu.load(model, "q4", threads=1, cache=False)._checkpoint.matrices
    found = PackedFile(tmp_path / "calibrated.qwen3")
    ids = text_of(qwen3cpu.load(model, "q8", threads=1, cache=False))[:8].reshape(-1)
    whole = _native.Model(found.texts.config.native(64), dict(found.matrices), found.vectors, "f16", 1)
    x = whole.embed(ids)
    for number in range(3):
        layer = Layer(found.texts.config, found.matrices, found.vectors, number, length=64, threads=1)
        for shown, readers in matrices_by_input(found.texts.config, number).items():
            (inputs,) = layer.inputs(x, shown)
            for name in readers:
                if found.plan[name].format == "q8":
                    continue
                weights = _native.unpack(*_entry(exact[name]), 1)
                losses = [
                    float((((_native.unpack(*_entry(each[name]), 1) - weights) @ inputs[shown].T) ** 2).sum())
                    for each in (found.matrices, plain)
                ]
                assert losses[0] < losses[1], name
        layer.run(x)


def _entry(matrix: PackedMatrix) -> tuple[str, np.ndarray, int, int]:
    """Return the arguments of `unpack`."""
    return matrix.format, matrix.data, matrix.rows, matrix.cols


def test_the_text_is_what_the_model_writes(model: Path) -> None:
    q8 = qwen3cpu.load(model, "q8", threads=1, cache=False)
    ids = text_of(q8)
    assert ids.shape == (10, 64)
    assert len({tuple(piece) for piece in ids}) == 10
    assert ids.min() >= 0
    assert ids.max() < q8.tokenizer.size


def test_bad_combinations_are_refused_before_any_work(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.qwen3"
    for changes, message in [
        ({"tokens": 1}, "tokens: expected a whole number of tokens from 2, found 1"),
        ({"sequence": 2.5}, "sequence: expected a whole number"),
        ({"held_out": True}, "held_out: expected a whole number"),
        ({"seed": -1}, "seed: expected a whole number from 0"),
        ({"bits": 3.0}, "bits: expected 4 to 9 per weight, found 3.0"),
        ({"bits": "6"}, "bits: expected 4 to 9"),
        ({"rounding": Rounding(damping=0.0)}, "damping: expected a number above 0"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            qwen3cpu.pack(model, out, calibrate=Recipe(**{**vars(SMALL), **changes}))
    with pytest.raises(ArgumentError, match="calibrate: rounds to 'q4' only, found quant 'q8'"):
        qwen3cpu.pack(model, out, "q8", calibrate=True)
    with pytest.raises(ArgumentError, match="calibrate: expected True, False or a Recipe, found 3"):
        qwen3cpu.pack(model, out, calibrate=3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="cannot be written"):
        qwen3cpu.pack(model, tmp_path / "none" / "model.qwen3", calibrate=SMALL)
    assert not list(tmp_path.iterdir())


def test_the_command(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.qwen3"
    for flags, message in [
        (("--bits", "6"), "--bits: only with --calibrate"),
        (("--report",), "--report: only with --calibrate"),
        (("--seed", "1"), "--seed: only with --calibrate"),
        (("--calibrate", "--quant", "bf16"), "rounds to 'q4' only"),
        (("--calibrate", "--bits", "2"), "bits: expected 4 to 9"),
    ]:
        done = run("quantize", model, out, *flags)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
    assert not out.exists()
    done = run("quantize", model, out, "--calibrate", "--report", "--bits", "6.5")
    assert (done.returncode, done.stderr) == (0, "")
    assert "model.layers.0.self_attn.v_proj" in done.stdout
    assert "bits per weight" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["model.qwen3"]
    assert average_bits(PackedFile(out)) <= 6.5


def test_ctrl_c_leaves_nothing_behind_and_the_time_left_is_shown(tmp_path: Path) -> None:
    # A model large enough to take seconds.
    write_checkpoint(tmp_path / "model", hidden_size=512, intermediate_size=2048, num_hidden_layers=8)
    with Terminal("quantize", tmp_path / "model", tmp_path / "model.qwen3", "--calibrate") as terminal:
        terminal.wait_for("Writing text")
        terminal.type("\x03")
        shown, code = terminal.end()
    assert code == 130
    assert "tokens" in shown
    assert "Traceback" not in shown
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_damaged_report_is_refused(calibrated: Path) -> None:
    file = PackedFile(calibrated)
    for text, message in [
        ("[]", "calibration"),
        ('{"costs":{}}', "recipe"),
        ('{"recipe":{},"costs":{"x":1}}', "costs"),
    ]:
        file.metadata["calibration"] = text
        with pytest.raises(CheckpointError, match=message):
            read_report(file)
    del file.metadata["calibration"]
    assert read_report(file) is None


def test_a_plain_file_has_the_formats_of_its_quant(model: Path, tmp_path: Path) -> None:
    qwen3cpu.pack(model, tmp_path / "plain.qwen3", "q4")
    qwen3cpu.pack(model, tmp_path / "calibrated.qwen3", calibrate=Recipe(**{**vars(SMALL), "bits": None}))
    plain, found = PackedFile(tmp_path / "plain.qwen3"), PackedFile(tmp_path / "calibrated.qwen3")
    assert found.plan == plain.plan == plan_matrices(found.texts.config, "q4")
    for name, (weight_format, _, _, data) in found.matrices.items():
        same = (data == plain.matrices[name][3]).all()
        assert same == (weight_format != "q4"), name


# Embedding models, and texts from outside


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_embedding_model(tmp_path_factory.mktemp("embedding") / "model", num_hidden_layers=3).folder


def test_a_cost_of_an_embedding_model_is_how_far_vectors_turn(embedding: Path) -> None:
    model = qwen3cpu.load(embedding, "q8", threads=1, cache=False)
    checkpoint, end = model._checkpoint, model.tokenizer.endoftext
    assert end is not None
    ids = model.tokenizer.encode(TEXT)[:64]
    texts = [ids[at : at + 15] for at in range(0, 64, 16)]
    pieces = np.array([[*text, end] for text in texts], np.int32)
    expected = model.embed(texts).astype(np.float64)
    meter = CostMeter(model.config, checkpoint.matrices, checkpoint.vectors, pieces, threads=1, pooled=True)
    in_q4 = qwen3cpu.load(embedding, "q4", threads=1, cache=False)._checkpoint.matrices
    for layer in range(3):
        name = f"model.layers.{layer}.mlp.up_proj.weight"
        found = meter.layer({name: in_q4[name]})
        matrices = {**checkpoint.matrices, name: in_q4[name]}
        swapped = _native.Model(model.config.native(64), matrices, checkpoint.vectors, "f16", 1)
        turned = []
        for piece, vector in zip(pieces, expected, strict=True):
            last = np.array([15], np.int32)
            state = swapped.forward([(swapped.new_sequence(), piece, last, "hidden")])[0][0].astype(np.float64)
            turned.append(1 - vector @ state / np.linalg.norm(state))
        assert found[name] == pytest.approx(np.mean(turned), rel=1e-4)
        assert 1e-5 < found[name] < 0.5


def test_calibrated_vectors_turn_less_than_plain_ones(embedding: Path, tmp_path: Path) -> None:
    exact = qwen3cpu.load(embedding, "f32", threads=1, cache=False)
    texts = [TEXT[at : at + 90] for at in range(0, 3000, 90)]
    expected = exact.embed(texts)
    turned = []
    for recipe in (False, replace(SMALL, bits=None, tokens=4096, text=TEXT)):
        qwen3cpu.pack(embedding, tmp_path / "model.qwen3", "q4", calibrate=recipe, threads=1)
        found = qwen3cpu.load(tmp_path / "model.qwen3", threads=1).embed(texts)
        turned.append(1 - float((expected * found).sum(1).mean()))
    assert turned[1] < 0.8 * turned[0]


def test_a_text_from_outside(model: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    done = run("quantize", model, tmp_path / "a.qwen3", "--calibrate", "--text", tmp_path / "text.txt")
    assert done.returncode == 0, done.stderr
    assert "own text" not in done.stderr
    qwen3cpu.pack(model, tmp_path / "b.qwen3", calibrate=Recipe(text=TEXT), threads=2)
    assert (tmp_path / "a.qwen3").read_bytes() == (tmp_path / "b.qwen3").read_bytes()
    report = read_report(PackedFile(tmp_path / "b.qwen3"))
    assert report is not None
    assert report.recipe["text"] == hashlib.sha256(TEXT.encode()).hexdigest()
    done = run("quantize", model, tmp_path / "c.qwen3", "--text", tmp_path / "text.txt")
    assert "--text: only with --calibrate" in done.stderr
    with pytest.raises(ArgumentError, match="text: expected at least 1536 tokens to calibrate with, found"):
        qwen3cpu.pack(model, tmp_path / "c.qwen3", calibrate=Recipe(text="too short"), threads=1)
    with pytest.raises(ArgumentError, match="text: expected a str, found bytes"):
        qwen3cpu.pack(model, tmp_path / "c.qwen3", calibrate=Recipe(text=b"bytes"), threads=1)  # type: ignore[arg-type]
    assert not (tmp_path / "c.qwen3").exists()
