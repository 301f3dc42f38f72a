"""The list of models that a server offers. The files in a folder may come and go meanwhile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from qwen3cpu.checkpoint.known_models import canonical
from qwen3cpu.checkpoint.purpose import Task
from qwen3cpu.errors import ArgumentError
from qwen3cpu.server.models.errors import UnknownModelError
from qwen3cpu.server.models.offers import LoadOptions, Offer, StoredModel, folder_offers, task_of

logger = logging.getLogger(__name__)

DEFAULT_TAG = ":latest"
"""What Ollama adds to a name without a tag."""


class Catalog:
    """Offers by name. Its methods read files: call them on a thread of the workshop. Any thread may.

    Args:
        offers: in their order; the first ones that can do a job do it for requests that name no model.
        folder: whose models are offered after these.
        options: how models of the folder are loaded.

    Raises:
        ArgumentError: two offers with one name; the folder cannot be read.
    """

    def __init__(self, offers: Sequence[Offer], folder: Path | None = None, options: LoadOptions | None = None) -> None:
        names = [bare(offer.name) for offer in offers]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ArgumentError(f"--model: expected models with different names, found {twice[0]!r} twice")
        self.folder = folder
        self._own = list(offers)
        self._options = options or LoadOptions()
        self._lock = threading.Lock()
        self._stored: dict[str, StoredModel] = {}
        if folder is not None:
            try:
                self._stored = folder_offers(folder, self._options, {})
            except OSError as error:
                raise ArgumentError(f"--models-dir: {folder} cannot be read: {error.strerror or error}") from None

    @property
    def only_one(self) -> bool:
        """Whether there is one model and never another."""
        return self.folder is None and len(self._own) == 1

    def offers(self) -> list[Offer]:
        """All, as they are now."""
        if self.folder is not None:
            with self._lock:
                try:
                    self._stored = folder_offers(self.folder, self._options, self._stored)
                except OSError as error:
                    logger.warning("%s cannot be read: %s", self.folder, error.strerror or error)
                    self._stored = {}
        return self._known()

    def readable(self) -> list[Offer]:
        """Those that can be described."""
        return [offer for offer in self.offers() if task_of(offer) is not None]

    def find(self, name: str | None, task: Task | None = None) -> Offer:
        """The model that a request asks for.

        Args:
            name: in the request; None: there is none.
            task: what the model has to do; without a name the first that can do it is taken, or else the first.

        Raises:
            UnknownModelError: there is no such model.
        """
        known = self._known()
        if name is None:
            if len(known) != 1:
                known = self.offers()
            fitting = (offer for offer in known if len(known) == 1 or task is None or task_of(offer) == task)
            offer = next(fitting, known[0] if known else None)
        else:
            offer = _named(known, name)
            if self.folder is not None and (offer is None or (offer.path is not None and not offer.path.exists())):
                known = self.offers()
                offer = _named(known, name)
        if offer is None:
            raise UnknownModelError(name or "", [each.name for each in known])
        return offer

    def find_adapted(self, name: str | None, task: Task | None = None) -> tuple[Offer, str | None]:
        """The model that a request asks for, and its adapter, None where the name is the model's own.

        Args:
            name: in the request: a model's, an adapter's, or both as "model:adapter"; None: there is none.
            task: as for `find`.

        Raises:
            UnknownModelError: there is no such model or adapter.
        """
        if name is not None and _named(self._known(), name) is None:
            found = self.adapted().get(bare(name))
            if found is not None:
                return found
        try:
            return self.find(name, task), None
        except UnknownModelError as unknown:
            raise UnknownModelError(unknown.name, [*unknown.known, *self.short_names()]) from None

    def adapted(self) -> dict[str, tuple[Offer, str]]:
        """The model and the adapter of each name that stands for both. Where two models have an adapter of one name, it
        is that of the first one.
        """
        found: dict[str, tuple[Offer, str]] = {}
        for offer in self._known():
            for adapter in tuple(offer.adapters):
                found.setdefault(adapter, (offer, adapter))
                found.setdefault(f"{bare(offer.name)}:{adapter}", (offer, adapter))
        return found

    def short_names(self) -> dict[str, tuple[Offer, str]]:
        """One name for each adapter: its own, or where another has that, the long one."""
        adapted = self.adapted()
        names = {}
        for offer in self._known():
            for adapter in tuple(offer.adapters):
                short = adapted[adapter] == (offer, adapter) and _named(self._known(), adapter) is None
                names[adapter if short else f"{bare(offer.name)}:{adapter}"] = (offer, adapter)
        return names

    def find_base(self, name: str) -> tuple[Offer, str]:
        """The model that gets a new adapter, and the adapter's own name. name: of the adapter, or "model:adapter".

        Raises:
            UnknownModelError: there is no such model. ArgumentError: a model has the name.
        """
        base, _, own = name.rpartition(":")
        offer = self.find(base or None, "generation")
        if _named(self._known(), own) is not None:
            raise ArgumentError(f"lora_name: expected a name that no model has, found {own!r}")
        return offer, own

    def _known(self) -> list[Offer]:
        found = {bare(offer.name): offer for offer in self._own}
        for offer in self._stored.values():
            found.setdefault(bare(offer.name), offer)
        return list(found.values())


def bare(name: str) -> str:
    """A name without the tag that clients of Ollama add."""
    return name.removesuffix(DEFAULT_TAG)


def _named(offers: Sequence[Offer], name: str) -> Offer | None:
    for same in (bare, as_released):
        for offer in offers:
            if same(offer.name) == same(name):
                return offer
    return None


def as_released(name: str) -> str:
    """The hub id of a released model, which has many spellings; other names without the tag."""
    return canonical(bare(name))
