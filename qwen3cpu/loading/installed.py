"""Lists and removes the models on this machine: in the Hugging Face cache, in our cache, and inside the package."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qwen3cpu.checkpoint.hub import cached_folder, has_safetensors
from qwen3cpu.checkpoint.hub_gguf import HubGguf, choose, files_in, hub_name, models_in
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
        path: its folder, or the first file of a model in GGUF; None: only packed copies are here.
        task: what it was made for, judged by its name.
        bytes: size of its files, without the packed copies.
        used: when it was fetched or last loaded, in seconds since 1970.
        complete: whether all of its files are here.
        packed: its copies in the cache of packed models.
        inside: whether it is a part of the package.
        files: the files of a model in GGUF, whose folder may hold other models too. Empty: the folder is the model.
        snapshots: commit -> folder, of all its versions in the Hugging Face cache.
    """

    name: str
    path: Path | None
    task: Task
    bytes: int
    used: float
    complete: bool
    packed: tuple[CacheEntry, ...]
    inside: bool = False
    files: tuple[Path, ...] = ()
    snapshots: dict[str, Path] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of everything that removing it frees."""
        return self.bytes + sum(entry.size for entry in self.packed)


def installed() -> list[Installed]:
    """Return all models on this machine, sorted by name; those inside the package come last.

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
    """Remove a model's files and packed copies, and return the number of bytes that this freed.

    Raises:
        InUseError: a process uses the model.
        OSError: a file cannot be removed.
    """
    with alone_with([*model.snapshots.values(), *model.files[:1], *(entry.path for entry in model.packed)]):
        freed = 0
        for entry in model.packed:
            freed += entry.size if remove(entry) else 0
        for file in model.files:
            stored = file.resolve()  # the cache holds links to files that are named by their digests
            freed += stored.stat().st_size
            stored.unlink()
            file.unlink(missing_ok=True)
        if any(files_in(folder) or has_all_weights(folder) for folder in model.snapshots.values() if model.files):
            return freed
        cache = _hub_cache() if model.snapshots else None
        if cache is not None:
            strategy = cache.delete_revisions(*model.snapshots)
            strategy.execute()
            freed += strategy.expected_freed_size
        return freed


def _fetched(packed: dict[str, list[CacheEntry]]) -> Iterator[Installed]:
    """Yield the Qwen3 models in the Hugging Face cache, which may hold many others."""
    cache = _hub_cache()
    for repo in () if cache is None else cache.repos:
        if repo.repo_type != "model":
            continue
        folder = _newest(repo)
        if folder is None:
            continue
        in_gguf = [model for model in models_in(files_in(folder)) if model.complete]
        yield from _in_gguf(repo, folder, in_gguf, packed)
        if (in_gguf and not has_all_weights(folder)) or not _is_ours(folder):
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


def _in_gguf(
    repo: CachedRepoInfo, folder: Path, models: list[HubGguf], packed: dict[str, list[CacheEntry]]
) -> Iterator[Installed]:
    """Yield the Qwen3 models in GGUF of a repository."""
    for model in models:
        files = tuple(folder / name for name in model.files)
        if not _is_ours(files[0]):
            continue
        name = f"{repo.repo_id}:{model.label}"
        copies = tuple(packed.get(name, ()))
        yield Installed(
            name=name,
            path=files[0],
            task=_task(repo.repo_id),
            bytes=sum(file.stat().st_size for file in files),
            used=max([*(file.stat().st_mtime for file in files), *(entry.used for entry in copies)]),
            complete=True,
            packed=copies,
            files=files,
            snapshots={revision.commit_hash: revision.snapshot_path for revision in repo.revisions},
        )


def _is_ours(path: Path) -> bool:
    """Whether a folder or file has the configuration of a model that this package runs."""
    try:
        read_unpacked_config(path)
    except CheckpointError:
        return False
    return True


def _newest(repo: CachedRepoInfo) -> Path | None:
    """The folder of the version that `load` takes without a network."""
    main = repo.refs.get("main")
    if main is not None:
        return main.snapshot_path
    newest = max(repo.revisions, key=lambda revision: revision.last_modified, default=None)
    return None if newest is None else newest.snapshot_path


def is_fetched(name: str) -> bool:
    """Whether all files of a hub model are here. `name` is a hub id or the name of a released model."""
    on_hub = hub_name(canonical(name))
    if on_hub is None:
        return False
    folder = cached_folder(on_hub.repo)
    if folder is None:
        return False
    if on_hub.choice is None and has_all_weights(folder):
        return True
    try:
        return choose(on_hub, models_in(files_in(folder))).complete
    except CheckpointError:
        return False


def named(name: str, here: Sequence[Installed]) -> Installed | None:
    """Return the model on this machine that a text names, or None."""
    wanted = {name} if os.path.exists(os.path.expanduser(name)) else {name, canonical(name)}
    found = next((model for model in here if model.name in wanted), None)
    on_hub = hub_name(name)
    if found is not None or on_hub is None:
        return found
    of_repo = [model for model in here if model.files and model.name.partition(":")[0] == on_hub.repo]
    if on_hub.choice is not None:
        of_repo = [model for model in of_repo if model.name.partition(":")[2].lower() == on_hub.choice.lower()]
    return of_repo[0] if len(of_repo) == 1 else None


def has_all_weights(folder: Path) -> bool:
    """Whether a model folder has all weight files, judged by their names."""
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
    # Imported here because it takes a few tenths of a second, and other commands do not need it.
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return scan_cache_dir()
    except (CacheNotFound, OSError):
        return None
