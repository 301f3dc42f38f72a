"""A conversation on disk: its messages and options, and the KV cache of its processed positions.

It is a safetensors file with a sealed header (packed/sealed_file.py):

    ids     I32 [positions]: the ids that the sequence holds
    blocks  U8 [full blocks, bytes]: the full blocks of the KV cache, as in memory (csrc/layout/format.h)
    last    U8 [planes, bytes]: the used positions of the last block, unless it is full, in whole groups of 8

`__metadata__` has, besides the fields of sealed_file.py:

    format_version
    fingerprint, quant, kv, rope   which a model must share to continue; rope: SHA-256 of frequencies and scale
    activations                    the same; files without it have "int8"
    adapter                        its identity, if one was used
    conversation                   JSON: messages, options, prepare
    sha256                         JSON: tensor -> SHA-256 of its bytes

All instruction sets have the same layout of the KV cache, so a file can be used on another machine.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.input_files import start_of
from qwen3cpu.checkpoint.json_fields import brief, parse_object
from qwen3cpu.checkpoint.safetensors_file import SafetensorsFile
from qwen3cpu.checkpoint.tensors import read_format
from qwen3cpu.engine.adapters import Adapter, identity_of
from qwen3cpu.engine.formats import DEFAULT_ACTIVATIONS
from qwen3cpu.engine.sequence import TokenSequence
from qwen3cpu.errors import ArgumentError, CheckpointError, SessionError
from qwen3cpu.generation.answerer import AnsweringModel
from qwen3cpu.packed.sealed_file import PAGE, check_seal, is_sealed, replacing, seal

FORMAT_VERSION: Final = "2"
_EARLIER_VERSION: Final = "1"
"""Its only difference: its "q4" means the format EARLIER (checkpoint/tensors.py)."""
_FORMAT: Final = "qwen3cpu-session"
_BLOCK: Final = _native.KV_BLOCK
_GROUP: Final = 8  # positions side by side in a plane of keys


@dataclass(frozen=True)
class Identity:
    """The properties that a model must share with the one that saved a conversation."""

    fingerprint: str
    quant: str
    kv: str
    rope: str
    activations: str

    @classmethod
    def of(cls, model: AnsweringModel) -> Identity:
        """The identity of a model: checkpoint, weight format, KV format, RoPE in use, and activations."""
        return cls(model.fingerprint, model.quant, model.kv, model.config.rope_digest(), model.activations)


class Planes:
    """The layout of a block: [layer and KV head][keys, values] planes of positions (csrc/layout/format.h)."""

    def __init__(self, config: ModelConfig, kv: str) -> None:
        self._value, self._scale = _native.kv_format_bytes(kv)
        self._dims = -(-config.head_dim // 8) * 8
        self._heads = config.num_hidden_layers * config.num_key_value_heads

    def shape(self, positions: int) -> tuple[int, int]:
        """(planes, bytes of each) for `positions`, rounded up to whole groups."""
        slots = -(-positions // _GROUP) * _GROUP
        return 2 * self._heads, slots * (self._dims * self._value + self._scale)

    def used(self, block: NDArray[np.uint8], positions: int) -> NDArray[np.uint8]:
        """The first positions of a block, uint8 `shape(positions)`, with zeros up to a whole group."""
        slots = -(-positions // _GROUP) * _GROUP
        planes = block.reshape(self._heads, 2, -1)
        data = planes[:, :, : _BLOCK * self._dims * self._value]
        keys = data[:, 0].reshape(self._heads, -1, self._dims, _GROUP, self._value)[:, : slots // _GROUP].copy()
        keys[:, -1, :, _GROUP - (slots - positions) :] = 0
        values = data[:, 1].reshape(self._heads, _BLOCK, -1)[:, :slots].copy()
        values[:, positions:] = 0
        scales = planes[:, :, _BLOCK * self._dims * self._value :].reshape(self._heads, 2, _BLOCK, self._scale)
        scales = scales[:, :, :slots].copy()
        scales[:, :, positions:] = 0
        both = np.stack([keys.reshape(self._heads, -1), values.reshape(self._heads, -1)], axis=1)
        return np.concatenate([both, scales.reshape(self._heads, 2, slots * self._scale)], axis=2).reshape(
            self.shape(positions)
        )

    def block(self, used: NDArray[np.uint8], positions: int) -> NDArray[np.uint8]:
        """The inverse of `used`: a whole block, with zeros at the unused positions."""
        slots = -(-positions // _GROUP) * _GROUP
        planes = np.zeros(self.shape(_BLOCK), np.uint8)
        # Keys are ordered by groups, values and scales by positions, so the used bytes come first in each.
        planes[:, : slots * self._dims * self._value] = used[:, : slots * self._dims * self._value]
        start = _BLOCK * self._dims * self._value
        planes[:, start : start + slots * self._scale] = used[:, slots * self._dims * self._value :]
        return planes.reshape(-1)


def check_replaceable(path: Path) -> None:
    """Raise ArgumentError unless a path is free or a saved conversation."""
    if os.path.lexists(path) and (path.is_symlink() or not is_sealed(start_of(path, PAGE), _FORMAT)):
        raise ArgumentError(
            f"path: expected no file or a saved conversation to replace, found something else at {path}"
        )


def write_session(path: Path, model: AnsweringModel, conversation: Mapping[str, Any], sequence: TokenSequence) -> None:
    """Write a temporary file next to `path`, and rename it to `path`.

    Args:
        path: of the new file.
        model: of the conversation.
        conversation: values that can be written as JSON.
        sequence: a fork that only this call uses.

    Raises:
        ArgumentError: something in the conversation cannot be written as JSON.
        SessionError: the file cannot be written.
    """
    planes = Planes(model.config, model.kv)
    metadata = {"format_version": FORMAT_VERSION, **asdict(Identity.of(model)), "conversation": _to_json(conversation)}
    if sequence.adapter is not None:
        metadata["adapter"] = sequence.adapter.identity
    sizes = [(name, dtype, list(shape), size) for name, dtype, shape, size in _tensors(planes, sequence.length)]
    digests = {name: hashlib.sha256() for name, _, _, _ in sizes}

    def header() -> bytes:
        sums = {name: digest.hexdigest() for name, digest in digests.items()}
        return seal(_FORMAT, {**metadata, "sha256": json.dumps(sums, separators=(",", ":"))}, sizes)

    try:
        with replacing(path) as file:
            file.write(header())
            for name, data in _contents(planes, sequence):
                digests[name].update(data.data)
                file.write(data.data)
            file.seek(0)
            file.write(header())
    except OSError as reason:
        raise SessionError(f"{path}: cannot be written: {reason.strerror or reason}") from reason


def read_session(
    path: Path, model: AnsweringModel, sequence: TokenSequence, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Check a whole file, fill the empty `sequence` from it, and return the conversation.

    Args:
        path: the file.
        model: continues the conversation.
        sequence: gets the KV cache, and the adapter of the conversation.
        options: override saved ones. They may name the adapter, which must have the same contents.

    Raises:
        SessionError: the file is missing or damaged, or comes from another model, or from a longer context.
    """
    planes, vocab_size, context = Planes(model.config, model.kv), model.config.vocab_size, model.context
    try:
        file = SafetensorsFile(path)
        _check_kind(file)
        check_seal(file.header, path)
        _check_identity(file, Identity.of(model))
        _check_data(file, planes)
        conversation = _json(file, "conversation")
        sequence.belong_to(_adapter(file, model, {**_saved_options(conversation), **options}))
    except CheckpointError as error:
        raise SessionError(str(error)) from None
    ids = file.raw("ids").view("<i4").astype(np.int32)
    if len(ids) >= context:
        raise SessionError(f"{path}: expected at most {context - 1} positions, the model's context, found {len(ids)}")
    if ids.size and not 0 <= ids.min() <= ids.max() < vocab_size:
        raise SessionError(f"{path}: ids: expected 0 to {vocab_size - 1}, found {ids.min()} to {ids.max()}")
    full, rest = divmod(len(ids), _BLOCK)
    blocks = file.array("blocks") if full else np.empty((0, 0), np.uint8)
    for block in blocks:
        sequence.native.append(block, _BLOCK)
    if rest:
        sequence.native.append(planes.block(file.array("last"), rest), rest)
    sequence.ids.extend(ids.tolist())
    return conversation


