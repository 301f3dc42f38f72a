"""The list of models that a server offers. Files may be added to a folder and removed while the server runs."""

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
    """Finds offers by name. Any thread may call its methods; they read files, so call them on the workshop's threads.

    Args:
        offers: the models in order. The first one that was made for a task gets the requests that name no model.
        folder: its models are offered after these.
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
        """Whether there is one model and there can never be another."""
        return self.folder is None and len(self._own) == 1

    def offers(self) -> list[Offer]:
        """All offers; the folder is read again."""
        if self.folder is not None:
            with self._lock:
                try:
                    self._stored = folder_offers(self.folder, self._options, self._stored)
                except OSError as error:
                    logger.warning("%s cannot be read: %s", self.folder, error.strerror or error)
                    self._stored = {}
        return self._known()

    def readable(self) -> list[Offer]:
        """The offers that can be described."""
        return [offer for offer in self.offers() if task_of(offer) is not None]

    def find(self, name: str | None, task: Task | None = None) -> Offer:
        """The model that a request asks for.

        Args:
            name: the name in the request; None: it has none.
            task: what the model must do. Without a name, the first model for the task is taken, or else the first.

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
        """The model that a request asks for, and its adapter, None if the name is the model's own.

        Args:
            name: the name in the request: a model's, an adapter's, or both as "model:adapter"; None: it has none.
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
        """Name -> the model and the adapter that it stands for. If two models have adapters of the same name, it means
        the first model's.
        """
        found: dict[str, tuple[Offer, str]] = {}
        for offer in self._known():
            for adapter in tuple(offer.adapters):
                found.setdefault(adapter, (offer, adapter))
                found.setdefault(f"{bare(offer.name)}:{adapter}", (offer, adapter))
        return found

    def short_names(self) -> dict[str, tuple[Offer, str]]:
        """One name for each adapter: its own, or "model:adapter" if that is taken."""
        adapted = self.adapted()
        names = {}
        for offer in self._known():
            for adapter in tuple(offer.adapters):
                short = adapted[adapter] == (offer, adapter) and _named(self._known(), adapter) is None
                names[adapter if short else f"{bare(offer.name)}:{adapter}"] = (offer, adapter)
        return names

    def find_base(self, name: str) -> tuple[Offer, str]:
        """The model that gets a new adapter, and the adapter's own name. name: the adapter's name, or "model:adapter".

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
    """The hub id of a released model, whose name has many spellings; any other name without the tag."""
    return canonical(bare(name))
