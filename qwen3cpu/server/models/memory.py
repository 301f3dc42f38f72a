"""The memory of a server's models: the bytes of each, and the limit of all."""

from __future__ import annotations

from dataclasses import replace

from qwen3cpu.loading.describe import Description
from qwen3cpu.server.models.errors import ModelTooLargeError
from qwen3cpu.server.models.offers import Offer
from qwen3cpu.server.settings import Settings


def kv_bytes(about: Description, settings: Settings) -> int | None:
    """Bytes of a model's KV cache. None: half of the free memory, if there is no limit for all models."""
    if settings.kv_bytes is None and settings.memory is not None:
        return about.context_kv_bytes
    return settings.kv_bytes


def model_bytes(about: Description, settings: Settings) -> int:
    """The bytes that a model counts for: weights, KV cache, workspace of a pass, and draft model."""
    return about.weight_bytes + about.workspace_bytes + (kv_bytes(about, settings) or 0) + about.draft_bytes


def check_fits(offer: Offer, settings: Settings) -> None:
    """Raise ModelTooLargeError for a model that exceeds the limit even alone. Reads its files."""
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