def _tensors(planes: Planes, positions: int) -> Iterator[tuple[str, str, tuple[int, ...], int]]:
    """Name, dtype, shape and bytes of each tensor of a file."""
    full, rest = divmod(positions, _BLOCK)
    count, size = planes.shape(_BLOCK)
    yield "ids", "I32", (positions,), 4 * positions
    if full:
        yield "blocks", "U8", (full, count * size), full * count * size
    if rest:
        count, size = planes.shape(rest)
        yield "last", "U8", (count, size), count * size


def _contents(planes: Planes, sequence: TokenSequence) -> Iterator[tuple[str, NDArray[Any]]]:
    full, rest = divmod(sequence.length, _BLOCK)
    yield "ids", np.asarray(sequence.ids, dtype="<i4")
    for index in range(full):
        yield "blocks", sequence.native.read(index)
    if rest:
        yield "last", planes.used(sequence.native.read(full), rest)


def _check_kind(file: SafetensorsFile) -> None:
    if not is_sealed(file.header, _FORMAT):
        raise SessionError(f"{file.path}: expected a saved conversation, found a safetensors file of another kind")


def _check_identity(file: SafetensorsFile, identity: Identity) -> None:
    version = file.metadata.get("format_version")
    if version not in (FORMAT_VERSION, _EARLIER_VERSION):
        raise SessionError(
            f"{file.path}: format_version: expected {FORMAT_VERSION}, found {brief(version)} "
            "(written by another version of qwen3cpu)"
        )
    for name, expected in asdict(identity).items():
        found = file.metadata.get(name)
        if name == "quant" and found is not None:
            found = read_format(found, earlier=version == _EARLIER_VERSION)
        if name == "activations" and found is None:
            found = DEFAULT_ACTIVATIONS
        if found != expected:
            raise SessionError(
                f"{file.path}: was saved with another model: {name}: expected {expected}, found {brief(found)}"
            )


