"""`run`, `pull`, `list`, `show` and `rm`, with a stand-in of the hub and a cache of their own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_checkpoint
from cli_runs import run_here, run_process
from fake_hub import COMMIT, NO_SERVER, Hub, hub_environment, running_hub
from scripted_models import script, write_scripted

import qwen3cpu
from qwen3cpu.checkpoint.known_models import KNOWN
from qwen3cpu.loading import open as loader
from qwen3cpu.loading.installed import installed

ID = "Qwen/Qwen3-0.6B"


class Machine:
    """A separate home directory, in which commands run."""

    def __init__(self, home: Path, address: str) -> None:
        self.cache = home / "packed"
        self.variables = hub_environment(home / "hf", address, QWEN3CPU_CACHE=str(self.cache))

    def run(self, *arguments: object, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return run_process(["-m", "qwen3cpu", *map(str, arguments)], {**self.variables, **more}, stdin)

    def listed(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("list", "--json").stdout)
        return found


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[type[Hub], str]]:
    write_scripted(tmp_path / "repository", script(["\n", "X", "Y", "Z", "<|im_end|>"]))
    with running_hub(tmp_path / "repository", ID) as found:
        yield found


@pytest.fixture
def machine(tmp_path: Path, hub: tuple[type[Hub], str]) -> Machine:
    return Machine(tmp_path, hub[1])


def test_a_model_comes_and_goes(machine: Machine, hub: tuple[type[Hub], str]) -> None:
    before = machine.listed()
    assert [model["name"] for model in before["here"]] == ["tiny", "tiny-embedding"]
    assert [model["hub_id"] for model in before["known"]] == [model.hub_id for model in KNOWN]

    pulled = machine.run("pull", "qwen3:0.6b")
    assert (pulled.returncode, pulled.stderr) == (0, "")
    (model, *_) = machine.listed()["here"]
    assert pulled.stdout.startswith(f"{ID}: ")
    assert pulled.stdout.endswith(f" in {model['path']}\n")
    assert (model["name"], model["complete"], model["packed"]) == (ID, True, [])
    assert ID not in [each["hub_id"] for each in machine.listed()["known"]]

    hub[0].refuse_with = 500  # from here on only the cache works
    shown = json.loads(machine.run("show", "0.6B", "--json").stdout)
    assert (shown["name"], shown["here"], shown["path"], shown["licence"]) == (ID, True, model["path"], "Apache-2.0")

    asked = machine.run("rm", "0.6B")
    assert (asked.returncode, asked.stdout) == (2, "")
    assert f"{ID}: expected --yes" in asked.stderr
    removed = machine.run("rm", "0.6B", "--yes")
    assert removed.stdout.startswith(f"{ID} removed, ")
    assert machine.listed() == before
    again = machine.run("rm", "0.6B", "--yes")
    assert again.stderr == "qwen3cpu: error: 0.6B is not on this machine; here are: none\n"


def test_run_fetches_and_answers(machine: Machine) -> None:
    done = machine.run("run", "0.6b", "say", "--temp", "0", "something", "--thinking", "off")
    assert (done.stdout, done.stderr, done.returncode) == ("XYZ\n", "", 0)
    done = machine.run("run", "0.6b", "--temp", "0", stdin="say something", HF_ENDPOINT=NO_SERVER)
    assert (done.stdout, done.stderr, done.returncode) == ("XYZ\n", "", 0)
    empty = machine.run("run", "tiny", stdin=" \n")
    assert (empty.returncode, empty.stdout) == (2, "")
    assert "stdin is empty: expected a prompt, found white space only" in empty.stderr


def test_stdin_stands_before_the_words(tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = []
    monkeypatch.setattr("qwen3cpu.cli.generate.run_generate", lambda args: prompts.append(args.prompt) or 0)
    file = tmp_path / "text"
    for text, words, expected in (
        ("a text\n", ["sum", "it", "up"], ["a text\n\nsum it up"]),
        ("\n", ["sum", "it", "up"], ["sum", "it", "up"]),
        ("a text\n", [], []),  # left to generate, which reads stdin itself
    ):
        file.write_text(text)
        with file.open() as stream:
            monkeypatch.setattr("sys.stdin", stream)
            assert run_here("run", "tiny", *words).returncode == 0
        assert prompts.pop() == expected


def test_what_cannot_be_run_is_not_fetched(machine: Machine, hub: tuple[type[Hub], str]) -> None:
    config = hub[0].files / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "model_type": "llama"}))
    done = machine.run("pull", ID)
    assert done.returncode == 2
    assert "llama" in done.stderr
    assert {path for _, path, _ in hub[0].requests if "resolve" in path} == {f"/{ID}/resolve/{COMMIT}/config.json"}


def test_half_a_model(machine: Machine, hub: tuple[type[Hub], str]) -> None:
    (hub[0].files / "model.safetensors").unlink()
    done = machine.run("pull", ID)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{ID}: expected weights in safetensors or of torch.save, found none" in done.stderr
    found = machine.listed()
    assert (found["here"][0]["name"], found["here"][0]["complete"]) == (ID, False)
    assert ID in [each["hub_id"] for each in found["known"]]
    assert f"files are missing; qwen3cpu pull {ID}" in machine.run("list").stdout
    assert json.loads(machine.run("show", ID, "--json").stdout)["here"] is False
    assert machine.run("rm", ID, "-y").returncode == 0
    assert machine.listed()["here"][0]["name"] == "tiny"


# In this process


@pytest.fixture
def packed_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose packed copy is kept in a cache of its own, with an empty cache of the hub beside it."""
    monkeypatch.setenv("QWEN3CPU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.utils._cache_manager.HF_HUB_CACHE", str(tmp_path / "hf"), raising=False)
    monkeypatch.setattr(loader, "_CACHED_FROM", 0)
    return write_checkpoint(tmp_path / "model").folder


