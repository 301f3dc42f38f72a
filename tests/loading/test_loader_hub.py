"""Hub ids are checked before any request, models are fetched from a mock hub, and errors tell how to go on offline."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoints import write_checkpoint
from cli_runs import run_process
from fake_hub import NO_SERVER, Hub, hub_environment, running_hub
from torch_files import write_torch_file

from qwen3cpu.checkpoint import hub
from qwen3cpu.errors import DownloadError
from qwen3cpu.loading.open import open_checkpoint


@pytest.mark.parametrize("text", ["Qwen/Qwen3-1.7B", "a/b", "user_1/x.y-z", "0/1", "a" * 96 + "/" + "b" * 96])
def test_hub_ids(text: str) -> None:
    assert hub.is_hub_id(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "a",
            "a/",
            "/a",
            "a/b/c",
            "./a",
            "../a",
            "~/a",
            "a b/c",
            "a/b ",
            "-a/b",
            "a/b-",
            ".a/b",
            "a/b.",
            "a..b/c",
        ),
        *("a--b/c", "a/b\n", "ä/b", "a\\b", "C:/model", "https://huggingface.co/a/b", "a" * 97 + "/b", "a/b\0"),
    ],
)
def test_what_is_no_hub_id(text: str) -> None:
    assert not hub.is_hub_id(text)


def test_an_existing_folder_goes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "download", lambda *_: pytest.fail("went to the network"))
    write_checkpoint(tmp_path / "Qwen" / "Qwen3-1.7B")
    assert open_checkpoint("Qwen/Qwen3-1.7B", threads=1).source == "Qwen/Qwen3-1.7B"


@pytest.mark.parametrize("reason", [OSError("disk full"), RuntimeError("first line\nsecond"), ValueError()])
def test_every_failure_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, reason: Exception) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise reason

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(DownloadError) as caught:
        open_checkpoint("owner/absent-model", threads=1)
    message = str(caught.value)
    assert caught.value.__cause__ is reason
    assert "owner/absent-model: there is no file or folder of that name here" in message
    assert "hf download owner/absent-model" in message
    assert "HF_HUB_OFFLINE=1" in message
    assert "\n" not in message


# With a mock hub on this machine


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[type[Hub], str]]:
    """Yield (the handler with its folder of files, the address)."""
    with running_hub(tmp_path / "repository") as found:
        yield found


FINGERPRINT = "open_checkpoint(sys.argv[1], threads=1).fingerprint"


def load(
    tmp_path: Path, endpoint: str, source: str = "owner/name", wanted: str = FINGERPRINT, **more: str
) -> subprocess.CompletedProcess[str]:
    """Load a model in a process whose hub is `endpoint`. It prints `wanted`, or the error's type and text."""
    code = (
        "import sys\nfrom qwen3cpu.errors import Qwen3CpuError\n"
        "from qwen3cpu.loading.open import open_checkpoint, read_config\n"
        f"try: print('loaded', {wanted})\n"
        "except Qwen3CpuError as error: print(type(error).__name__, error)\n"
    )
    return run_process(["-c", code, source], hub_environment(tmp_path / "hf", endpoint, **more))


@pytest.mark.parametrize(("kernel", "shown"), [("kernel=None", True), ("", False)])
def test_bars_show_in_a_notebook(tmp_path: Path, server: tuple[type[Hub], str], kernel: str, shown: bool) -> None:
    handler, address = server
    write_checkpoint(handler.files)
    code = (
        "import sys, types\nsys.modules['IPython'] = types.ModuleType('IPython')\n"
        f"shell = types.SimpleNamespace(config={{}}, {kernel})\n"
        "sys.modules['IPython'].get_ipython = lambda: shell\n"
        "from qwen3cpu.checkpoint import hub\nhub.QUICK_SECONDS = 0\nprint(hub.download('owner/name'))\n"
    )
    done = run_process(["-c", code], hub_environment(tmp_path / "hf", address))
    assert done.returncode == 0, done.stderr
    assert ("100%|" in done.stderr) is shown


