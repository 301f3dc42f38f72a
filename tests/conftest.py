"""Fixtures and hooks for all tests. Modules that tests import, such as `checkpoints`, are in tests/support."""

import contextlib
import gc
import importlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import checkpoints
import hypothesis
import pytest
from packed_once import packing_once
from scripted_models import script, write_scripted
from threadpoolctl import threadpool_limits

import qwen3cpu
from qwen3cpu import _native, _sampling
from qwen3cpu.system.build_commit import commit
from qwen3cpu.system.thread_count import default_threads

TESTED = "QWEN3CPU_TESTED_PACKAGE"

# No test has a time limit, because a busy machine would exceed it.
hypothesis.settings.register_profile("qwen3cpu", deadline=None)
hypothesis.settings.load_profile("qwen3cpu")


def pytest_configure(config: pytest.Config) -> None:
    """Refuses any package except the one in the folder that QWEN3CPU_TESTED_PACKAGE names, if it is set."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Processes that a shell runs in the background ignore SIGINT. Processes that tests start would inherit this.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    expected = os.environ.get(TESTED)
    if not expected:
        return
    # The compiled modules of an editable install are in another folder, which __path__ names too.
    allowed = [Path(expected).resolve(), *(Path(folder).resolve() for folder in qwen3cpu.__path__)]
    for module, folders in ((qwen3cpu, allowed[:1]), (_native, allowed), (_sampling, allowed)):
        if Path(module.__file__).resolve().parent not in folders:
            raise pytest.UsageError(f"{TESTED}: expected {module.__name__} from {expected}, found {module.__file__}")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --pictures."""
    parser.addoption(
        "--pictures", type=Path, metavar="FOLDER", help="where tests write the pictures of the documentation"
    )


@pytest.fixture
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder for pictures: the one that --pictures names, or a temporary one."""
    named: Path | None = request.config.getoption("--pictures")
    return tmp_path if named is None else request.config.invocation_params.dir / named


MOST_WORKERS = 8


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Processes for `-n auto`; none for single files, which end before another process has started.

    One more than there are CPUs, because some tests wait for other processes: 174 s instead of 187 s on two CPUs.
    """
    return 0 if not _whole_suite(config) else min(default_threads() + 1, MOST_WORKERS)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Makes each of several processes import other test files first. All of them import all files in the end.

    pytest rewrites the assertions of a file when it is imported for the first time, and keeps the bytecode. That takes
    5 s for all files, which each process would need. An error comes again, and is reported, when pytest imports the
    file.
    """
    sys.dont_write_bytecode = False
    name, count = os.environ.get("PYTEST_XDIST_WORKER"), os.environ.get("PYTEST_XDIST_WORKER_COUNT")
    if name is None or count is None or not _whole_suite(session.config):
        return
    files = sorted(Path(__file__).parent.rglob("test_*.py"))
    for file in files[int(name.removeprefix("gw")) :: int(count)]:
        sys.path.insert(0, str(file.parent))
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(file.stem)


def _whole_suite(config: pytest.Config) -> bool:
    """Whether the whole test suite was asked for."""
    named = {(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args}
    return named <= {config.rootpath, config.rootpath / "tests"}


MANY_MODULES = 300
_known_modules = pytest.StashKey[int]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Keeps the objects of large libraries that a test has imported out of later garbage collections.

    Tests run the garbage collector, and each run would also go through torch, for a third of a second.
    """
    known = item.config.stash.setdefault(_known_modules, 0)
    if len(sys.modules) > known + MANY_MODULES:
        item.config.stash[_known_modules] = len(sys.modules)
        gc.collect()
        gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints which package was tested."""
    package = Path(qwen3cpu.__file__).parent
    terminalreporter.write_line(
        f"qwen3cpu {qwen3cpu.__version__} ({commit()}), {_native.chosen_isa()} kernels, from {package}"
    )


@pytest.fixture(scope="session", autouse=True)
def one_thread_for_numpy() -> Iterator[None]:
    """One thread for NumPy's OpenBLAS. Oracles multiply small matrices, where more threads mostly wait in loops."""
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.fixture(scope="session", autouse=True)
def package_for_subprocesses(tmp_path_factory: pytest.TempPathFactory):
    """Processes that tests start import the package that the tests import, not the source tree they were started in.

    They write and read compiled bytecode, even if PYTHONDONTWRITEBYTECODE is set. Without bytecode each of some hundred
    processes would compile the package again, for 0.1 to 0.2 s.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        package = str(Path(qwen3cpu.__file__).parents[1])
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")])))
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        yield


@pytest.fixture(scope="session", autouse=True)
def packed_once() -> Iterator[None]:
    """Models inside the package are packed once, because many tests begin with loading them."""
    with packing_once():
        yield


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model that says "ABABAB" endlessly."""
    follows = script(["\n", "A", "B", "A"])
    return write_scripted(tmp_path_factory.mktemp("endless"), follows, max_position_embeddings=1 << 20)


@pytest.fixture(scope="session")
def random(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model with random weights: long, meaningless answers."""
    return checkpoints.write_checkpoint(tmp_path_factory.mktemp("random")).folder


def _folder(variable: str) -> Path:
    """The checkpoint folder that an environment variable names; skips the test if it is not set."""
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} does not name a checkpoint folder")
    folder = Path(value)
    assert (folder / "config.json").is_file(), f"{variable}={value}: no config.json there"
    return folder


@pytest.fixture(scope="session")
def smolqwen3() -> Path:
    """Folder of the 135M-parameter checkpoint; mark the test `smol`."""
    return _folder("QWEN3CPU_SMOLQWEN3")


@pytest.fixture(scope="session")
def synthetic() -> Path:
    """Folder of the 1.7B-shaped checkpoint with random weights; mark the test `synthetic`."""
    return _folder("QWEN3CPU_SYNTHETIC")
