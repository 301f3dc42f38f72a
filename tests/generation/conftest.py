"""Models that several files of this folder use."""

import checkpoints
import pytest
from scripted_models import script, write_scripted

import qwen3cpu


@pytest.fixture(scope="module")
def random_model(tmp_path_factory):
    """A small model with random weights, whose answers are long and different for every seed."""
    folder = checkpoints.write_checkpoint(tmp_path_factory.mktemp("random")).folder
    return qwen3cpu.load(folder, quant="f32", context=200, threads=1, prefix_cache=0)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """A model that after "Q" thinks "abcd" and answers "XY-Z!"; an answer to messages begins at once."""
    follows = script(
        ["Q", "<think>", "a", "b", "c", "d", "</think>", "\n", "X", "Y", "-", "Z", "!", "<|im_end|>"],
        ["T", "<tool_call>", "{", "}", "</tool_call>", "<|endoftext|>"],
    )
    folder = write_scripted(tmp_path_factory.mktemp("spoken"), follows)
    return qwen3cpu.load(folder, quant="f32", threads=1)
