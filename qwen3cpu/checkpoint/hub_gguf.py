"""Models in GGUF on the hub. A repository may hold several, each in one file or more, named by their weight types.

"owner/name:Q8_0" names one, as for Ollama; "owner/name" is enough if there is only one.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from qwen3cpu.arguments import did_you_mean
from qwen3cpu.checkpoint.gguf_parts import PART
from qwen3cpu.checkpoint.hub import cached_folder, explained, fetch, is_hub_id
from qwen3cpu.errors import CheckpointError, DownloadError

SUFFIX: Final = ".gguf"
_HOSTS: Final = ("hf.co/", "huggingface.co/")
"""Prefixes of Ollama's names for models on the hub."""
_TYPE: Final = re.compile(r"(?:^|[-._])((?:UD-)?(?:I?Q\d\w*|TQ\d\w*|BF16|FP?16|FP?32|MXFP4\w*|NVFP4))$", re.IGNORECASE)
_NO_MODEL: Final = re.compile(r"mmproj|imatrix", re.IGNORECASE)
"""Files beside models: image encoders (mmproj) and importance matrices of quantisation (imatrix)."""


class HubName(NamedTuple):
    """A repository on the hub, and the choice among its models in GGUF (None: none is named)."""

    repo: str
    choice: str | None


class HubGguf(NamedTuple):
    """A model in GGUF.

    Attributes:
        label: its name among the models of its repository.
        files: its files in the repository, in order.
        complete: whether all of its files are in `files`.
    """

    label: str
    files: tuple[str, ...]
    complete: bool

    @property
    def stem(self) -> str:
        """The name of its first file without the number of the part."""
        return _stem(self.files[0])

    def is_called(self, choice: str) -> bool:
        """Whether a text names this model: its label, its file, or the end of its file's name."""
        wanted, stem = choice.lower().removesuffix(SUFFIX), self.stem.lower()
        names = (self.label.lower(), stem, *(name.lower().removesuffix(SUFFIX) for name in self.files))
        return wanted in names or stem.endswith(tuple(f"{mark}{wanted}" for mark in "-._"))


def hub_name(source: str) -> HubName | None:
    """Parse a text as a name on the hub; None: it does not have that form."""
    text = next((source.removeprefix(host) for host in _HOSTS if source.startswith(host)), source)
    repo, colon, choice = text.partition(":")
    if not is_hub_id(repo) or (colon and not choice):
        return None
    return HubName(repo, choice or None)


def models_in(names: Iterable[str]) -> list[HubGguf]:
    """Group the file names of a repository or folder into models in GGUF."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        if name.lower().endswith(SUFFIX) and not _NO_MODEL.search(name.rpartition("/")[2]):
            groups.setdefault(_stem(name), []).append(name)
    labels = {stem: _label(stem) for stem in groups}
    found = []
    for stem, files in groups.items():
        label = labels[stem] if list(labels.values()).count(labels[stem]) == 1 else stem
        part = PART.fullmatch(files[0].rpartition("/")[2])
        found.append(HubGguf(label, tuple(files), part is None or len(files) == int(part[3])))
    return found


def _stem(name: str) -> str:
    """Return the name of a file without folder, suffix and part number."""
    base = name.rpartition("/")[2]
    part = PART.fullmatch(base)
    return part[1] if part else base[: -len(SUFFIX)]


def _label(stem: str) -> str:
    found = _TYPE.search(stem)
    return found[1].upper() if found else stem


def choose(name: HubName, models: list[HubGguf]) -> HubGguf:
    """Return the model that a name means. Raises CheckpointError, which lists the models, unless exactly one fits."""
    fitting = [model for model in models if name.choice is None or model.is_called(name.choice)]
    exact = [model for model in fitting if name.choice is not None and model.label.lower() == name.choice.lower()]
    fitting = exact or fitting
    if len(fitting) == 1:
        return fitting[0]
    labels = [model.label for model in models]
    if not labels:
        raise CheckpointError(f"{name.repo}: expected GGUF files in the repository, found none")
    example = f"; say {name.repo}:{labels[0]}, for example"
    if name.choice is None or fitting:
        found = name.choice or "none"
        raise CheckpointError(
            f"{name.repo}: expected one of its GGUF models ({', '.join(labels)}), found {found}{example}"
        )
    hint = did_you_mean(name.choice, labels) or example
    raise CheckpointError(
        f"{name.repo}: expected one of its GGUF models ({', '.join(labels)}), found {name.choice!r}{hint}"
    )


def find_gguf(name: HubName) -> list[HubGguf]:
    """Return the models in GGUF of a repository; without a network, those in the cache.

    Raises DownloadError when the hub cannot be reached and the cache has none.
    """
    from huggingface_hub import HfApi

    try:
        return models_in(file.rfilename for file in HfApi().model_info(name.repo).siblings or ())
    except Exception as reason:  # the library raises its own errors, those of its HTTP client and OSError
        found = cached_gguf(name.repo)
        if not found:
            raise DownloadError(explained(name.repo, reason)) from reason
        return found


def cached_gguf(repo: str) -> list[HubGguf]:
    """Return the models in GGUF of a repository that are in the hub's cache."""
    folder = cached_folder(repo)
    return [] if folder is None else models_in(files_in(folder))


def files_in(folder: Path) -> list[str]:
    """Return the GGUF files in a folder and its subfolders, by their paths relative to it."""
    return [path.relative_to(folder).as_posix() for path in folder.rglob(f"*{SUFFIX}") if path.exists()]


def download_gguf(name: HubName, model: HubGguf) -> Path:
    """Fetch all files of a model and return the path of the first. Raises DownloadError."""
    folder = fetch(name.repo, [glob.escape(each) for each in model.files])
    missing = [each for each in model.files if not (folder / each).exists()]
    if missing:
        raise DownloadError(f"{name.repo}: {missing[0]} is not in the Hugging Face cache; the hub cannot be reached")
    return folder / model.files[0]
