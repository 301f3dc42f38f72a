"""Checkpoints that the tests of the command line share."""

import checkpoints
import pytest
from scripted_models import script, write_scripted


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    """Says "ABABAB" for ever."""
    follows = script(["\n", "A", "B", "A"])
    return write_scripted(tmp_path_factory.mktemp("endless"), follows, max_position_embeddings=1 << 20)


@pytest.fixture(scope="module")
def random(tmp_path_factory):
    """Random weights: long answers without sense."""
    return checkpoints.write_checkpoint(tmp_path_factory.mktemp("random")).folder