def test_a_model_in_use_stays(packed_copy: Path) -> None:
    model = qwen3cpu.load(packed_copy)
    path = model.packed_path
    assert path is not None
    assert [each.name for each in installed() if not each.inside] == [str(packed_copy)]
    refused = run_here("rm", packed_copy, "--yes")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"{packed_copy} is in use: a process has loaded it; end that first" in refused.stderr
    assert path.exists()
    del model
    done = run_here("rm", packed_copy, "--yes")
    assert (done.returncode, done.stdout.startswith(f"{packed_copy} removed, ")) == (0, True)
    assert not path.exists()
    assert packed_copy.exists()


def test_rm_asks(packed_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = qwen3cpu.load(packed_copy).packed_path
    assert path is not None
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for reply, stays in (("", True), ("n", True), ("y", False)):
        monkeypatch.setattr("builtins.input", lambda question, reply=reply: reply)
        done = run_here("rm", packed_copy)
        assert done.returncode == 0
        assert str(path) in done.stdout
        assert path.exists() == stays


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rm", "tiny", "-y"], "tiny is a part of the package and stays"),
        (["show", "Qwen3-1.8B"], "did you mean 'Qwen3-1.7B'?"),
        (["show", "tny"], "did you mean 'tiny'?"),
        (["show", "owner/other"], "owner/other is not on this machine; `qwen3cpu pull owner/other` fetches it"),
        (["pull", "gemma"], "`qwen3cpu list` shows the names"),
        (["pull"], "MODEL"),
    ],
)
@pytest.mark.usefixtures("packed_copy")
def test_refused(arguments: list[str], says: str) -> None:
    done = run_here(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("packed_copy")
def test_what_is_here_needs_no_pull(tmp_path: Path) -> None:
    assert run_here("pull", "tiny").stdout == "tiny is inside the package\n"
    assert run_here("pull", tmp_path / "model").stdout == f"{tmp_path / 'model'} is here: a folder\n"


def card(source: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run_here("show", source, "--json").stdout)
    return found


def test_show_files(packed_copy: Path, tmp_path: Path) -> None:
    qwen3cpu.pack(packed_copy, tmp_path / "model.qwen3", "q8")
    found = card(packed_copy)
    model = qwen3cpu.load(packed_copy)
    assert found["parameters"] == model.config.parameters()
    assert (found["quant"], found["weight_bytes"], found["context"]) == ("q4", model.weight_bytes, 512)
    assert (found["stored"], found["licence"], found["template"]) == (
        "bfloat16",
        None,
        ["chat", "thinking on and off", "tools"],
    )
    (packed_copy / "README.md").write_text("---\nlanguage: [en]\nlicense: mit\n---\n# A model\n")
    assert card(packed_copy)["licence"] == "mit"
    packed = card(tmp_path / "model.qwen3")
    assert (packed["stored"], packed["quant"], packed["path"]) == ("a packed file", "q8", str(tmp_path / "model.qwen3"))


@pytest.mark.usefixtures("packed_copy")
def test_show_models_that_are_not_here() -> None:
    found = card("Embedding-0.6B")
    assert (found["name"], found["here"], found["task"]) == ("Qwen/Qwen3-Embedding-0.6B", False, "embedding")
    assert (card("tiny")["here"], card("tiny")["licence"]) == (True, "Apache-2.0")
    text = run_here("show", "1.7b").stdout
    for line in (
        "files          4.1 GB to download",
        "licence        Apache-2.0",
        "also as        Qwen/Qwen3-1.7B-FP8",
    ):
        assert line in text.splitlines()
    assert "Qwen3, 8 of 128 experts: 48 layers of hidden size 2048" in run_here("show", "30b-a3b").stdout
