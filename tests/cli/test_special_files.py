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
