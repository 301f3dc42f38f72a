"""Fetches a model's files from the Hugging Face hub one by one, into a folder of the caller's.

Parts of files are kept, so that a new call resumes where the last one stopped, also in another process.
"""

from __future__ import annotations

import errno
import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qwen3cpu.checkpoint.hub import OTHER_FOLDERS, TORCH_FILES, WHOLE, has_safetensors, reason_of
from qwen3cpu.checkpoint.input_files import pieces_of
from qwen3cpu.errors import DownloadError


@dataclass(frozen=True)
class HubFile:
    """A file of a model on the hub.

    Attributes:
        name: its path in the repository.
        size: in bytes; 0: the hub does not say.
        digest: `sha256:` and hex digits. For small files the hub has `sha1:` and the hash of the Git object.
    """

    name: str
    size: int
    digest: str


@dataclass(frozen=True)
class HubModel:
    """A version of a model on the hub, with the files that `qwen3cpu.load` needs."""

    id: str
    commit: str
    files: tuple[HubFile, ...]


class RefusedError(DownloadError):
    """The hub has no such model, or refuses access to it."""


def find_model(repo_id: str) -> HubModel:
    """Ask the hub for the newest version of a model. The caller has checked the form of the id.

    Raises:
        RefusedError: the hub has no such model, or refuses access to it.
        DownloadError: the hub cannot be reached.
    """
    # Imported here because it takes a few tenths of a second, and local models do not need it.
    from huggingface_hub import HfApi
    from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined, unused-ignore]

    try:
        info = HfApi().model_info(repo_id, files_metadata=True)
    except Exception as reason:  # the library raises its own errors, those of its HTTP client and OSError
        raise _explained(repo_id, reason) from reason
    siblings = info.siblings or ()
    whole = has_safetensors(file.rfilename for file in siblings if "/" not in file.rfilename)
    wanted = filter_repo_objects(
        siblings,
        allow_patterns=list(WHOLE if whole else (*WHOLE, *TORCH_FILES)),
        ignore_patterns=list(OTHER_FOLDERS),
        key=lambda file: file.rfilename,
    )
    files = tuple(
        HubFile(
            file.rfilename,
            file.size or 0,
            f"sha256:{file.lfs.sha256}" if file.lfs is not None else f"sha1:{file.blob_id}",
        )
        for file in wanted
    )
    return HubModel(repo_id, info.sha or "main", files)


def fetch_file(model: HubModel, file: HubFile, folder: Path, note: Callable[[int], None]) -> Path:
    """Fetch a file of a model into a folder, unless it is there already, and return its path.

    Args:
        model: the model.
        file: one of its files.
        folder: where it is written.
        note: called again and again with the number of bytes fetched so far. An exception from it stops the download;
            the part is kept.

    Raises:
        DownloadError: the file cannot be fetched, or its digest is not the one that the hub named.
        OSError: with errno ENOSPC, the disk is full.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined, unused-ignore]

    path = folder / file.name
    if path.exists():
        note(file.size)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(file, folder)
    if file.size and part.exists() and part.stat().st_size > file.size:
        part.unlink()
    with _NotedFile(part, note) as out:
        url = hf_hub_url(model.id, file.name, revision=model.commit)
        try:
            http_get(url, out, resume_size=out.tell(), headers=build_hf_headers(), expected_size=file.size or None)  # type: ignore[arg-type, unused-ignore]
        except OSError as reason:
            if reason.errno == errno.ENOSPC:
                raise
            raise _explained(f"{model.id}: {file.name}", reason) from reason
        except Exception as reason:
            if isinstance(reason, StopFetchingError):
                raise
            raise _explained(f"{model.id}: {file.name}", reason) from reason
    if not has_digest(part, file.digest):
        part.unlink()
        raise DownloadError(f"{model.id}: {file.name}: expected the digest {file.digest}, found another; try again")
    return part.replace(path)


def part_of(file: HubFile, folder: Path) -> Path:
    """Return the path of the part of a file that has been fetched so far."""
    return folder / f"{file.name}.{file.digest[-12:]}.part"


class StopFetchingError(Exception):
    """`note` of `fetch_file` raises this to stop the download."""


def has_digest(path: Path, digest: str) -> bool:
    """Whether a file has a digest, given as in HubFile. True for an unknown or empty digest."""
    kind, _, expected = digest.partition(":")
    if kind not in ("sha256", "sha1") or not expected or expected == "None":
        return True
    found = hashlib.new(kind, usedforsecurity=False)
    if kind == "sha1":
        found.update(b"blob %d\0" % path.stat().st_size)  # as Git hashes a file
    for piece in pieces_of(path):
        found.update(piece)
    return found.hexdigest() == expected


class _NotedFile(io.FileIO):
    """A file opened for appending that reports its length after each write."""

    def __init__(self, path: Path, note: Callable[[int], None]) -> None:
        super().__init__(path, "ab")
        self.seek(0, io.SEEK_END)
        self._note = note

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write all of `data`."""
        view = memoryview(data)
        while view:
            view = view[super().write(view) :]
        self._note(self.tell())
        return len(data)


def _explained(what: str, reason: BaseException) -> DownloadError:
    """Turn an error of the hub's library into a DownloadError with advice."""
    status = None
    cause: BaseException | None = reason
    while cause is not None and status is None:
        status = getattr(getattr(cause, "response", None), "status_code", None)
        cause = cause.__cause__
    if status in (401, 403):
        return RefusedError(
            f"{what}: the Hugging Face hub refused it (status {status}): there is no such model, or it is private or "
            "needs its owner's consent; set HF_TOKEN to a token that may read it"
        )
    if status == 404:
        return RefusedError(f"{what}: the Hugging Face hub has no such model (status 404)")
    return DownloadError(f"{what}: could not be fetched from the Hugging Face hub: {reason_of(reason)}")
