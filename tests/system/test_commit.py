"""The commit that the package reports."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qwen3cpu.system import build_commit as module

ROOT = Path(__file__).parents[2]


def git(folder, *arguments):
    identity = ("-c", "user.name=n", "-c", "user.email=e")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package folder that the module takes for its own."""
    folder = tmp_path / "qwen3cpu"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.setattr(module, "__file__", str(folder / "system" / "build_commit.py"))
    return folder


@pytest.fixture
def built(monkeypatch):
    """Return a function that sets the commit that the build has written."""

    def write(text):
        fake = type(sys)("qwen3cpu._commit")
        fake.COMMIT = text
        monkeypatch.setitem(sys.modules, "qwen3cpu._commit", fake)

    return write


needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="no git here")


@needs_git
def test_a_source_tree_tells_its_own_commit_and_whether_it_has_changes(package, built):
    built("0" * 12)
    git(package.parent, "init", "-q")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-qm", "x")
    clean = module.commit()
    assert re.fullmatch("[0-9a-f]{12}", clean)
    assert clean != "0" * 12
    (package / "__init__.py").write_text("x = 1\n")
    assert module.commit() == f"{clean}-dirty"


@needs_git
def test_a_package_in_somebody_elses_repository_tells_the_commit_of_its_build(package, built):
    git(package.parent, "init", "-q")
    git(package.parent, "commit", "-q", "--allow-empty", "-m", "x")
    built("123456789abc")
    assert module.commit() == "123456789abc"


def test_a_build_without_a_repository_knows_none(package, built):
    built("")
    assert module.commit() is None


def test_without_git_the_build_is_asked(package, built, monkeypatch):
    monkeypatch.setenv("PATH", "")
    built("123456789abc")
    assert module.commit() == "123456789abc"


@needs_git
@pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake here")
@pytest.mark.skipif(not (ROOT / "cmake" / "commit.cmake").exists(), reason="not beside the source tree")
def test_the_build_writes_the_commit_and_a_source_distribution_keeps_it(tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "cmake", tree / "cmake")
    script = "cmake_minimum_required(VERSION 3.20)\nproject(x NONE)\ninclude(cmake/commit.cmake)\n"
    (tree / "CMakeLists.txt").write_text(script)

    def configure(state):
        build = tmp_path / state
        subprocess.run(
            ["cmake", "-S", str(tree), "-B", str(build), f"-DSKBUILD_STATE={state}"], check=True, capture_output=True
        )
        return (build / "_commit.py").read_text()

    assert configure("nothing") == 'COMMIT = ""\n'
    git(tree, "init", "-q")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "x")
    written = configure("sdist")
    assert re.fullmatch('COMMIT = "[0-9a-f]{12}"\n', written)
    shutil.rmtree(tree / ".git")
    assert configure("wheel") == written
