"""The models on this machine: in the Hugging Face cache, as packed copies in ours, and inside the package."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qwen3cpu.checkpoint.hub import cached_folder, has_safetensors
from qwen3cpu.checkpoint.known_models import canonical, find_known
from qwen3cpu.checkpoint.purpose import GENERATION, Task
from qwen3cpu.errors import CheckpointError
from qwen3cpu.loading.locate import EMBEDDED, locate
from qwen3cpu.loading.sources import read_unpacked_config
from qwen3cpu.packed.cache import CacheEntry, cache_folder, entries, remove
from qwen3cpu.system.use_lock import alone_with

if TYPE_CHECKING:
    from huggingface_hub import CachedRepoInfo, HFCacheInfo

INDEX: Final = "model.safetensors.index.json"


@dataclass(frozen=True)
class Installed:
    """A model on this machine.

    Attributes:
        name: what `load` takes.
        path: its folder; None: only packed copies are here.
        task: what it was made for, as far as its name says.
        bytes: of its files, without the packed copies.
        used: when it was fetched or last loaded, in seconds since 1970.
        complete: whether all of its files are here.
        packed: copies in the cache of packed models.
        inside: whether it is a part of the package.
        snapshots: folders of all its versions in the Hugging Face cache, by their commits.
    """

    name: str
    path: Path | None
    task: Task
    bytes: int
    used: float
    complete: bool
    packed: tuple[CacheEntry, ...]
    inside: bool = False
    snapshots: dict[str, Path] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of everything that removing it frees."""
        return self.bytes + sum(entry.size for entry in self.packed)


def installed() -> list[Installed]:
    """All models that are here, by name; those inside the package come last.

    Raises RuntimeError for a user without a home directory.
    """
    packed: dict[str, list[CacheEntry]] = {}
    for entry in entries(cache_folder()):
        if entry.state == "current" and entry.source is not None:
            packed.setdefault(entry.source, []).append(entry)
    found = {model.name: model for model in _fetched(packed)}
    for name, copies in packed.items():
        if name not in found and name not in EMBEDDED:
            used = max(entry.used for entry in copies)
            found[name] = Installed(name, None, _task(name), 0, used, True, tuple(copies))
    inside = []
    for name in EMBEDDED:
        folder = locate(name).path
        size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
        inside.append(Installed(name, folder, _task(name), size, 0.0, True, (), inside=True))
    return [*sorted(found.values(), key=lambda model: model.name.lower()), *inside]


def uninstall(model: Installed) -> int:
    """Remove a model's files and packed copies; returns how many bytes that freed.

    Raises:
        InUseError: a process uses it.
        OSError: the file system refuses.
    """
    with alone_with([*model.snapshots.values(), *(entry.path for entry in model.packed)]):
        freed = 0
        for entry in model.packed:
            freed += entry.size if remove(entry) else 0
        cache = _hub_cache() if model.snapshots else None
        if cache is not None:
            strategy = cache.delete_revisions(*model.snapshots)
            strategy.execute()
            freed += strategy.expected_freed_size
        return freed


def _fetched(packed: dict[str, list[CacheEntry]]) -> Iterator[Installed]:
    """The Qwen3 models in the Hugging Face cache, which may hold many others."""
    cache = _hub_cache()
    for repo in () if cache is None else cache.repos:
        if repo.repo_type != "model":
            continue
        folder = _newest(repo)
        try:
            if folder is None:
                continue
            read_unpacked_config(folder)
        except CheckpointError:
            continue
        copies = tuple(packed.get(repo.repo_id, ()))
        yield Installed(
            name=repo.repo_id,
            path=folder,
            task=_task(repo.repo_id),
            bytes=repo.size_on_disk,
            used=max([repo.last_modified, *(entry.used for entry in copies)]),
            complete=has_all_weights(folder),
            packed=copies,
            snapshots={revision.commit_hash: revision.snapshot_path for revision in repo.revisions},
        )


def _newest(repo: CachedRepoInfo) -> Path | None:
    """The folder of the version that `load` takes without a network."""
    main = repo.refs.get("main")
    if main is not None:
        return main.snapshot_path
    newest = max(repo.revisions, key=lambda revision: revision.last_modified, default=None)
    return None if newest is None else newest.snapshot_path


def is_fetched(name: str) -> bool:
    """Whether all files of a model on the hub are here, by its id or the name of a released one."""
    folder = cached_folder(canonical(name))
    return folder is not None and has_all_weights(folder)


def has_all_weights(folder: Path) -> bool:
    """Whether a model folder has all files of weights, as far as their names say."""
    names = {path.name for path in folder.iterdir() if path.exists()}
    if INDEX in names:
        with contextlib.suppress(OSError, ValueError, KeyError, AttributeError):
            return set(json.loads((folder / INDEX).read_bytes())["weight_map"].values()) <= names
        return False
    return has_safetensors(names) or any(name.startswith("pytorch_model") and name.endswith(".bin") for name in names)


def _task(name: str) -> Task:
    known = find_known(name)
    return GENERATION.by_name(name).task if known is None else known.model.task


def _hub_cache() -> HFCacheInfo | None:
    """The Hugging Face cache; None when there is none."""
    # Imported here: it takes a few tenths of a second, and other commands do not need it.
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return scan_cache_dir()
    except (CacheNotFound, OSError):
        return None
