"""bench/prompt_over_kl.py with a script instead of llama.cpp: every format takes its turns, and the file has them."""

import json
import shlex
import sys

from checkpoints import write_checkpoint
from support.scripts import script_module

import qwen3cpu

PEER = """
import json, sys
for number, line in enumerate(sys.stdin):
    op = json.loads(line)["op"]
    print(json.dumps({"version": "0.1"} if op == "open" else {"tokens": 8, "seconds": 1 / number}), flush=True)
"""
"""Its runs take a second, half of a second, a third of a second and so on."""


def test_every_format_takes_its_turns(tmp_path, monkeypatch, capsys):
    write_checkpoint(tmp_path / "padded")
    qwen3cpu.pack(tmp_path / "padded", tmp_path / "ours.qwen3", "q8")
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexec {shlex.join([sys.executable, '-c', PEER])}\n")
    python.chmod(0o755)
    arguments = ["--work", tmp_path, "--ours", f"q8={tmp_path / 'ours.qwen3'}", "--peer-python", python]
    for name in ("Q4_0", "Q8_0"):
        (tmp_path / f"padded-{name}.gguf").touch()
    arguments += ["-p", "16", "--turns", "3", "-t", "1", "-o", tmp_path / "speeds.json"]
    monkeypatch.setattr(sys, "argv", ["prompt_over_kl.py", *map(str, arguments)])
    assert script_module("bench/prompt_over_kl.py").main() == 0
    found = json.loads((tmp_path / "speeds.json").read_text("utf-8"))
    assert (found["llama_cpp"], found["n_prompt"], found["threads"], found["turns"]) == ("0.1", 16, 1, 3)
    ours, *theirs = found["speeds"]
    assert (ours["engine"], ours["name"]) == ("qwen3cpu", "q8")
    assert 0 < ours["least"] <= ours["tokens_per_second"] <= ours["largest"]
    # The first run of each, which warms up, is not counted: the next three take 1/2, 1/3 and 1/4 of a second.
    for each, name in zip(theirs, ("Q4_0", "Q8_0"), strict=True):
        speeds = {"tokens_per_second": 24.0, "least": 16.0, "largest": 32.0}
        assert each == {"engine": "llama.cpp", "name": name, **speeds}
    assert "| llama.cpp | Q4_0 | 24 (16 to 32) |" in capsys.readouterr().out
