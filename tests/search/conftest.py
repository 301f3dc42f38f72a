"""A small embedding model with random weights for all tests of the index."""

import pytest
from retrieval_models import write_embedding_model

import qwen3cpu


@pytest.fixture(scope="session")
def embedding_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("search") / "model"
    write_embedding_model(path)
    return path


@pytest.fixture(scope="session")
def model(embedding_folder):
    return qwen3cpu.load(embedding_folder, quant="q8", threads=1)
