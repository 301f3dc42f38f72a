"""Fetches models from the Hugging Face hub into the folder of models, and removes them from it.

A model is fetched into a hidden folder, which is renamed when all files are there and have been checked. So an
incomplete model is never offered, and a new pull continues with the files of the last one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import secrets
import shutil
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from time import monotonic
from typing import Any

from qwen3cpu.checkpoint.hub import is_hub_id
from qwen3cpu.checkpoint.hub_files import (
    HubFile,
    HubModel,
    RefusedError,
    StopFetchingError,
    fetch_file,
    find_model,
)
from qwen3cpu.checkpoint.known_models import find_known, nearest_known
from qwen3cpu.errors import ArgumentError, CheckpointError, Qwen3CpuError
from qwen3cpu.loading.open import read_config
from qwen3cpu.loading.sources import open_unpacked
from qwen3cpu.server.models.catalog import bare
from qwen3cpu.server.models.offers import OWNER_SEPARATOR

logger = logging.getLogger(__name__)

HUB_HOSTS = ("hf.co/", "huggingface.co/")
"""Prefixes of the names of hub models in Ollama."""
STAGING = ".pulling"
"""The folder of models that are being fetched."""
DELETED = ".deleted-"
"""Prefix of the names of folders that are being removed."""
COMMIT = ".qwen3cpu-commit"
"""File in a fetched model that holds the commit of its repository."""
NOTE_SECONDS = 0.25
"""Seconds between two lines of progress."""


def hub_id(name: str) -> str:
    """The hub id for a name from a client, which is the name of a released model or a hub id.

    Raises ArgumentError for any other name.
    """
    found = bare(name)
    for host in HUB_HOSTS:
        found = found.removeprefix(host)
    known = find_known(found)
    if known is not None:
        return known.hub_id
    if not is_hub_id(found):
        near = nearest_known(found[:200])
        raise ArgumentError(
            "model: expected the name of a released model, such as qwen3:0.6b, or the id of a model on the Hugging "
            f"Face hub, found {name[:200]!r}{'' if near is None else f'; did you mean {near!r}?'}"
        )
    return found


class Pull:
    """The download of a model. Several requests may follow it, and it stops when none is left.

    Args:
        id: the hub id.
        folder: the folder of models.
        before: an earlier download of the model that has been stopped. This one starts when it is over.
    """

    def __init__(self, id: str, folder: Path, before: Pull | None = None) -> None:
        self.id = id
        self.refused = False
        """Whether it failed because the hub refused access to the model."""
        self._folder = folder
        self._before = before
        self._lines: list[dict[str, Any]] = []
        self._done = False
        self._followers: list[asyncio.Event] = []
        self._stopped = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=f"qwen3cpu-pull-{id}", daemon=True)

    def start(self) -> None:
        """Start the download."""
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self._done

    @property
    def stopped(self) -> bool:
        """Whether it is over, or ends soon."""
        return self._done or self._stopped

    def stop(self) -> None:
        """End it soon, even if requests follow it. Fetched files are kept."""
        self._stopped = True

    async def follow(self) -> AsyncGenerator[dict[str, Any], None]:
        """Its progress from beginning to end, as lines of Ollama's API. The last one is success or an error."""
        news = asyncio.Event()
        self._followers.append(news)
        told = 0
        try:
            while True:
                news.clear()
                while told < len(self._lines):
                    told += 1
                    yield self._lines[told - 1]
                if self._done:
                    return
                await news.wait()
        finally:
            self._followers.remove(news)
            if not self._followers:
                self.stop()

    # On its thread

    def _run(self) -> None:
        try:
            self._fetch()
            last = {"status": "success"}
        except StopFetchingError:
            last = {"error": f"{self.id}: stopped; a new pull goes on with what has been fetched"}
        except RefusedError as reason:
            self.refused = True
            last = {"error": str(reason)}
        except (Qwen3CpuError, OSError) as reason:
            last = {"error": self._explained(reason)}
        except Exception:
            logger.exception("a pull has failed")
            last = {"error": "internal error"}
        self._tell(last, done=True)

    def _explained(self, reason: Exception) -> str:
        if isinstance(reason, OSError) and reason.errno == errno.ENOSPC:
            return (
                f"{self.id}: no space is left on the disk of the folder of models; a new pull goes on with what has "
                "been fetched"
            )
        return f"{self.id}: {reason.strerror or reason}" if isinstance(reason, OSError) else str(reason)

    def _fetch(self) -> None:
        self._tell({"status": "pulling manifest"})
        if self._before is not None:
            self._before._thread.join()
            self._before = None
        model = find_model(self.id)
        name = self.id.replace("/", OWNER_SEPARATOR)
        target, staging = self._folder / name, self._folder / STAGING / name
        if _is_version(target, model):
            return
        if staging.exists() and not _is_version(staging, model):
            shutil.rmtree(staging)
        staging.mkdir(parents=True, exist_ok=True)
        (staging / COMMIT).write_text(model.commit, encoding="utf-8")
        self._check_space(model, staging)
        # config.json comes first, because it says whether the model can be run.
        for file in sorted(model.files, key=lambda file: (file.name != "config.json", file.size)):
            self._fetch_file(model, file, staging)
            if file.name == "config.json":
                read_config(staging)
        self._tell({"status": "verifying sha256 digest"})  # fetch_file has done it
        if not any(file.name.endswith((".safetensors", ".bin")) for file in model.files):
            raise CheckpointError(
                f"{self.id}: expected a model with weights in safetensors or of torch.save, found none"
            )
        open_unpacked(staging, self.id)
        self._tell({"status": "writing manifest"})
        _put_in_place(staging, target)

    def _fetch_file(self, model: HubModel, file: HubFile, staging: Path) -> None:
        about = {"status": f"pulling {file.name}", "digest": file.digest, "total": file.size}
        noted = monotonic() - NOTE_SECONDS

        def note(size: int) -> None:
            nonlocal noted
            if self._stopped:
                raise StopFetchingError
            if monotonic() >= noted + NOTE_SECONDS:
                noted = monotonic()
                self._tell({**about, "completed": size})

        note(0)
        fetch_file(model, file, staging, note)
        self._tell({**about, "completed": file.size})

    def _check_space(self, model: HubModel, staging: Path) -> None:
        """Raise OSError when the files do not fit on the disk. Called before fetching, which may take hours."""
        there = sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())
        missing = sum(file.size for file in model.files) - there
        free = shutil.disk_usage(staging).free
        if missing > free:
            raise OSError(f"{missing} bytes are needed in the folder of models, and {free} are free")

    def _tell(self, line: dict[str, Any], *, done: bool = False) -> None:
        def tell() -> None:
            self._lines.append(line)
            self._done = self._done or done
            for news in self._followers:
                news.set()

        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(tell)


