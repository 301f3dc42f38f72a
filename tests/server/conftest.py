"""Fixtures that the tests of the server share: models, schedulers and servers, which are closed at the end."""

import checkpoints
import pytest
from callers import Caller
from clocks import Clock
from model_folder import OPTIONS, write_models
from running import Running

import qwen3cpu
from qwen3cpu.server import serve as serving
from qwen3cpu.server.models.catalog import Catalog
from qwen3cpu.server.models.memory import model_bytes
from qwen3cpu.server.settings import Settings


@pytest.fixture(scope="session")
def random_model(tmp_path_factory):
    """A small model with random weights, whose answers are long and different for every seed."""
    folder = checkpoints.write_checkpoint(tmp_path_factory.mktemp("random")).folder
    return qwen3cpu.load(folder, quant="f32", context=500, threads=1)


@pytest.fixture(scope="session")
def tiny():
    """The embedded model."""
    return qwen3cpu.load("tiny", threads=1)


@pytest.fixture
def caller(random_model):
    """Makes callers and closes them."""
    made = []

    def make(model=random_model, **limits):
        made.append(Caller(model, **limits))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="session")
def server(tiny):
    """A server of the embedded model."""
    running = Running(tiny)
    yield running
    running.close()


@pytest.fixture
def serve(monkeypatch):
    """Starts servers with given settings and closes them. They sweep their connections more often."""
    monkeypatch.setattr(serving, "TICKS", 1)
    started = []

    def start(model, **settings):
        started.append(Running(model, **settings))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def clock(monkeypatch):
    """The clock for the time limits of connections, which a test can put forward."""
    found = Clock()
    monkeypatch.setattr(serving, "monotonic", found.sweeps)
    monkeypatch.setattr(serving, "MOST_STEP", float("inf"))
    return found


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder of models: see write_models."""
    found = tmp_path_factory.mktemp("models")
    write_models(tmp_path_factory.mktemp("sources"), found)
    return found


@pytest.fixture(scope="session")
def alone(folder):
    """The packed models of the folder, each by itself."""
    return {path.stem: qwen3cpu.load(path, context=256, threads=1) for path in folder.glob("*.qwen3")}


@pytest.fixture
def serve_folder(serve, folder):
    """Starts servers of the folder, with memory for a multiple of the largest of some models."""

    def start(times=1.5, names=("a", "b", "vectors"), folder=folder, **settings):
        catalog = Catalog([], folder, OPTIONS)
        settings = {"kv_bytes": None, "model_name": "", **settings}
        memory = 1 << 40
        largest = max(model_bytes(catalog.find(name).describe(), Settings(memory=memory)) for name in names)
        return serve(catalog, memory=int(times * largest), **settings)

    return start
