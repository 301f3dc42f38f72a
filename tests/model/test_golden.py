"""Parity with the reference implementation through stored values: needs neither torch nor transformers."""

from pathlib import Path

import numpy as np
import pytest
from native_models import all_logits, greedy, native_model
from random_models import checksum, config, random_ids, random_weights

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.npz"))


def test_there_are_golden_values():
    assert len(GOLDEN) >= 5
    assert all(path.stat().st_size < 8192 for path in GOLDEN)


@pytest.fixture(scope="module", params=GOLDEN, ids=lambda path: path.stem)
def golden(request):
    """(golden values, config, weights, f32 model) of one shape."""
    cfg = config(request.param.stem)
    weights = random_weights(cfg)
    with np.load(request.param) as stored:
        values = dict(stored)
    assert checksum(weights) == values["checksum"], "the weights differ from those of the golden values"
    return values, cfg, native_model(cfg, weights)


def test_logits(golden):
    values, cfg, model = golden
    logits = all_logits(model, random_ids(cfg, 96))[values["positions"]]
    expected = values["logits"]
    assert (np.abs(logits - expected).max(1) <= 2e-4 * np.abs(expected).max(1)).all()


def test_greedy_continuation(golden):
    values, cfg, model = golden
    assert greedy(model, random_ids(cfg, 12, 2), 64) == values["continuation"].tolist()
