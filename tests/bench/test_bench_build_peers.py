"""bench/build_peers.py, with a script instead of pip."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from support.scripts import script_module

# Logs its arguments and the switches of the build, and fails if a file `fail` exists two folders up.
PIP = """#!/bin/sh
here=$(dirname "$0")/../..
echo "$CMAKE_ARGS $*" >> "$here/log"
[ ! -e "$here/fail" ]
"""


@pytest.fixture(scope="module")
def build_peers() -> ModuleType:
    return script_module("bench/build_peers.py")


@pytest.fixture(autouse=True)
def played(build_peers: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(folder: Path, with_pip: bool) -> None:
        assert with_pip
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").write_text(PIP)
        (folder / "bin" / "python").chmod(0o755)

    monkeypatch.setattr(build_peers.venv, "create", create)


def run(build_peers: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["build_peers.py", *arguments])
    code: int = build_peers.main()
    return code


def test_a_build_is_made_once(
    build_peers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert run(build_peers, monkeypatch, str(tmp_path), "--isa", "avx2", "avxvnni") == 0
        printed = capsys.readouterr().out.splitlines()
        assert printed == [f"{isa} {tmp_path}/{isa}/bin/python" for isa in ("avx2", "avxvnni")]
    log = (tmp_path / "log").read_text().splitlines()
    assert len(log) == 4  # gguf and llama-cpp-python of both
    assert "--no-binary llama-cpp-python llama-cpp-python==" in log[1]
    assert "-DGGML_AVX2=ON" in log[1]
    assert "-DGGML_AVX_VNNI=OFF" in log[1]
    assert "-DGGML_AVX_VNNI=ON" in log[3]


def test_a_failed_build_leaves_nothing(
    build_peers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fail").touch()
    assert run(build_peers, monkeypatch, str(tmp_path), "--isa", "avx2") == 2
    assert "avx2: pip could not build" in capsys.readouterr().err
    assert not (tmp_path / "avx2").exists()


def test_switches_allow_one_set_only(build_peers: ModuleType) -> None:
    """Every set names all switches, so that no default of llama.cpp counts."""
    for isa, switches in build_peers.SWITCHES.items():
        arguments = build_peers.cmake_arguments(isa).split()
        assert "-DGGML_NATIVE=OFF" in arguments
        on = {argument[7:-3] for argument in arguments if argument.endswith("=ON")}
        assert on == set(switches)
        named = {argument[7:].split("=")[0] for argument in arguments if argument.startswith("-DGGML_")}
        assert named == {"NATIVE"}.union(*build_peers.SWITCHES.values())
