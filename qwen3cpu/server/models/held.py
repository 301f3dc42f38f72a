"""The state of a model of the server: whether it is in memory, how many requests use it, and until when it stays."""

from __future__ import annotations

from typing import Literal

from qwen3cpu.loading.closable_model import ClosableModel
from qwen3cpu.server.models.offers import Offer
from qwen3cpu.server.scheduling.service import Service
from qwen3cpu.server.scheduling.stats import Stats

State = Literal["absent", "loading", "loaded", "leaving memory"]


class HeldModel:
    """The state of one model. The lender changes it, on the event loop.

    Args:
        offer: the model.
        keep: seconds that it stays in memory unused; None: for ever.
    """

    def __init__(self, offer: Offer, keep: float | None) -> None:
        self.offer = offer
        self.state: State = "absent"
        self.service: Service | None = None
        """The running model; None while it is not loaded."""
        self.bytes = 0
        """Bytes that it counts for, from the start of its loading until it has left memory."""
        self.keep = keep
        self.users = 0
        """The number of requests that it is lent to."""
        self.preparing = 0
        """The number of requests for it that have arrived and are not with its scheduler yet."""
        self.last_used = 0.0
        """Time when the last request got it or gave it back, on the lender's clock."""
        self.wanted_out = False
        """Whether it must leave memory for a request in the line. Requests behind that one do not get it."""
        self.stats = Stats()
        """Counters, including earlier times in memory."""

    @property
    def idle(self) -> bool:
        """Whether it is loaded and no request uses it."""
        return self.state == "loaded" and not self.users

    @property
    def dead(self) -> bool:
        """Whether its thread has failed."""
        return self.service is not None and not self.service.scheduler.alive

    @property
    def broken(self) -> bool:
        """Whether its thread has failed and it can be loaded again."""
        return self.offer.reloads and self.dead

    def expires(self) -> float | None:
        """The time when it leaves memory if no request asks for it; None: it stays."""
        return None if self.keep is None or not self.offer.reloads else self.last_used + self.keep

    def size(self) -> int:
        """Bytes that it and its draft model use: weights, adapters, KV caches, workspaces; 0 if it is not loaded."""
        if self.service is None:
            return 0
        model = self.service.model
        return _bytes(model) + (0 if model.draft_model is None else _bytes(model.draft_model))


def _bytes(model: ClosableModel) -> int:
    memory = model.engine.memory()
    return model.weight_bytes + model.adapters.nbytes + int(memory["kv_bytes_in_use"] + memory["workspace_bytes"])
