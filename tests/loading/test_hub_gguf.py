"""GGUF repositories of the hub by their ids: the choice of a model, split models, no network, and the commands."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoints import qwen3_config, random_tensors, write_checkpoint
from cli_runs import run_process
from fake_hub import NO_SERVER, Hub, hub_environment, running_hub

from qwen3cpu.checkpoint.hub_gguf import HubName, choose, hub_name, models_in
from qwen3cpu.errors import CheckpointError

ID = "owner/name-GGUF"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Qwen/Qwen3-1.7B-GGUF:Q8_0", ("Qwen/Qwen3-1.7B-GGUF", "Q8_0")),
        ("hf.co/Qwen/Qwen3-1.7B-GGUF:q8_0", ("Qwen/Qwen3-1.7B-GGUF", "q8_0")),
        ("huggingface.co/a/b", ("a/b", None)),
        ("a/b", ("a/b", None)),
        ("a/b:", None),
        (":Q8_0", None),
        ("qwen3:1.7b", None),
        ("C:/models/a", None),
        ("https://huggingface.co/a/b", None),
        ("hf.co/a", None),
    ],
)
def test_names(text: str, expected: tuple[str, str | None] | None) -> None:
    assert hub_name(text) == expected


def test_models_of_a_repository() -> None:
    names = [
        *("Qwen3-1.7B-Q8_0.gguf", "Qwen3-1.7B-UD-Q4_K_XL.gguf", "Qwen3-1.7B.IQ4_XS.gguf", "mmproj-F16.gguf"),
        *("BF16/Qwen3-1.7B-BF16-00002-of-00002.gguf", "BF16/Qwen3-1.7B-BF16-00001-of-00002.gguf", "config.json"),
        *("own.gguf", "half-Q5_0-00001-of-00002.gguf", "a-Q6_K.gguf", "b-Q6_K.gguf", "imatrix.gguf"),
    ]
    found = {model.label: model for model in models_in(names)}
    assert set(found) == {"Q8_0", "UD-Q4_K_XL", "IQ4_XS", "BF16", "own", "Q5_0", "a-Q6_K", "b-Q6_K"}
    assert found["BF16"].files == tuple(f"BF16/Qwen3-1.7B-BF16-0000{n}-of-00002.gguf" for n in (1, 2))
    assert [label for label, model in found.items() if not model.complete] == ["Q5_0"]
    for choice, label in (
        *(("q8_0", "Q8_0"), ("Q4_K_XL", "UD-Q4_K_XL"), ("ud-q4_k_xl", "UD-Q4_K_XL"), ("own.gguf", "own")),
        *(("Qwen3-1.7B.IQ4_XS", "IQ4_XS"), ("BF16/Qwen3-1.7B-BF16-00001-of-00002.gguf", "BF16"), ("b-Q6_K", "b-Q6_K")),
    ):
        assert choose(HubName("a/b", choice), list(found.values())).label == label


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        (None, "a/b: expected one of its GGUF models (Q4_K_M, Q8_0, x-F16, y-F16), found none; say a/b:Q4_K_M"),
        ("F16", "a/b: expected one of its GGUF models (Q4_K_M, Q8_0, x-F16, y-F16), found F16; say a/b:Q4_K_M"),
        (
            "Q8_1",
            "a/b: expected one of its GGUF models (Q4_K_M, Q8_0, x-F16, y-F16), found 'Q8_1'; did you mean 'Q8_0'?",
        ),
    ],
)
def test_what_is_no_choice(choice: str | None, says: str) -> None:
    models = models_in(["m-Q8_0.gguf", "m-Q4_K_M.gguf", "x-F16.gguf", "y-F16.gguf"])
    with pytest.raises(CheckpointError) as caught:
        choose(HubName("a/b", choice), models)
    assert says in str(caught.value)


# With a stand-in of the hub on this machine


def write(folder: Path) -> None:
    """Write two models, one of them in parts."""
    gguf_models = pytest.importorskip("gguf") and __import__("gguf_models")
    config = qwen3_config(tie_word_embeddings=True)
    folder.mkdir()
    for name, kind, parts in (("model-Q8_0.gguf", "Q8_0", 0), ("model-F16.gguf", "F16", 10)):
        gguf_models.write_gguf(folder / name, config, dict(random_tensors(config)), kind, part_tensors=parts)
    (folder / "README.md").write_text("A model.\n")


class Machine:
    """A home directory of its own, in which commands run."""

    def __init__(self, home: Path, address: str) -> None:
        self.variables = hub_environment(home / "hf", address, QWEN3CPU_CACHE=str(home / "packed"))

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return run_process(["-m", "qwen3cpu", *arguments], {**self.variables, **more})

    def here(self) -> dict[str, dict[str, object]]:
        listed = json.loads(self.run("list", "--json").stdout)["here"]
        return {model["name"]: model for model in listed if not model["inside"]}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[type[Hub], str]]:
    write(tmp_path / "repository")
    with running_hub(tmp_path / "repository", ID) as found:
        yield found


@pytest.fixture
def machine(tmp_path: Path, hub: tuple[type[Hub], str]) -> Machine:
    return Machine(tmp_path, hub[1])


def fetched(handler: type[Hub]) -> set[str]:
    return {path.rpartition("/")[2] for method, path, _ in handler.requests if method == "GET" and "/resolve/" in path}


def test_a_model_comes_and_goes(machine: Machine, hub: tuple[type[Hub], str]) -> None:
    several = machine.run("pull", ID)
    assert several.returncode == 2
    assert f"{ID}: expected one of its GGUF models (F16, Q8_0), found none; say {ID}:F16, for example" in several.stderr
    assert fetched(hub[0]) == set()

    pulled = machine.run("pull", f"{ID}:q8_0")
    assert (pulled.returncode, pulled.stderr) == (0, "")
    assert pulled.stdout.startswith(f"{ID}:Q8_0: ")
    assert fetched(hub[0]) == {"model-Q8_0.gguf"}
    whole = (hub[0].files / "model-Q8_0.gguf").stat().st_size
    assert machine.here()[f"{ID}:Q8_0"]["bytes"] == whole

    again = ("run", f"hf.co/{ID}:Q8_0", "hello", "--temp", "0", "-n", "3")
    first = machine.run(*again)
    assert (first.returncode, first.stderr) == (0, ""), first.stderr
    hub[0].refuse_with = 500  # so that only the cache can answer
    for way in ({}, {"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": NO_SERVER}):
        offline = machine.run(*again, **way)
        assert (offline.returncode, offline.stdout) == (0, first.stdout), offline.stderr
        single = machine.run("run", ID, *again[2:], **way)
        assert (single.returncode, single.stdout) == (0, first.stdout), "the only one in the cache"
    shown = json.loads(machine.run("show", f"{ID}:Q8_0", "--json").stdout)
    assert (shown["name"], shown["here"]) == (f"{ID}:Q8_0", True)

    removed = machine.run("rm", f"{ID}:q8_0", "--yes")
    assert removed.stdout.startswith(f"{ID}:Q8_0 removed, "), removed.stderr
    assert machine.here() == {}


def test_a_split_model_beside_another(machine: Machine, hub: tuple[type[Hub], str], tmp_path: Path) -> None:
    parts = {path.name for path in hub[0].files.glob("model-F16-*")}
    assert len(parts) == 3
    assert machine.run("pull", f"{ID}:F16", f"{ID}:Q8_0").returncode == 0
    assert fetched(hub[0]) == {"model-Q8_0.gguf", *parts}
    here = machine.here()
    assert set(here) == {f"{ID}:F16", f"{ID}:Q8_0"}
    assert here[f"{ID}:F16"]["bytes"] == sum((hub[0].files / name).stat().st_size for name in parts)
    many = machine.run("rm", ID, "--yes")
    assert many.returncode == 2
    assert f"{ID}: expected one of its models on this machine: {ID}:F16, {ID}:Q8_0" in many.stderr
    assert machine.run("rm", f"{ID}:F16", "-y").returncode == 0
    assert set(machine.here()) == {f"{ID}:Q8_0"}, "the other stays"
    assert len([path for path in (tmp_path / "hf").rglob("blobs/*") if path.is_file()]) == 1


def test_the_only_model_needs_no_type(machine: Machine, hub: tuple[type[Hub], str]) -> None:
    for path in hub[0].files.glob("model-F16-*"):
        path.unlink()
    done = machine.run("run", ID, "hello", "--temp", "0", "-n", "3")
    assert (done.returncode, done.stderr) == (0, "")
    assert set(machine.here()) == {f"{ID}:Q8_0"}


def test_safetensors_go_first_where_no_type_is_named(
    tmp_path: Path, machine: Machine, hub: tuple[type[Hub], str]
) -> None:
    write_checkpoint(hub[0].files)
    assert machine.run("pull", ID).returncode == 0
    assert set(machine.here()) == {ID}
    assert machine.run("pull", f"{ID}:Q8_0").returncode == 0
    assert set(machine.here()) == {ID, f"{ID}:Q8_0"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (f"{ID}:Q9_9", f"{ID}: expected one of its GGUF models (F16, Q8_0), found 'Q9_9'"),
        ("owner/other:Q8_0", "owner/other: there is no file or folder of that name here"),
    ],
)
def test_refused(machine: Machine, hub: tuple[type[Hub], str], name: str, says: str) -> None:
    done = machine.run("pull", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert fetched(hub[0]) == set()


def test_no_gguf_where_a_type_is_named(machine: Machine, hub: tuple[type[Hub], str]) -> None:
    for path in hub[0].files.glob("*.gguf"):
        path.unlink()
    write_checkpoint(hub[0].files)
    assert f"{ID}: expected GGUF files in the repository, found none" in machine.run("pull", f"{ID}:Q8_0").stderr
