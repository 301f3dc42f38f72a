"""A small embedding model and a small reranker with random weights."""

import pytest
from retrieval_models import write_embedding_model, write_scoring_model

import qwen3cpu

WARNINGS = ("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning", "ignore::ResourceWarning")
"""Warnings of the libraries themselves."""


def pytest_collection_modifyitems(items):
    """Ignore warnings that the libraries cause in each other."""
    for item in items:
        if item.path.parent.name == "integrations":
            for warning in WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(scope="session")
def embedding_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("integrations") / "embedding"
    write_embedding_model(path)
    return path


@pytest.fixture(scope="session")
def model(embedding_folder):
    return qwen3cpu.load(embedding_folder, quant="f32", kv="f32", threads=1)


@pytest.fixture(scope="session")
def reranker(tmp_path_factory):
    path = tmp_path_factory.mktemp("integrations") / "reranker"
    write_scoring_model(path, (3, 4), max_position_embeddings=2048)
    return qwen3cpu.load(path, quant="f32", threads=1)
