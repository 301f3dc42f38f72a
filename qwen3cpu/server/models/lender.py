"""Lends the models of a server to requests, loads them on demand, and takes them out of memory again.

Everything here runs on the event loop, except for loading and unloading, which have their own threads. A request keeps
its model until its response has been sent, and a model leaves memory only after all requests have given it back.

Requests wait in one line, first come, first served. When the model of the first one does not fit, the models that were
least recently used must leave memory: their requests finish, and later requests for them wait in the line. A loaded
model is lent to every request in the line that wants it. So each load serves at least one request, and no request waits
for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from functools import partial
from time import monotonic
from typing import Any

from qwen3cpu.model import Model
from qwen3cpu.server.models.catalog import Catalog
from qwen3cpu.server.models.errors import ModelInUseError
from qwen3cpu.server.models.held import HeldModel
from qwen3cpu.server.models.loans import Loans
from qwen3cpu.server.models.long_work import in_thread
from qwen3cpu.server.models.memory import check_fits, model_bytes, own_settings
from qwen3cpu.server.models.offers import Offer
from qwen3cpu.server.models.places import Place, Places
from qwen3cpu.server.scheduling.jobs import ShuttingDownError
from qwen3cpu.server.scheduling.service import Service
from qwen3cpu.server.scheduling.turns import Turns
from qwen3cpu.server.scheduling.workshop import Workshop
from qwen3cpu.server.settings import Settings
from qwen3cpu.system.allocator import return_free_pages

logger = logging.getLogger(__name__)

KEEP_SECONDS = 300.0
"""Seconds that an unused model stays in memory by default if there are several. Ollama has the same default."""


class _Waiter:
    def __init__(self, held: HeldModel, loans: Loans) -> None:
        self.held = held
        self.loans = loans
        self.lent: asyncio.Future[HeldModel] = asyncio.get_running_loop().create_future()


class Lender:
    """Lends the models of a server to requests.

    Args:
        catalog: the models.
        settings: the settings of the server.
        loaded: models that are in memory already, by name; they are removed from this dict.
        clock: returns seconds.

    Raises:
        ArgumentError: the settings do not fit a loaded model.
        ModelTooLargeError: the memory does not hold one.
    """

    def __init__(
        self,
        catalog: Catalog,
        settings: Settings,
        loaded: dict[str, Model] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.catalog = catalog
        self.settings = settings
        self.workshop = Workshop()
        """Threads for work on requests."""
        self._places = Places(settings.queue + settings.parallel)
        self.at_stop: list[Callable[[], None]] = []
        """Functions that `stop` calls."""
        self._clock = clock
        self._turns = Turns()
        self._held: dict[str, HeldModel] = {}
        self._line: list[_Waiter] = []
        self._stopping = False
        self._work: set[asyncio.Task[None]] = set()
        for offer in catalog.offers():
            if loaded and offer.name in loaded:
                check_fits(offer, settings)
                held = self._hold(offer)
                held.bytes = model_bytes(offer.describe(), settings)
                self._put_in(held, self._make_service(held, loaded.pop(offer.name)))

    # The state

    @property
    def keeps(self) -> bool:
        """Whether there is only one model, which stays in memory whatever a request says."""
        return self.settings.model_keep_alive is None and self.catalog.only_one

    @property
    def single(self) -> HeldModel | None:
        """The model of a server that has only one, if it is in memory and works."""
        if not self.catalog.only_one:
            return None
        return next((held for held in self.loaded() if not held.broken), None)

    @property
    def stopping(self) -> bool:
        """Whether requests are refused."""
        return self._stopping

    @property
    def failed(self) -> bool:
        """Whether a model that cannot be loaded again has stopped working."""
        return any(held.dead and not held.offer.reloads for held in self.known())

    @property
    def left(self) -> int:
        """The number of requests that have not ended."""
        services = [held.service for held in self.known() if held.service is not None]
        under_way = sum(service.scheduler.running + service.scheduler.queued for service in services)
        return under_way + self.preparing

    @property
    def preparing(self) -> int:
        """The number of requests that have arrived and are not with a scheduler yet."""
        return self._places.unsorted + sum(held.preparing for held in self.known())

    @property
    def waiting(self) -> int:
        """The number of requests that wait for a model."""
        return len(self._line)

    @property
    def bytes(self) -> int:
        """Bytes that the models in memory count for."""
        return sum(held.bytes for held in self.known() if held.state != "absent")

    def is_loaded(self, offer: Offer) -> bool:
        """Whether a model is in memory."""
        return offer.name in self._held and self._held[offer.name].state == "loaded"

    def known(self) -> list[HeldModel]:
        """The models that are or were in memory, or are wanted."""
        return list(self._held.values())

    def loaded(self) -> list[HeldModel]:
        """The models that are in memory."""
        return [held for held in self.known() if held.state == "loaded"]

    # For requests

    def place(self) -> AbstractContextManager[Place]:
        """Count a request while it is prepared. Raises QueueFullError, ShuttingDownError if it cannot be served."""
        if self._stopping:
            raise ShuttingDownError("the server is shutting down")
        return self._places.place(self.single)

    async def borrow(self, offer: Offer, loans: Loans) -> HeldModel:
        """Wait until a model is in memory, and return it. It stays there until `loans` give it back.

        Raises:
            ShuttingDownError: the server stops. ModelTooLargeError: the memory limit is too small. Qwen3CpuError: see
            `qwen3cpu.load`.
        """
        if self._stopping:
            raise ShuttingDownError("the server is shutting down")
        if self._hold(offer).state == "absent":
            # The first call reads the model's files.
            await self.workshop.run("short", partial(check_fits, offer, self.settings))
        held = self._hold(offer)
        waiter = _Waiter(held, loans)
        self._line.append(waiter)
        self._arrange()
        try:
            return await waiter.lent
        finally:
            if waiter in self._line:
                self._line.remove(waiter)
                self._arrange()

    def keep(self, offer: Offer, seconds: float) -> None:
        """Set how many seconds a model stays in memory after its last use; less than 0: for ever."""
        held = self._hold(offer)
        held.keep = None if seconds < 0 else seconds
        self.tick()

    def check_unused(self, offer: Offer) -> None:
        """Raise ModelInUseError when a request uses a model, or waits for it."""
        held = self._held.get(offer.name)
        if held is not None and (held.users or self._is_wanted(held)):
            raise ModelInUseError(f"the model {offer.name!r} is in use")

    async def give_up(self, offer: Offer) -> None:
        """Unload a model as soon as no request uses it. If none uses it, wait until it is unloaded."""
        held = self._held.get(offer.name)
        if held is None:
            return
        held.keep = 0.0
        if held.idle:
            self._unload(held)
        while held.state == "leaving memory":
            await asyncio.wait(set(self._work), return_when=asyncio.FIRST_COMPLETED)
        if held.state == "absent" and not self._is_wanted(held):
            self._held.pop(offer.name, None)

    # For the server

    def open(self) -> None:
        """Start the loaded models. Call it on the event loop that the endpoints run on."""
        for held in self.loaded():
            assert held.service is not None
            held.service.open()

    def tick(self) -> None:
        """Unload the models whose time without use is over."""
        now = self._clock()
        for held in self.loaded():
            expires = held.expires()
            if expires is not None and held.idle and now >= expires:
                self._unload(held)

    def seconds_left(self, held: HeldModel) -> float | None:
        """Seconds until a model leaves memory if no request asks for it; None: it stays."""
        expires = held.expires()
        if expires is None:
            return None
        return (held.keep or 0.0) if held.users else max(0.0, expires - self._clock())

    def stop(self, grace: float = 0.0) -> None:
        """Refuse new requests. Requests that have a model may continue for `grace` seconds."""
        self._stopping = True
        for stop in self.at_stop:
            stop()
        for held in self.loaded():
            assert held.service is not None
            held.service.scheduler.stop(grace)
        line, self._line = self._line, []
        for waiter in line:
            _refuse(waiter, ShuttingDownError("the server is shutting down"))

    async def close(self) -> None:
        """Stop, and wait until the schedulers have ended."""
        if not self._stopping:
            self.stop()
        await asyncio.gather(*(asyncio.to_thread(held.service.close) for held in self.loaded() if held.service))
        self.workshop.close()

    # Loading and unloading

    def _is_wanted(self, held: HeldModel) -> bool:
        return any(waiter.held is held for waiter in self._line)

    def _hold(self, offer: Offer) -> HeldModel:
        held = self._held.get(offer.name)
        if held is None:
            held = self._held[offer.name] = HeldModel(offer, self._default_keep())
        if held.state == "absent":
            held.offer = offer  # its files may have changed
        return held

    def _default_keep(self) -> float | None:
        seconds = self.settings.model_keep_alive
        if seconds is None:
            return None if self.catalog.only_one else KEEP_SECONDS
        return None if seconds < 0 else seconds

    def _make_service(self, held: HeldModel, model: Model) -> Service:
        service = Service(model, own_settings(held.offer, self.settings), self.workshop, self._turns)
        service.scheduler.stats = held.stats
        return service

    def _put_in(self, held: HeldModel, service: Service) -> None:
        held.service = service
        held.state = "loaded"
        held.last_used = self._clock()

    def _arrange(self) -> None:
        """Lend loaded models to the requests in the line, and make room for the first model that is not loaded."""
        for held in self.known():
            held.wanted_out = False
        full = self._stopping
        for waiter in list(self._line):
            held = waiter.held
            if waiter not in self._line:
                continue  # loading its model has failed
            if held.state == "loaded" and held.broken:
                if held.idle:
                    self._unload(held)  # it is loaded again afterwards
            elif held.state == "loaded" and not held.wanted_out:
                self._lend(waiter)
            elif held.state == "absent" and not full:
                full = not self._find_room(held)

    def _lend(self, waiter: _Waiter) -> None:
        self._line.remove(waiter)
        held = waiter.held
        if waiter.loans.over or waiter.lent.done():
            return
        held.users += 1
        held.last_used = self._clock()
        waiter.loans.add(partial(self._take_back, held))
        waiter.lent.set_result(held)

    def _take_back(self, held: HeldModel) -> None:
        held.users -= 1
        held.last_used = self._clock()
        self.tick()
        self._arrange()

    def _find_room(self, held: HeldModel) -> bool:
        """Start to load a model if there is room; otherwise mark the models that must leave memory for it."""
        try:
            needed = model_bytes(held.offer.describe(), self.settings)  # does not read files: `borrow` has called it
        except Exception as error:
            self._fail(held, error)
            return True
        missing = 0 if self.settings.memory is None else self.bytes + needed - self.settings.memory
        if missing <= 0:
            held.bytes = needed
            held.state = "loading"
            held.keep = self._default_keep()
            self._start(self._load(held))
            return True
        missing -= sum(other.bytes for other in self.known() if other.state == "leaving memory")
        candidates = [other for other in self.loaded() if other.offer.reloads]
        for other in sorted(candidates, key=lambda other: (other.users > 0, other.last_used)):
            if missing <= 0:
                break
            other.wanted_out = True
            missing -= other.bytes
            if other.idle:
                self._unload(other)
        return False

    async def _load(self, held: HeldModel) -> None:
        def load() -> Service:
            return self._make_service(held, held.offer.load())

        logger.info("loading %s", held.offer.name)
        try:
            service = await in_thread(load, f"qwen3cpu-load-{held.offer.name}")
        except Exception as error:
            held.state, held.bytes = "absent", 0
            self._fail(held, error)
            self._arrange()
            return
        self._put_in(held, service)
        service.open()
        if self._stopping:
            service.scheduler.stop()
        for waiter in [waiter for waiter in self._line if waiter.held is held]:
            self._lend(waiter)
        self._arrange()

    def _fail(self, held: HeldModel, error: Exception) -> None:
        """Raise an error in all requests that wait for a model."""
        for waiter in [waiter for waiter in self._line if waiter.held is held]:
            self._line.remove(waiter)
            _refuse(waiter, error)

    def _unload(self, held: HeldModel) -> None:
        service, held.service = held.service, None
        assert service is not None
        assert not held.users, "a model that is in use must not leave memory"
        held.state = "leaving memory"
        logger.info("%s leaves memory", held.offer.name)
        self._start(self._close(held, service))

    async def _close(self, held: HeldModel, service: Service) -> None:
        close = partial(_close_service, [service])
        del service  # the thread has the last reference
        try:
            await in_thread(close, f"qwen3cpu-unload-{held.offer.name}")
        finally:
            held.state, held.bytes = "absent", 0
            self._arrange()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)


def _close_service(services: list[Service]) -> None:
    """End a service and return its memory to the system."""
    services.pop().close()
    return_free_pages()


def _refuse(waiter: _Waiter, error: Exception) -> None:
    if not waiter.lent.done():
        waiter.lent.set_exception(error)
