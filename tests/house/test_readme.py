"""Every block of README.md runs when it is pasted."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
if not README.is_file():
    pytest.skip("needs README.md beside the tests", allow_module_level=True)
TEXT = README.read_text("utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```$", TEXT, re.M | re.S)
SHELL = [line for block in re.findall(r"^```bash\n(.*?)^```$", TEXT, re.M | re.S) for line in block.splitlines()]
INDENTED = re.findall(r"^    (\S.*)$", re.sub(r"^```.*?^```$", "", TEXT, flags=re.M | re.S), re.M)


@pytest.fixture
def shell(tmp_path):
    """Return a function that starts a line in a shell with this environment's commands, in an empty folder."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    started = []

    def start(line):
        process = subprocess.Popen(
            ["bash", "-c", f"exec {line}" if "|" not in line else line],
            cwd=tmp_path,
            env=os.environ | {"PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_there_are_blocks_of_each_kind():
    assert len(PYTHON) == 1
    assert len(SHELL) >= 4
    assert not re.search(r"^```(?!python$|bash$|$)", TEXT, re.M)


@pytest.mark.parametrize("code", PYTHON)
def test_python(code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "example"})
    assert capsys.readouterr().out.startswith(re.search(r"# (42.*)", code)[1])


@pytest.mark.parametrize("line", [each for each in SHELL if " serve " not in each])
def test_shell(line, shell):
    process = shell(line)
    out, _ = process.communicate()
    assert process.returncode == 0, out
    assert out.strip()


@pytest.mark.parametrize("line", [each for each in SHELL if " serve " in each])
def test_server(line, shell):
    pytest.importorskip("starlette", reason="the server needs the extra [server]")
    process = shell(f"{line} --port 0")
    assert process.stdout is not None
    assert any("http://127.0.0.1:" in said for said in iter(process.stdout.readline, ""))
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130  # after Ctrl-C (docs/command-line.md)


def test_installing_commands_name_extras_that_exist():
    """A test cannot install, so it checks each part of these lines separately. .ci/run installs and runs the tests."""
    extras = set(re.findall(r"^([a-z][a-z-]*) = \[", (ROOT / "pyproject.toml").read_text("utf-8"), re.M))
    parts = [part.strip() for line in INDENTED for part in line.split("&&")]
    assert "qwen3cpu demo" in parts
    assert "pytest" in parts
    other = {"qwen3cpu demo", "pytest", "python3 -m venv .venv", ". .venv/bin/activate", "pip install -e ."}
    for part in set(parts) - other:
        assert re.fullmatch(r"pip install -e '\.\[(.*)\]'", part)[1] in extras


def test_the_table_of_models_has_the_measured_sizes():
    """The sizes are those of bench/measured/memory.json, which the chart shows too."""
    plans = json.loads((ROOT / "bench" / "measured" / "memory.json").read_text("utf-8"))["plans"]
    sizes = {each["model"]: each["total_bytes"] / 1e9 for each in plans if each["context"] == 4096}
    rows = re.findall(r"^\| (\d+) GB \| Qwen3-(\S+) \| ([\d.]+) GB \| `qwen3cpu run (\S+)` \|$", TEXT, re.M)
    assert [int(memory) for memory, *_ in rows] == [8, 16, 32, 64]
    for memory, name, size, typed in rows:
        assert typed == name
        assert float(size) == pytest.approx(sizes[name], abs=0.05)
        assert sizes[name] < 0.7 * float(memory)