def test_fetches_the_configuration_alone(tmp_path: Path, server: tuple[type[Hub], str]) -> None:
    """Planning needs only the configuration. The other files are fetched when the model is loaded."""
    handler, address = server
    write_checkpoint(handler.files, hidden_size=96)
    config = load(tmp_path, address, wanted="read_config(sys.argv[1])[0].hidden_size")
    assert config.stdout == "loaded 96\n", config.stdout + config.stderr
    fetched = {path for command, path, _ in handler.requests if command == "GET" and "/resolve/" in path}
    assert {path.rpartition("/")[2] for path in fetched} == {"config.json"}
    assert load(tmp_path, address).stdout.startswith("loaded ")


def test_fetches_a_model_and_goes_on_without_network(tmp_path: Path, server: tuple[type[Hub], str]) -> None:
    handler, address = server
    write_checkpoint(handler.files, shards=2)
    (handler.files / "pytorch_model.bin").write_bytes(b"not wanted")
    (handler.files / "original").mkdir()
    (handler.files / "original" / "model.safetensors").write_bytes(b"not wanted")
    first = load(tmp_path, address)
    assert first.stdout.startswith("loaded "), first.stdout + first.stderr
    assert first.stderr == ""  # bars are for terminals
    fetched = {
        path.rsplit("/", 1)[1] for command, path, _ in handler.requests if command == "GET" and "resolve" in path
    }
    wanted = {path.name for path in handler.files.iterdir() if path.suffix in (".json", ".safetensors", ".jinja")}
    assert fetched == wanted
    assert not any("original" in path for _, path, _ in handler.requests if "resolve" in path)
    for offline in ({"HF_HUB_OFFLINE": "1"}, {}):
        assert load(tmp_path, NO_SERVER, **offline).stdout == first.stdout


def test_files_of_torch_where_there_are_no_others(tmp_path: Path, server: tuple[type[Hub], str]) -> None:
    handler, address = server
    written = write_checkpoint(handler.files)
    (handler.files / "model.safetensors").unlink()
    tensors = {name: ("F32", values) for name, values in written.tensors.items()}
    write_torch_file(handler.files / "pytorch_model.bin", tensors)
    (handler.files / "training_args.bin").write_bytes(b"not wanted")
    first = load(tmp_path, address)
    assert first.stdout.startswith("loaded "), first.stdout + first.stderr
    assert not any("training_args" in path for _, path, _ in handler.requests if "resolve" in path)
    assert load(tmp_path, NO_SERVER).stdout == first.stdout


def test_a_broken_download_is_resumed(tmp_path: Path, server: tuple[type[Hub], str]) -> None:
    handler, address = server
    write_checkpoint(handler.files, vocab_size=200_000)  # 26 MB; the library keeps fetched pieces of 10 MB
    handler.break_once.add("model.safetensors")
    for _ in range(3):
        done = load(tmp_path, address)
        if done.stdout.startswith("loaded "):
            break
    assert done.stdout.startswith("loaded "), done.stdout + done.stderr
    asked = [span for verb, path, span in handler.requests if verb == "GET" and path.endswith("/model.safetensors")]
    assert asked[0] is None
    assert [int(span.removeprefix("bytes=").removesuffix("-")) > 0 for span in asked[1:] if span] == [True]
    assert len(asked) == 2


@pytest.mark.parametrize("offline", [{}, {"HF_HUB_OFFLINE": "1"}], ids=["no network", "told to be offline"])
def test_without_a_network(tmp_path: Path, offline: dict[str, str]) -> None:
    done = load(tmp_path, NO_SERVER, **offline)
    assert done.stdout.startswith("DownloadError owner/name: "), done.stdout + done.stderr
    assert "To go on offline" in done.stdout
    assert done.stderr == ""


def test_an_unknown_id(tmp_path: Path, server: tuple[type[Hub], str]) -> None:
    done = load(tmp_path, server[1], "owner/unknown")
    assert done.stdout.startswith("DownloadError owner/unknown: "), done.stdout + done.stderr
    assert "RepositoryNotFoundError" in done.stdout


def test_an_id_is_checked_before_the_network(tmp_path: Path, server: tuple[type[Hub], str]) -> None:
    handler, address = server
    assert load(tmp_path, address, "owner/na--me").stdout.startswith("CheckpointError 'owner/na--me': expected")
    assert handler.requests == []
