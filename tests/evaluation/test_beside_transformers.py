"""`qwen3cpu verify --reference`: comparing a user's own checkpoint with transformers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import write_checkpoint
from made_folders import write_made
from retrieval_models import write_embedding_model
from support.scripts import script_module

import qwen3cpu
from qwen3cpu.cli.main import main
from qwen3cpu.errors import ArgumentError

TEXT = "The quick brown fox jumps over the lazy dog. " * 60


@pytest.fixture
def parity() -> Any:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from qwen3cpu.evaluation import parity

    return parity


@pytest.mark.parametrize("tied", [True, False])
def test_a_plain_folder_is_as_transformers_reads_it(parity: Any, tmp_path: Path, tied: bool) -> None:
    folder = write_checkpoint(tmp_path / "model", tie_word_embeddings=tied).folder
    found = parity.compare(folder, text=TEXT, windows=2, window=64, tokens=8, threads=1, cache=False)
    assert found.good, found.receipt()
    assert found.weights_read_by == "transformers"
    assert len(found.checks) == 4 * len(parity.CONVERSATIONS) + 2
    assert (found.quality.quant, found.quality.windows) == ("q4", 2)
    assert "All is as it should be." in found.receipt()
    assert "| greedy answer to tools | yes | 8 of 8 tokens |" in found.receipt()


def test_a_quantised_folder_has_the_values_of_our_reader(parity: Any, tmp_path: Path) -> None:
    found = parity.compare(write_made(tmp_path / "model", "awq_autoawq"), tokens=4, threads=1, cache=False)
    assert found.good, found.receipt()
    assert found.weights_read_by == "qwen3cpu"
    assert found.quality is None


@pytest.mark.parametrize(
    ("said", "settings"),
    [
        ({"tie_word_embeddings": True}, {"tie_word_embeddings": False}),  # the key is left from the base model
        ({"tie_word_embeddings": None}, {"tie_word_embeddings": False}),
        ({"tie_word_embeddings": False}, {"tie_word_embeddings": True}),  # there is no head
        ({"vocab_size": 1000}, {"vocab_size": 1000}),  # resized: more rows than the tokenizer has tokens
        ({}, {"transformers5": True, "dtype": "float16"}),
        ({}, {"generation_config": {}, "shards": 3}),
        ({}, {"template_in_config": True}),
    ],
    ids=str,
)
def test_fine_tuned_checkpoints(parity: Any, tmp_path: Path, said: dict[str, Any], settings: dict[str, Any]) -> None:
    folder = write_checkpoint(tmp_path / "model", **settings).folder
    config = json.loads((folder / "config.json").read_text()) | said
    (folder / "config.json").write_text(
        json.dumps({name: value for name, value in config.items() if value is not None})
    )
    found = parity.compare(folder, tokens=4, threads=1, cache=False)
    assert found.good, found.receipt()
    assert found.weights_read_by == ("qwen3cpu" if said == {"tie_word_embeddings": False} else "transformers")


def test_another_model_is_told_from_it(parity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our model has one doubled weight in the last norm, and a template that adds a word."""
    written = write_checkpoint(tmp_path / "model")
    norm = written.tensors["model.norm.weight"].copy()
    norm[0] = 2 * norm[0] + 1
    template = (written.folder / "chat_template.jinja").read_text() + "so"
    wrong = write_checkpoint(
        tmp_path / "wrong", tensors={**written.tensors, "model.norm.weight": norm}, chat_template=template
    )
    own = parity.load
    monkeypatch.setattr(parity, "load", lambda source, *given, **more: own(wrong.folder, *given, **more))
    found = parity.compare(written.folder, text=TEXT, windows=2, window=64, tokens=4, threads=1, cache=False)
    good = {check.name for check in found.checks if check.good}
    assert not found.good
    assert not good & {"prompt of a question", "ids of a question", "logits of a question", "perplexity in float32"}
    assert "| logits of tools | **NO** |" in found.receipt()
    assert "**Something differs; see above.**" in found.receipt()


