"""The properties of a model on which the results of a job depend."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from numpy.typing import NDArray

from qwen3cpu.engine.formats import recorded_activations
from qwen3cpu.model import Model

_SAMPLE: Final = 8  # tokens


def about_model(model: Model) -> dict[str, Any]:
    """The properties of a model on which results depend, ready for JSON."""
    adapters = {name: named.adapter.identity for name, named in sorted(model.adapters.items())}
    return {
        "model": model.fingerprint,
        "weight format": model.quant,
        "KV format": model.kv,
        "context": model.context,
        "RoPE": model.config.rope_digest(),
        **recorded_activations(model.activations),
        "chat template": hashlib.sha256((model.chat_template or "").encode("utf-8", "replace")).hexdigest(),
        "generation_config.json": repr(model.generation_defaults),
        # The fingerprint is that of the source, whose weights may be rounded with or without calibration. A digest of a
        # forward pass tells the two apart, because a pass has the same bits on every machine.
        **({"adapters": adapters} if adapters else {}),
        "rounding of the weights": hashlib.sha256(_sample(model).tobytes()).hexdigest(),
    }


def _sample(model: Model) -> NDArray[Any]:
    """The vectors or logits of a few tokens."""
    ids = list(range(min(_SAMPLE, model.context - 1, model.config.vocab_size)))
    return model.embed([ids]) if model.task == "embedding" else model.logits(ids)
