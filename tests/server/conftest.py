"""What the tests of the server share: models, and a scheduler whose jobs are waited for."""

import checkpoints
import pytest
from callers import Caller

import qwen3cpu


@pytest.fixture(scope="session")
def random_model(tmp_path_factory):
    """A small model with random weights, whose answers are long and different for every seed."""
    folder = checkpoints.write_checkpoint(tmp_path_factory.mktemp("random")).folder
    return qwen3cpu.load(folder, quant="f32", context=500, threads=1)


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
