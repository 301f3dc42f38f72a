"""What the results of a job depend on of its model."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from numpy.typing import NDArray

from qwen3cpu.model import Model

_SAMPLE: Final = 8  # tokens


def about_model(model: Model) -> dict[str, Any]:
    """What results depend on of a model, for JSON."""
    adapters = {name: named.adapter.identity for name, named in sorted(model.adapters.items())}
    return {
        "model": model.fingerprint,
        "weight format": model.quant,
        "KV format": model.kv,
        "context": model.context,
        "RoPE": model.config.rope_digest(),
        "chat template": hashlib.sha256((model.chat_template or "").encode("utf-8", "replace")).hexdigest(),
        "generation_config.json": repr(model.generation_defaults),
        # The fingerprint is that of the source; its weights may have been rounded with or without calibration. By the
        # invariant a pass has the same bits on every machine.
        **({"adapters": adapters} if adapters else {}),
        "rounding of the weights": hashlib.sha256(_sample(model).tobytes()).hexdigest(),
    }


def _sample(model: Model) -> NDArray[Any]:
    """What the model makes of some tokens."""
    ids = list(range(min(_SAMPLE, model.context - 1, model.config.vocab_size)))
    return model.embed([ids]) if model.task == "embedding" else model.logits(ids)
