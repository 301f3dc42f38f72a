"""A FIFO, /dev/zero, a socket or a folder instead of each file that a user names gives an error at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import write_checkpoint, write_json
from special_files import SPECIAL

import qwen3cpu
from qwen3cpu.cli.main import main
from qwen3cpu.errors import Qwen3CpuError


def load(path: Path) -> None:
    qwen3cpu.load(path, threads=1)


def resume(path: Path) -> None:
    qwen3cpu.load("tiny", threads=1).resume(path)


def load_adapter(path: Path) -> None:
    if path.name != "adapter_config.json":
        write_json(path.with_name("adapter_config.json"), {"peft_type": "LORA"})
    load(path.parent)


def command(*words: str) -> Callable[[Path], None]:
    """Runs a command in which FILE is the path, and MODEL a checkpoint beside it."""

    def run(path: Path) -> None:
        model = path.with_name("checkpoint")
        write_checkpoint(model)
        assert main([{"FILE": str(path), "MODEL": str(model)}.get(word, word) for word in words]) == 2

    return run


PLACES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "GGUF": ("model.gguf", load),
    "packed": ("model.qwen3", load),
    "session": ("chat.session", resume),
    "adapter's config": ("adapter_config.json", load_adapter),
    "adapter": ("adapter_model.safetensors", load_adapter),
    "adapter alone": ("adapter_model.safetensors", load),
    "generate --file": ("prompt.txt", command("generate", "-m", "tiny", "--file", "FILE")),
    "eval --text": ("text.txt", command("eval", "MODEL", "--text", "FILE")),
    "quantize's source": ("model.gguf", command("quantize", "FILE", "out.qwen3")),
    "quantize's file": ("model.qwen3", command("quantize", "MODEL", "FILE")),
    "verify": ("model.qwen3", command("verify", "FILE")),
    "inspect": ("model.qwen3", command("inspect", "FILE")),
    "plan": ("model.qwen3", command("plan", "FILE")),
}
"""Reader -> the name of the file, and the function that reads it. (tests/loading has the files of a folder.)"""


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("place", PLACES)
def test_a_special_file_is_refused_at_once(
    tmp_path: Path, place: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, read = PLACES[place]
    path = tmp_path / name
    SPECIAL[kind](path)
    try:
        read(path)
    except Qwen3CpuError as error:
        message = str(error)
    else:
        message = capsys.readouterr().err
        assert message.startswith("qwen3cpu: error: ")
        assert message.count("\n") == 1
    assert str(path.parent if read is load_adapter else path) in message


def write_inputs(folder: Path) -> dict[str, str]:
    """Files that commands read. A command must not write to any of them."""
    (folder / "in.jsonl").write_text('{"prompt": "hello"}\n')
    (folder / "t.txt").write_text("the sky is blue\n" * 200)
    (folder / "same.npy").write_text("hello\n")
    (folder / "in.part").write_text('{"prompt": "hello"}\n')
    return {each.name: each.read_text() for each in folder.iterdir()}


@pytest.mark.parametrize(
    "words",
    [
        ("batch", "in.jsonl", "in.jsonl", "--restart"),
        ("batch", "in.jsonl", "t.txt", "--restart"),
        ("batch", "in.part", "in"),
        ("batch", "in.jsonl", "/dev/null"),
        ("eval", "tiny", "--text", "t.txt", "-o", "t.txt"),
        ("eval", "tiny", "--text", "t.txt", "-o", "in.jsonl"),
        ("embed", "same.npy", "-o", "same.npy"),
        ("embed", "t.txt", "-o", "same.npy"),
        ("export", "tiny", "t.txt"),
        ("quantize", "tiny", "t.txt"),
        ("drafts", "t.txt", "-o", "t.txt"),
    ],
    ids=" ".join,
)
def test_an_output_replaces_no_other_file(
    tmp_path: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = write_inputs(tmp_path)
    assert main([*words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected no file or " in line
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == before


def test_a_gguf_file_is_not_exported_onto_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gguf")
    path = tmp_path / "m.gguf"
    assert main(["export", "tiny", str(path)]) == 0
    before = path.read_bytes()
    assert main(["export", str(path), str(path)]) == 2
    assert f"found the input at {path}" in capsys.readouterr().err
    assert path.read_bytes() == before
