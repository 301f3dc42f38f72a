"""What formats cost a trained model on a long text: the figures of docs/quality.md, compared with llama.cpp's.

The text is the first 20 windows of 512 tokens of WikiText-2's validation part, a file that QWEN3CPU_WIKITEXT names.
"""

import os
from pathlib import Path

import pytest

import qwen3cpu
from qwen3cpu.evaluation.quality import evaluate
from qwen3cpu.text.text_files import read_text_file

pytestmark = pytest.mark.smol

Q8_0, Q4_K_M = 0.00374, 0.060
"""Mean KL of llama.cpp's formats on this text."""
Q4_K_M_MIB, Q4_0_MIB = 98.9, 85.79


@pytest.fixture(scope="module")
def text():
    value = os.environ.get("QWEN3CPU_WIKITEXT")
    if not value:
        pytest.skip("QWEN3CPU_WIKITEXT does not name WikiText-2's validation text")
    return read_text_file(Path(value), "QWEN3CPU_WIKITEXT")


@pytest.fixture(scope="module")
def packed(smolqwen3, text, tmp_path_factory):
    """The file that `quantize --calibrate` makes without using the text. The test is skipped if the text is missing."""
    path = tmp_path_factory.mktemp("wikitext") / "calibrated.qwen3"
    qwen3cpu.pack(smolqwen3, path, calibrate=True)
    return path


@pytest.fixture(scope="module")
def found(smolqwen3, packed, text):
    """Name -> Quality."""
    models = {
        "q8": qwen3cpu.load(smolqwen3, "q8", cache=False),
        "q4": qwen3cpu.load(smolqwen3, "q4", cache=False),
        "calibrated": qwen3cpu.load(packed),
    }
    reference = qwen3cpu.load(smolqwen3, "bf16", cache=False)
    return {each.quant: each for each in evaluate(models, reference, text)}


def test_the_windows_are_those_of_the_table(found):
    assert {(each.windows, each.window, each.positions) for each in found.values()} == {(20, 512, 5100)}


def test_q8(found):
    assert found["q8"].mean_kl < 0.0037 < Q8_0


def test_calibrated_q4(found):
    assert found["calibrated"].mean_kl <= Q4_K_M
    assert found["calibrated"].weight_bytes < Q4_K_M_MIB * 2**20


def test_q4(found):
    assert found["q4"].mean_kl <= 0.17
    assert found["q4"].weight_bytes <= Q4_0_MIB * 2**20
