"""Recognises by its first bytes what a file really is that has the name of a weight file or a JSON file.

Messages of readers end with this kind. "A damaged length" would not help somebody whose download was an error page.
"""

from __future__ import annotations

from typing import Final

START: Final = 512
"""Bytes at the start of a file that tell its kind."""

_LFS: Final = b"version https://git-lfs.github.com/spec/"
_KINDS: Final = (
    (_LFS, "a git-lfs pointer", "fetch the file itself with `git lfs pull`, or download the model with `hf download`"),
    (b"GGUF", "a GGUF file", "pass the path of the file itself"),
    (b"PK\x03\x04", "a ZIP archive, as torch.save writes them", "convert the weights to safetensors"),
    (b"\x80\x02", "a pickle, as torch.save wrote them", "convert the weights to safetensors"),
    (b"\x1f\x8b", "a gzip file", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it"),
    (b"\x89HDF", "an HDF5 file", "pass the model in safetensors"),
    (b"lmgg", "a GGML file of 2023", "pass the model as GGUF or in safetensors"),
    (b"fmgg", "a GGML file of 2023", "pass the model as GGUF or in safetensors"),
    (b"tjgg", "a GGML file of 2023", "pass the model as GGUF or in safetensors"),
)
_PAGES: Final = (b"<!doctype html", b"<html", b"<head", b"<body", b"<?xml", b"<error")


def describe_kind(start: bytes) -> str:
    """Return what a file really is and what to do about it, for the end of a message. Empty: the kind is unknown.

    Args:
        start: the first START bytes of the file.
    """
    kind = _kind(start)
    return "" if kind is None else f"; the file is {kind[0]}: {kind[1]}"


def _kind(start: bytes) -> tuple[str, str] | None:
    for magic, name, advice in _KINDS:
        if start.startswith(magic):
            return name, advice
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(_PAGES):
        return "a web page", "the download got a page instead of the file (a login or an error); download it again"
    if text.startswith((b'{"error"', b'{"message"', b"entry not found", b"not found", b"invalid username")):
        return "the error message of a server", "download it again"
    if start and not start.strip(b"\0"):
        return "empty: its first bytes are zeros", "a download was interrupted; download it again"
    return None
