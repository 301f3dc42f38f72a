"""A model of the native engine that its tests share, in three formats."""

import gc

import pytest
from native_models import native_model
from random_models import config, random_weights


@pytest.fixture(scope="module")
def cfg():
    """The shape of the model."""
    return config("three_queries_bias")


@pytest.fixture(scope="module", params=[("f32", "f32"), ("q4", "f16"), ("q4", "q8")], ids=lambda p: "-".join(p))
def model(request, cfg):
    """The model."""
    quant, kv = request.param
    return native_model(cfg, random_weights(cfg), quant, kv=kv)


@pytest.fixture
def all_blocks_come_back(model):
    """Check that a test returns every block of the KV cache that it takes."""
    assert model.kv_blocks_in_use() == 0
    yield
    gc.collect()
    assert model.kv_blocks_in_use() == 0
