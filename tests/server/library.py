"""Models without weights and files, and a lender that records what it does with them."""

import asyncio
from types import SimpleNamespace

from qwen3cpu.errors import CheckpointError
from qwen3cpu.server.models import lender as lending
from qwen3cpu.server.models.catalog import Catalog
from qwen3cpu.server.models.lender import Lender
from qwen3cpu.server.models.loans import Loans
from qwen3cpu.server.settings import Settings


class Offered:
    """A model that counts for a given number of bytes."""

    path = None
    reloads = True

    def __init__(self, name, size=10, task="generation"):
        self.name = name
        self.adapters = {}
        self.size = size
        self.task = task
        self.problem = None

    def describe(self):
        if self.task is None:
            raise CheckpointError("damaged")
        return SimpleNamespace(
            weight_bytes=self.size, workspace_bytes=0, context_kv_bytes=0, draft=None, draft_bytes=0, task=self.task
        )

    def load(self):
        if self.problem:
            raise self.problem
        return self.name


class Inline:
    """The workshop, without threads."""

    async def run(self, kind, work):
        return work()


class Serving:
    """A service whose model has no weights."""

    def __init__(self, held, log):
        self.held = held
        self.log = log
        self.scheduler = SimpleNamespace(alive=True, check_room=lambda others: None, stop=self.stop)
        log.append(f"load {held.offer.name}")

    def open(self):
        pass

    def stop(self, grace=0.0):
        self.scheduler.alive = False

    def close(self):
        assert not self.held.users, "it is in use"
        self.log.append(f"unload {self.held.offer.name}")


class Library(Lender):
    """A lender whose models have no weights. It records what it loads, unloads and lends, and to which request."""

    def __init__(self, offers, monkeypatch, **settings):
        async def inline(work, name):
            await asyncio.sleep(0)
            return work()

        monkeypatch.setattr(lending, "in_thread", inline)
        monkeypatch.setattr(lending, "return_free_pages", lambda: None)
        self.now = 0.0
        self.log = []
        super().__init__(Catalog(offers), Settings(**settings), clock=lambda: self.now)
        self.workshop = Inline()
        self.offers = {offer.name: offer for offer in offers}
        self.requests = []

    def _make_service(self, held, model):
        assert model == held.offer.name
        return Serving(held, self.log)

    def ask(self, name, number=""):
        """Start a request for a model. Returns its loans, and the task that waits for the model."""
        request = SimpleNamespace(loans=Loans())

        async def wait():
            await self.borrow(self.offers[name], request.loans)
            assert self.bytes <= (self.settings.memory or self.bytes)
            self.log.append(f"{name}{number}")

        request.task = asyncio.ensure_future(wait())
        self.requests.append(request)
        return request

    def told(self):
        """The records since the last call."""
        found, self.log[:] = list(self.log), []
        return found


async def settle():
    """Run the event loop until nothing more happens."""
    for _ in range(50):
        await asyncio.sleep(0)
