"""A loaded model as a small table in a notebook."""

from __future__ import annotations

from qwen3cpu.loading.described_model import DescribedModel
from qwen3cpu.text.html_views import table


def model_card(model: DescribedModel) -> str:
    """What a model is, as HTML."""
    millions = model.config.parameters() / 1e6
    return table(
        model.source,
        {
            "made for": model.task,
            "parameters": f"{millions / 1e3:.2f} billion" if millions >= 100 else f"{millions:.1f} million",
            "weights": f"{model.quant}, {model.weight_bytes / 1e6:,.0f} MB",
            "context": f"{model.context:,} positions, {model.kv_bytes_per_token / 1e3:,.1f} KB each in the KV cache",
            "threads": str(model.threads),
        },
    )
