"""The models that a server offers. They are described and loaded on demand."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from qwen3cpu.checkpoint.gguf_parts import is_later_part
from qwen3cpu.checkpoint.hub import is_hub_id
from qwen3cpu.checkpoint.purpose import Task
from qwen3cpu.checkpoint.tensors import Quant
from qwen3cpu.engine.formats import Activations, KvFormat
from qwen3cpu.errors import Qwen3CpuError
from qwen3cpu.loading.closable_model import ClosableModel
from qwen3cpu.loading.describe import Description, describe
from qwen3cpu.model import Model, load
from qwen3cpu.packed.packed_file import SUFFIX
from qwen3cpu.system.progress_bar import Progress
from qwen3cpu.system.thread_count import resolve_threads

logger = logging.getLogger(__name__)

OWNER_SEPARATOR = "--"
"""Replaces the slash of a hub id in the name of a folder. A hub id never contains two hyphens in a row."""


@dataclass(frozen=True)
class LoadOptions:
    """How models are loaded: arguments of `qwen3cpu.load`."""

    quant: Quant | None = None
    kv: KvFormat = "f16"
    context: int | None = None
    threads: int | None = None
    cache: bool = True
    rope_scaling: Mapping[str, Any] | None = None
    task: Task | None = None
    adapters: Mapping[str, str] = field(default_factory=dict)
    drafts: Mapping[str, str] = field(default_factory=dict)
    """Name of an offered model -> its draft model."""
    drafts_from: Mapping[str, str] = field(default_factory=dict)
    """Name of an offered model -> the file of texts from which its tokens are drafted."""
    activations: Activations = "int8"


class Offer(Protocol):
    """A model that is offered."""

    name: str
    """The name for clients."""
    adapters: dict[str, str]
    """Name -> path of the adapters that it has, or gets when it is loaded."""

    @property
    def path(self) -> Path | None:
        """Its path in the folder of models; None: it is not in that folder."""

    @property
    def reloads(self) -> bool:
        """Whether it can be loaded again after it has left memory."""

    def describe(self) -> Description:
        """Describe it. The first call reads its files. Raises Qwen3CpuError when they are damaged or missing."""

    def load(self) -> Model:
        """Load the model, which may take minutes. Raises Qwen3CpuError."""


class GivenModel:
    """A model that was loaded before the server was made, and stays in memory.

    Args:
        name: the name for clients.
        model: the loaded model.
    """

    path = None
    reloads = False

    def __init__(self, name: str, model: Model) -> None:
        self.name = name
        self.adapters = {adapter: named.path for adapter, named in model.adapters.items()}
        self._model = model
        self._description = described(model)

    def describe(self) -> Description:
        """See Offer."""
        return self._description

    def load(self) -> Model:
        """See Offer."""
        return self._model


class StoredModel:
    """A model that is loaded from its files.

    Args:
        name: the name for clients.
        source: as for `qwen3cpu.load`.
        options: how it is loaded.
        path: see Offer.
    """

    reloads = True

    def __init__(self, name: str, source: str, options: LoadOptions, path: Path | None = None) -> None:
        self.name = name
        self.source = source
        self.path = path
        self.adapters = dict(options.adapters)
        self._draft = options.drafts.get(name)
        self._options = options
        self._lock = threading.Lock()
        self._description: Description | None = None

    def describe(self) -> Description:
        """See Offer."""
        with self._lock:
            if self._description is None:
                chosen = self._options
                self._description = describe(
                    self.source,
                    chosen.quant,
                    chosen.kv,
                    chosen.context,
                    chosen.rope_scaling,
                    chosen.task,
                    self._draft,
                    threads=resolve_threads(chosen.threads),
                    activations=chosen.activations,
                )
            return self._description

    def load(self, progress: Progress | None = None) -> Model:
        """See Offer."""
        chosen = self._options
        model = load(
            self.source,
            quant=chosen.quant,
            kv=chosen.kv,
            context=chosen.context,
            threads=chosen.threads,
            cache=chosen.cache,
            rope_scaling=chosen.rope_scaling,
            task=chosen.task,
            draft=self._draft,
            drafts_from=chosen.drafts_from.get(self.name),
            activations=chosen.activations,
            progress=progress,
        )
        for name, adapter in tuple(self.adapters.items()):
            self._load_adapter(model, name, adapter)
        with self._lock:
            self._description = self._description or described(model)
        return model

    def _load_adapter(self, model: Model, name: str, path: str) -> None:
        try:
            model.adapters.load(name, path)
        except (Qwen3CpuError, OSError) as error:
            if self._description is None:
                raise  # at the start of the server
            logger.warning("the adapter %s of %s is gone: %s", name, self.name, error)
            self.adapters.pop(name, None)


def described(model: ClosableModel) -> Description:
    """The description of a loaded model."""
    tokenizer, small = model.answerer.surroundings.tokenizer, model.draft_model
    return Description(
        config=model.config,
        task=model.task,
        quant=model.quant,
        context=model.context,
        weight_bytes=model.weight_bytes,
        kv_block_bytes=model.engine.kv_block_bytes,
        workspace_bytes=model.engine.memory()["workspace_bytes"],
        fingerprint=model.fingerprint,
        defaults=model.generation_defaults,
        chat_template=model.chat_template,
        thinks=tokenizer.think is not None,
        calls=tokenizer.tool_call is not None,
        draft=None if small is None else described(small),
    )


def folder_offers(folder: Path, options: LoadOptions, known: Mapping[str, StoredModel]) -> dict[str, StoredModel]:
    """The models directly below a folder, by their paths: model folders, GGUF files and packed files.

    Args:
        folder: the folder of models.
        options: how they are loaded. A packed file keeps its quant.
        known: the result of the last call. The offer of an unchanged file is taken from it.

    Raises:
        OSError: the folder cannot be read.
    """
    found: dict[str, StoredModel] = {}
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = Path(entry.path)
            if entry.name.startswith(".") or not _is_model(path):
                continue
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue  # removed meanwhile
            stamp = f"{path}\0{stat.st_ino}\0{stat.st_mtime_ns}\0{stat.st_size}"
            own = replace(options, quant=None) if path.suffix == SUFFIX else options
            found[stamp] = known.get(stamp) or StoredModel(_folder_name(path), str(path), own, path)
    return found


def _is_model(path: Path) -> bool:
    if is_later_part(path):
        return False
    return (path / "config.json").is_file() or (path.suffix in (SUFFIX, ".gguf") and path.is_file())


def _folder_name(path: Path) -> str:
    """The name of a model in the folder. A model that was fetched from the hub is named by its hub id."""
    name = path.name.removesuffix(SUFFIX)
    owner, _, rest = name.partition(OWNER_SEPARATOR)
    return f"{owner}/{rest}" if path.is_dir() and is_hub_id(f"{owner}/{rest}") else name


def task_of(offer: Offer) -> Task | None:
    """The task that an offered model was made for; None when its files cannot be read, which is logged."""
    try:
        return offer.describe().task
    except (Qwen3CpuError, OSError) as error:
        logger.warning("%s cannot be offered: %s", offer.name, error)
        return None