def _saved_options(conversation: Mapping[str, Any]) -> Mapping[str, Any]:
    options = conversation.get("options")
    return options if isinstance(options, dict) else {}


def _adapter(file: SafetensorsFile, model: AnsweringModel, options: Mapping[str, Any]) -> Adapter | None:
    """The adapter of the conversation. SessionError if it is not the one that processed the saved positions."""
    name, expected = options.get("adapter"), file.metadata.get("adapter")
    try:
        adapter = model.answerer.find_adapter(name)
    except ArgumentError as reason:
        raise SessionError(f"{file.path}: was saved with the adapter {brief(name)}: {reason}") from None
    if identity_of(adapter) != expected:
        found = "no adapter" if adapter is None else f"{brief(name)}, whose SHA-256 is {adapter.identity}"
        was = "no adapter" if expected is None else f"an adapter whose SHA-256 is {brief(expected)}"
        raise SessionError(f"{file.path}: was saved with another adapter: expected {was}, found {found}")
    return adapter


def _check_data(file: SafetensorsFile, planes: Planes) -> None:
    shape = file.tensors["ids"].shape if "ids" in file.tensors else ()
    expected = {name: (dtype, shape) for name, dtype, shape, _ in _tensors(planes, shape[0] if len(shape) == 1 else 0)}
    found = {name: (entry.dtype, entry.shape) for name, entry in file.tensors.items()}
    if found != expected:
        raise SessionError(f"{file.path}: tensors: expected {expected}, found {brief(found)}")
    sums = _json(file, "sha256")
    for name in file.tensors:
        digest = hashlib.sha256(file.raw(name).data).hexdigest()
        if sums.get(name) != digest:
            raise SessionError(
                f"{file.path}: damaged: {name}: expected SHA-256 {brief(sums.get(name))}, found {digest}"
            )


def _json(file: SafetensorsFile, name: str) -> dict[str, Any]:
    # A lone surrogate in the text cannot be encoded; the parser then reports the replacement.
    return parse_object(file.metadata.get(name, "").encode("utf-8", "replace"), f"{file.path}: {name}")


def _to_json(conversation: Mapping[str, Any]) -> str:
    def plain(value: object) -> object:
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, Set):
            return sorted(value)
        if isinstance(value, Mapping):
            return dict(value)
        raise ArgumentError(f"a conversation with a {type(value).__name__} in it cannot be saved: {value!r}")

    return json.dumps(conversation, default=plain, separators=(",", ":"))
