"""The names of released models are accepted wherever a model is named; unknown names get a hint."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path

import pytest
from checkpoints import write_checkpoint

import qwen3cpu
from qwen3cpu.checkpoint import hub
from qwen3cpu.errors import CheckpointError, DownloadError
from qwen3cpu.loading.locate import is_name, locate
from qwen3cpu.loading.open import open_checkpoint, read_config
from qwen3cpu.system.use_lock import InUseError, alone_with


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids that are requested from a mock hub, which has the same model under every id."""
    asked: list[str] = []
    folder = write_checkpoint(tmp_path / "model").folder

    def download(hub_id: str, wanted: Sequence[str] = hub.WHOLE) -> Path:
        asked.append(hub_id)
        return folder

    monkeypatch.setattr(hub, "download", download)
    return asked


@pytest.mark.parametrize("name", ["1.7B", "qwen3:1.7b", "Qwen3-1.7B", "qwen3-1.7b", "Qwen/Qwen3-1.7B"])
def test_a_name_becomes_a_hub_id(fetched: list[str], name: str) -> None:
    assert open_checkpoint(name, threads=1).source == "Qwen/Qwen3-1.7B"
    assert read_config(name)[0].hidden_size == 64
    assert set(fetched) == {"Qwen/Qwen3-1.7B"}


def test_every_function_that_takes_a_model_knows_them(fetched: list[str], tmp_path: Path) -> None:
    assert qwen3cpu.load("0.6b").source == "Qwen/Qwen3-0.6B"
    qwen3cpu.pack("0.6b", tmp_path / "model.qwen3")
    from qwen3cpu.loading.describe import describe

    assert describe("0.6b", threads=1).quant == "q4"
    assert set(fetched) == {"Qwen/Qwen3-0.6B"}


def test_a_folder_of_the_name_goes_first(fetched: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / "1.7B")
    assert locate("1.7B").name == "1.7B"
    assert fetched == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Qwen3-1.8B", "did you mean 'Qwen3-1.7B'?"),
        ("tiny-embeding", "did you mean 'tiny-embedding'?"),
        ("gemma", "`qwen3cpu list` shows the names"),
    ],
)
def test_a_name_that_is_none(name: str, hint: str) -> None:
    assert not is_name(name)
    with pytest.raises(CheckpointError) as caught:
        locate(name)
    assert str(caught.value) == (
        f"{name!r}: expected an existing model folder, packed file or GGUF file, a released model's name or a hub id "
        f"(owner/name, or owner/name:TYPE for GGUF); found none of them; {hint}"
    )


def test_an_id_that_the_hub_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DownloadError("no such model.")

    monkeypatch.setattr(hub, "download", fail)
    with pytest.raises(DownloadError, match=r"^no such model. Did you mean 'Qwen3-1.7B'\?$"):
        locate("Qwen/Qwen3-1.8B")
    with pytest.raises(DownloadError, match=r"^no such model.$"):
        locate("owner/other")


def test_the_files_of_a_loaded_model_are_locked(fetched: list[str], tmp_path: Path) -> None:
    model = qwen3cpu.load("0.6b")
    with pytest.raises(InUseError), alone_with([tmp_path / "model"]):
        pytest.fail("was alone")
    del model
    gc.collect()
    with alone_with([tmp_path / "model"]), pytest.raises(CheckpointError, match="another process is removing it"):
        qwen3cpu.load("0.6b")
