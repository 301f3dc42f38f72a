"""What the models of a server may take: the bytes of each, and the limit of all."""

from __future__ import annotations

from dataclasses import replace

from qwen3cpu.loading.describe import Description
from qwen3cpu.server.models.errors import ModelTooLargeError
from qwen3cpu.server.models.offers import Offer
from qwen3cpu.server.settings import Settings


def kv_bytes(about: Description, settings: Settings) -> int | None:
    """Memory of a model's KV cache. None: half of what is free, for a model that shares no limit with others."""
    if settings.kv_bytes is None and settings.memory is not None:
        return about.context_kv_bytes
    return settings.kv_bytes


def model_bytes(about: Description, settings: Settings) -> int:
    """What a model counts for: weights, the memory of its KV cache, the workspace of a pass, and its draft model."""
    return about.weight_bytes + about.workspace_bytes + (kv_bytes(about, settings) or 0) + about.draft_bytes


def check_fits(offer: Offer, settings: Settings) -> None:
    """Raise ModelTooLargeError for a model that the limit has no room for, not even alone. Reads its files."""
    about = offer.describe()
    needed, drafts = model_bytes(about, settings), f", {about.draft_bytes} of them for its draft" if about.draft else ""
    if settings.memory is not None and needed > settings.memory:
        raise ModelTooLargeError(
            f"the model {offer.name!r} needs {needed} bytes for weights and KV cache{drafts}, the server may use "
            f"{settings.memory}; a larger --memory, a smaller --ctx-size or a smaller --kv-memory helps"
        )


def own_settings(offer: Offer, settings: Settings) -> Settings:
    """The server's settings for one of its models."""
    return replace(settings, model_name=offer.name, kv_bytes=kv_bytes(offer.describe(), settings))
