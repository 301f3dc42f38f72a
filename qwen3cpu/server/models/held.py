"""A model of the server as it is now: whether it is in memory, who uses it, and until when it stays."""

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
        offer: what is loaded.
        keep: seconds that it stays unused; None: for ever.
    """

    def __init__(self, offer: Offer, keep: float | None) -> None:
        self.offer = offer
        self.state: State = "absent"
        self.service: Service | None = None
        """There while it is loaded."""
        self.bytes = 0
        """That it counts for, from the beginning of its loading until it is gone."""
        self.keep = keep
        self.users = 0
        """Requests that it is lent to."""
        self.preparing = 0
        """Requests for it that have arrived and are not with its scheduler yet."""
        self.last_used = 0.0
        """When the last request got it or gave it back, on the lender's clock."""
        self.wanted_out = False
        """Whether it has to go for another model: nobody gets it any more who asks later than those."""
        self.stats = Stats()
        """Counters, also of earlier times in memory."""

    @property
    def idle(self) -> bool:
        """Whether it is loaded and nobody uses it."""
        return self.state == "loaded" and not self.users

    @property
    def dead(self) -> bool:
        """Whether its thread has failed."""
        return self.service is not None and not self.service.scheduler.alive

    @property
    def broken(self) -> bool:
        """Whether it has failed and can be loaded anew."""
        return self.offer.reloads and self.dead

    def expires(self) -> float | None:
        """When it leaves memory if nobody asks for it; None: it stays."""
        return None if self.keep is None or not self.offer.reloads else self.last_used + self.keep

    def size(self) -> int:
        """Bytes of its weights and adapters and of its draft model, and of what these hold now; 0: it is not loaded."""
        if self.service is None:
            return 0
        model = self.service.model
        return _bytes(model) + (0 if model.draft_model is None else _bytes(model.draft_model))


def _bytes(model: ClosableModel) -> int:
    memory = model.engine.memory()
    return model.weight_bytes + model.adapters.nbytes + int(memory["kv_bytes_in_use"] + memory["workspace_bytes"])
