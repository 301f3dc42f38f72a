"""`qwen3cpu eval`: its numbers against their definitions, and the receipt that it leaves in a packed file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from checkpoints import write_checkpoint
from cli_runs import run
from numpy.typing import NDArray

import qwen3cpu
from qwen3cpu.errors import ArgumentError
from qwen3cpu.evaluation.quality import evaluate
from qwen3cpu.packed.checksums import damaged_tensors
from qwen3cpu.packed.packed_file import PackedFile

TEXT = "The quick brown fox jumps over the lazy dog, and then it sleeps until the evening comes. " * 8
WINDOW = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("eval") / "model").folder


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "fox.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def packed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "model.qwen3"
    qwen3cpu.pack(folder, path, "q4")
    return path


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    wide -= wide.max(1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(1, keepdims=True))


def test_the_numbers_are_what_they_are_called(folder: Path) -> None:
    reference, model = qwen3cpu.load(folder, "bf16"), qwen3cpu.load(folder, "q4")
    (found,) = evaluate({"q4": model}, reference, TEXT, windows=3, window=WINDOW)
    ids = np.array(reference.tokenizer.encode(TEXT)[: 3 * WINDOW]).reshape(3, WINDOW)
    half = WINDOW // 2
    p = np.concatenate([log_softmax(reference.logits(window))[half:-1] for window in ids])
    q = np.concatenate([log_softmax(model.logits(window))[half:-1] for window in ids])
    targets = ids[:, half + 1 :].reshape(-1)
    kl = (np.exp(p) * (p - q)).sum(1)
    assert (found.windows, found.window, found.positions) == (3, WINDOW, len(targets))
    # The command works in float32.
    assert found.mean_kl == pytest.approx(kl.mean(), abs=1e-5)
    assert found.kl_99 == pytest.approx(np.quantile(kl, 0.99), abs=1e-5)
    assert found.same_top == (p.argmax(1) == q.argmax(1)).mean()
    rows = np.arange(len(targets))
    assert found.perplexity == pytest.approx(np.exp(-q[rows, targets].mean()), rel=1e-5)
    assert found.reference_perplexity == pytest.approx(np.exp(-p[rows, targets].mean()), rel=1e-5)
    assert found.weight_bytes == model.weight_bytes


def test_a_model_does_not_diverge_from_itself(folder: Path) -> None:
    reference = qwen3cpu.load(folder, "bf16")
    (found,) = evaluate({"bf16": reference}, reference, TEXT, windows=2, window=WINDOW)
    assert (found.mean_kl, found.kl_99, found.same_top) == (0, 0, 1)
    assert found.perplexity == found.reference_perplexity


def test_windows_longer_than_a_chunk_of_the_prompt(folder: Path) -> None:
    reference, model = qwen3cpu.load(folder, "bf16"), qwen3cpu.load(folder, "q8")
    text = TEXT * 8
    (found,) = evaluate({"q8": model}, reference, text, windows=1, window=400)
    ids = np.array(reference.tokenizer.encode(text)[:400])
    p, q = (log_softmax(each.logits(ids))[200:-1] for each in (reference, model))
    assert found.positions == 199
    assert found.mean_kl == pytest.approx((np.exp(p) * (p - q)).sum(1).mean(), abs=1e-5)


def test_the_command_compares_formats(folder: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "quality.json"
    done = run("eval", folder, "--text", text, "--quant", "q8,q4", "--window", str(WINDOW), "-o", out)
    assert (done.returncode, done.stderr) == (0, "")
    q8, q4 = json.loads(out.read_text())
    assert (q8["quant"], q4["quant"]) == ("q8", "q4")
    assert 0 < q8["mean_kl"] < q4["mean_kl"]
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["format", "bf16", "q8", "q4"]
    assert f"{q4['mean_kl']:.5f}" in lines[3]


def test_activations_of_16_bits(folder: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "quality.json"
    both = ("--activations", "int8,int16", "--window", str(WINDOW), "-o", out)
    done = run("eval", folder, "--text", text, "--quant", "q8", *both)
    assert (done.returncode, done.stderr) == (0, "")
    int8, int16 = json.loads(out.read_text())
    assert (int8["quant"], int16["quant"]) == ("q8", "q8 int16")
    assert 0 < int16["mean_kl"] < int8["mean_kl"]
    assert "q8 int16" in done.stdout
    # The receipt is that of int8.
    packed = tmp_path / "model.qwen3"
    qwen3cpu.pack(folder, packed, "q4")
    alone = ("--activations", "int16", "--window", str(WINDOW))
    assert run("eval", packed, "--text", text, *alone).returncode == 0
    assert json.loads(run("inspect", packed, "--json").stdout)["quality"] is None
    assert run("eval", packed, "--text", text, *both).returncode == 0
    stored = json.loads(out.read_text())
    assert [each["quant"] for each in stored] == ["q4", "q4 int16"]
    assert json.loads(run("inspect", packed, "--json").stdout)["quality"]["mean_kl"] == stored[0]["mean_kl"]


def test_a_plot(folder: Path, text: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "quality.png"
    done = run(
        "eval", folder, "--text", text, "--quant", "q8,q4", "--window", str(WINDOW), "--windows", "1", "--plot", out
    )
    assert done.returncode == 0, done.stderr
    assert out.read_bytes().startswith(b"\x89PNG")


def test_a_packed_file_keeps_its_receipt(folder: Path, text: Path, packed: Path) -> None:
    before = PackedFile(packed)
    stored = {name: before.stored(name).tobytes() for name in before.tensors}
    assert "quality" not in run("inspect", packed).stdout
    done = run("eval", packed, "--text", text, "--window", str(WINDOW), "--windows", "2")
    assert (done.returncode, done.stderr) == (0, "")
    after = PackedFile(packed)
    assert {name: after.stored(name).tobytes() for name in after.tensors} == stored
    assert not any(damaged for _, _, damaged in damaged_tensors(after, 1))
    receipt = json.loads(run("inspect", packed, "--json").stdout)["quality"]
    reference, model = qwen3cpu.load(folder, "bf16"), qwen3cpu.load(packed)
    (expected,) = evaluate({"q4": model}, reference, TEXT, windows=2, window=WINDOW)
    digest = hashlib.sha256(TEXT.encode()).hexdigest()
    assert receipt == {**expected.to_dict(), "text": "fox.txt", "text_sha256": digest}
    line = next(line for line in run("inspect", packed).stdout.splitlines() if line.startswith("quality"))
    assert f"KL {expected.mean_kl:.4g} mean" in line
    assert "fox.txt" in line
    # A second measurement replaces the first.
    assert run("eval", packed, "--text", text, "--window", str(WINDOW), "--windows", "1").returncode == 0
    assert json.loads(run("inspect", packed, "--json").stdout)["quality"]["windows"] == 1


def test_a_packed_file_whose_source_is_gone(folder: Path, text: Path, packed: Path, tmp_path: Path) -> None:
    lost = write_checkpoint(tmp_path / "lost").folder
    out = tmp_path / "lost.qwen3"
    qwen3cpu.pack(lost, out, "q4")
    lost.rename(tmp_path / "moved")
    done = run("eval", out, "--text", text, "--window", str(WINDOW))
    assert done.returncode == 2
    assert "--reference" in done.stderr
    done = run("eval", out, "--text", text, "--window", str(WINDOW), "--reference", tmp_path / "moved")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--window", "7"], "--window: expected an even number of tokens from 4, found 7"),
        (["--windows", "0"], "at least 1"),
        (["--window", "100000"], "at least one window of 100000 tokens"),
        (["--quant", "q8,q5"], "found 'q5'"),
        (["--activations", "int8,int4"], "found 'int4'"),
        (["--reference", "x"], "only for packed files"),
        (["-o", "no/such/folder.json", "--window", "32"], "cannot be written"),
    ],
)
def test_bad_arguments(folder: Path, text: Path, arguments: list[str], message: str) -> None:
    done = run("eval", folder, "--text", text, *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_text_that_is_none(folder: Path, tmp_path: Path) -> None:
    assert "cannot be read" in run("eval", folder, "--text", tmp_path).stderr
    (tmp_path / "latin").write_bytes(b"caf\xe9 au lait")
    assert "expected UTF-8, found byte 0xe9 at 3" in run("eval", folder, "--text", tmp_path / "latin").stderr


def test_models_with_other_tokens(folder: Path, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "other", vocab_size=700).folder
    with pytest.raises(ArgumentError, match="not those of the reference"):
        evaluate({"other": qwen3cpu.load(other, "q8")}, qwen3cpu.load(folder, "bf16"), TEXT, window=WINDOW)
