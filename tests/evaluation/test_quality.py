"""What q8 and q4 cost on a trained model, and that the matrices which q4 keeps in 8 bits are worth their bytes."""

from pathlib import Path

import pytest
from prose import PROSE

import qwen3cpu
from qwen3cpu.checkpoint import tensors
from qwen3cpu.evaluation.quality import evaluate

pytestmark = pytest.mark.smol

WINDOW = 256  # tokens, of which the second half is scored
TEXT = PROSE + (Path(__file__).parents[2] / "LICENSE").read_text("utf-8")  # PROSE alone is one window


@pytest.fixture(scope="module")
def found(smolqwen3):
    """Format -> Quality on TEXT; "plain" is q4 with v_proj in 4 bits like the rest."""
    models = {quant: qwen3cpu.load(smolqwen3, quant, cache=False) for quant in ("q8", "q4")}
    rows = [
        row._replace(format=lambda quant, last: quant) if row.name == "self_attn.v_proj.weight" else row
        for row in tensors.IN_LAYER
    ]
    assert rows != list(tensors.IN_LAYER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensors, "IN_LAYER", rows)
        models["plain"] = qwen3cpu.load(smolqwen3, "q4", cache=False)
    reference = qwen3cpu.load(smolqwen3, "bf16", cache=False)
    return {each.quant: each for each in evaluate(models, reference, TEXT, window=WINDOW)}


def test_q4_costs_many_times_what_q8_costs(found):
    assert 0 < 10 * found["q8"].mean_kl < found["q4"].mean_kl
    assert found["q4"].same_top < found["q8"].same_top


def test_v_proj_in_8_bits_pays(found):
    # They gain more than other matrices: with --calibrate, 14 % more bytes remove half of the divergence.
    bytes_more = found["q4"].weight_bytes / found["plain"].weight_bytes - 1
    divergence_less = 1 - found["q4"].mean_kl / found["plain"].mean_kl
    assert bytes_more < 0.025
    assert divergence_less > 0.5 / 0.14 * bytes_more