def test_tokens_as_likely_as_rounding_can_tell_are_ties(parity: Any) -> None:
    """Theirs chooses the second of two logits that differ by one part in 10,000, then one that is far lower."""
    logits = np.zeros((3, 10), np.float32)
    logits[:, 3], logits[:, 5] = 8, [8 - 8e-4, 8, 7]

    class Ours:
        tokenizer = answerer = None

        def render(self, *_: Any) -> str:
            return "x"

        def logits(self, ids: Any) -> Any:
            mine = logits.copy()
            mine[1, 3] += 1e-4
            return np.concatenate([mine, mine[:1]])

    class Answerer:
        def request(self, *_: Any, **__: Any) -> None: ...
        def encode(self, *_: Any) -> list[int]:
            return [1]

    ours: Any = Ours()
    ours.answerer = Answerer()
    theirs = parity.Theirs("x", [1], [5, 5, 5], logits)
    *_, greedy = parity.check_conversation(parity.CONVERSATIONS[0], theirs, ours)
    assert (greedy.good, greedy.found) == (False, "0 of 3 tokens, 2 ties")
    theirs = parity.Theirs("x", [1], [3, 5, 3], logits)
    *_, greedy = parity.check_conversation(parity.CONVERSATIONS[0], theirs, ours)
    assert (greedy.good, greedy.found) == (True, "2 of 3 tokens, 1 ties")


def test_the_command_writes_a_receipt(parity: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(write_checkpoint(tmp_path / "model").folder)
    (tmp_path / "text.txt").write_text(TEXT * 4)
    arguments = ["--reference", "--text", str(tmp_path / "text.txt"), "--windows", "1", "-t", "1"]
    assert main(["verify", folder, *arguments, "-o", str(tmp_path / "receipt.md")]) == 0
    assert capsys.readouterr().out == (tmp_path / "receipt.md").read_text()
    assert main(["verify", folder, *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["good"] is True
    assert main(["verify", folder, "--reference", "-t", "1", "-o", str(tmp_path / "no" / "receipt.md")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_what_cannot_be_compared_is_refused(parity: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_checkpoint(tmp_path / "model").folder
    qwen3cpu.pack(folder, tmp_path / "model.qwen3", "q8", threads=1)
    with pytest.raises(ArgumentError, match="found a packed file"):
        parity.compare(tmp_path / "model.qwen3")
    with pytest.raises(ArgumentError, match="found one for embedding"):
        parity.compare(write_embedding_model(tmp_path / "embedding").folder)
    with pytest.raises(ArgumentError, match="at least one window of 256 tokens"):
        parity.compare(folder, text="short", tokens=1, threads=1)
    for flag in (["--text", "a"], ["--quant", "q8"], ["--windows", "1"], ["-o", "a"]):
        assert main(["verify", str(tmp_path / "model.qwen3"), *flag]) == 2
        assert "only with --reference" in capsys.readouterr().err
    assert main(["verify", str(folder), "--reference", "--source", "x"]) == 2
    assert "only for packed files" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["folder", "GGUF file"])
def test_the_weekly_job_on_a_local_model(
    parity: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    job = script_module("tools/verify_released.py")
    folder = tmp_path / "model"
    arguments = [str(folder)]
    written = write_checkpoint(folder)
    if kind == "GGUF file":
        pytest.importorskip("gguf")
        from gguf_models import write_gguf

        write_gguf(folder / "a.gguf", written.config, written.tensors, "Q8_0")
        arguments.append("a.gguf")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["verify_released.py", *arguments])
    assert job.main() == 0
    (receipt,) = (tmp_path / "receipts").iterdir()
    assert receipt.read_text() == capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["verify_released.py"])
    assert job.main() == 2


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qwen3cpu.evaluation.parity import compare

    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "qwen3cpu.evaluation.transformers_side", raising=False)
    with pytest.raises(ArgumentError, match=r"pip install 'qwen3cpu\[reference\]'"):
        compare(write_checkpoint(tmp_path / "model").folder)
