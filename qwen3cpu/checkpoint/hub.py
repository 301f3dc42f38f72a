"""Fetches a model from the Hugging Face hub into the hub's own cache. An id is checked before any request."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Final

from qwen3cpu.errors import DownloadError

_PART: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_ID: Final = re.compile(rf"{_PART}/{_PART}")
WHOLE: Final = ("*.json", "*.safetensors", "*.jinja", "[0-9]_*/config.json")
TORCH_FILES: Final = ("pytorch_model*.bin",)
"""Files of torch.save. They are fetched only if a repository has no safetensors. Most repositories have both."""
CONFIG: Final = ("config.json",)
QUICK_SECONDS: Final = 0.5
"""A step that takes less, such as asking whether a model has changed, shows no progress bar."""
OTHER_FOLDERS: Final = ("[!0-9]*/*",)
"""Folders inside a repository, which hold copies in other formats."""


def is_hub_id(source: str) -> bool:
    """Whether `source` has the form of a hub id, "owner/name", by the hub's own rules."""
    return _ID.fullmatch(source) is not None and "--" not in source and ".." not in source


def download(repo_id: str, wanted: Sequence[str] = WHOLE) -> Path:
    """Fetch the newest version of a model, or its `wanted` files (WHOLE or CONFIG), and return the folder.

    Interrupted downloads are resumed. Without a network a complete copy in the Hugging Face cache is used. The folder
    may not exist when the repository has none of the files. Raises DownloadError, which says how to go on offline.
    """
    folder = fetch(repo_id, wanted, OTHER_FOLDERS)
    if wanted is WHOLE and not has_safetensors(names_in(folder)):
        folder = fetch(repo_id, (*WHOLE, *TORCH_FILES), OTHER_FOLDERS)
    return folder


def names_in(folder: Path) -> set[str]:
    """Return the names in a folder; an empty set if it does not exist."""
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def fetch(repo_id: str, patterns: Sequence[str], ignored: Sequence[str] = ()) -> Path:
    """Fetch the newest version of a repository's files that match `patterns`. Raises DownloadError."""
    # Imported here because it takes a few tenths of a second, and local models do not need it.
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import tqdm as hub_bar  # type: ignore[attr-defined, unused-ignore]

    class Bar(hub_bar):  # type: ignore[misc, valid-type, unused-ignore]
        """The hub's own bars (bytes, time left), shown only to a user who watches, and only for longer steps."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            if not _is_watched():
                kwargs["disable"] = True
            self._shown_from = monotonic() + QUICK_SECONDS
            super().__init__(*args, delay=QUICK_SECONDS, **kwargs)  # type: ignore[no-untyped-call, unused-ignore]

        def display(self, *args: Any, **kwargs: Any) -> None:
            """Draw the bar, but not in the first moments."""
            if monotonic() >= self._shown_from:
                super().display(*args, **kwargs)  # type: ignore[no-untyped-call, unused-ignore]

    try:
        with _without_old_news():
            found = snapshot_download(
                repo_id, allow_patterns=list(patterns), ignore_patterns=list(ignored), tqdm_class=Bar
            )
    except Exception as reason:  # the library raises its own errors, those of its HTTP client and OSError
        raise DownloadError(explained(repo_id, reason)) from reason
    return Path(found)


@contextmanager
def _without_old_news() -> Iterator[None]:
    log = logging.getLogger("huggingface_hub._snapshot_download")
    log.addFilter(_is_news)
    try:
        yield
    finally:
        log.removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a log record is worth showing. The caller notices by itself that a repository lacks the wanted files."""
    return not record.getMessage().startswith("No files matched")


def cached_folder(repo_id: str) -> Path | None:
    """Return the folder of a model in the hub's cache, complete or not. The network is not used."""
    from huggingface_hub import snapshot_download

    try:
        # No file is asked for, because newer versions refuse a folder that lacks one of the wanted files.
        with _without_old_news():
            return Path(snapshot_download(repo_id, allow_patterns=[], local_files_only=True))
    except Exception:  # the library's own errors, for a model that is not in the cache
        return None


def _is_watched() -> bool:
    """Whether a user sees a bar: stderr is a terminal, or IPython runs this for a notebook."""
    ipython: Any = sys.modules.get("IPython")
    in_notebook = ipython is not None and hasattr(ipython.get_ipython(), "kernel")
    return in_notebook or (sys.stderr is not None and sys.stderr.isatty())


def has_safetensors(names: Iterable[str]) -> bool:
    """Whether a repository with files of these names has weights in safetensors."""
    return any(name.endswith(".safetensors") for name in names)


def reason_of(error: BaseException) -> str:
    """Return the class of an error of the hub's library, and the first line of its message."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
    return f"{type(error).__name__}: {first}"


def explained(repo_id: str, reason: Exception) -> str:
    """Return the message for a model that could not be fetched."""
    return (
        f"{repo_id}: there is no file or folder of that name here, and it could not be fetched from the Hugging Face "
        f"hub: {reason_of(reason)} To go on offline, run `hf download {repo_id} --local-dir FOLDER` on a "
        "machine with a network, copy FOLDER here and pass its path; or copy that machine's Hugging Face cache "
        "(HF_HOME) and set HF_HUB_OFFLINE=1."
    )