class Pulls:
    """The pulls of a server.

    Args:
        folder: the folder of models.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._under_way: dict[str, Pull] = {}

    def pull(self, id: str) -> Pull:
        """The running pull of a model; it is started if there is none."""
        self._under_way = {each: pull for each, pull in self._under_way.items() if not pull.done}
        before = self._under_way.get(id)
        if before is None or before.stopped:
            self._under_way[id] = Pull(id, self._folder, before)
            self._under_way[id].start()
        return self._under_way[id]

    def stop(self) -> None:
        """End all pulls soon."""
        for pull in self._under_way.values():
            pull.stop()


def take_away(path: Path) -> Callable[[], None]:
    """Hide a model of the folder at once. Returns a function that removes its files, which may take a while."""
    hidden = path.with_name(f"{DELETED}{secrets.token_hex(8)}")
    path.rename(hidden)
    return lambda: _remove(hidden)


def remove_leftovers(folder: Path) -> None:
    """Remove the hidden models that an earlier process could not remove before its end."""
    for path in folder.glob(f"{DELETED}*"):
        _remove(path)


def _remove(path: Path) -> None:
    """Remove a file, a folder, or a link without its target."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_version(folder: Path, model: HubModel) -> bool:
    try:
        return (folder / COMMIT).read_text(encoding="utf-8") == model.commit
    except OSError:
        return False


def _put_in_place(staging: Path, target: Path) -> None:
    """Give a model its final name, and remove an older version."""
    remove = take_away(target) if os.path.lexists(target) else None
    staging.rename(target)
    if remove is not None:
        remove()
