"""Loads LoRA adapters into the engine's form, and keeps those of one model by name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.arguments import shown
from qwen3cpu.checkpoint.adapters.base_model import check_base
from qwen3cpu.checkpoint.adapters.contents import AdapterContents, LowRank
from qwen3cpu.checkpoint.adapters.read import read_adapter
from qwen3cpu.checkpoint.dtypes import as_float32
from qwen3cpu.checkpoint.tensors import EMBEDDING, HEAD, logits_matrix, matrices_by_input, tensors_of
from qwen3cpu.engine.adapters import Adapter
from qwen3cpu.engine.engine import Engine
from qwen3cpu.errors import AdapterError, ArgumentError, EngineError
from qwen3cpu.loading.column_norms import column_norms
from qwen3cpu.loading.loaded_model import Checkpoint
from qwen3cpu.packed.matrix import MatrixLayout, PackedMatrix
from qwen3cpu.system.fork_guard import ForkLock

_NAME: Final = re.compile(r"[\w.+@/-]{1,200}")
_TILE: Final = _native.TILE_ROWS


@dataclass(frozen=True)
class NamedAdapter:
    """An adapter of a model.

    Attributes:
        name: what callers ask for it by.
        path: its folder or file.
        adapter: its weights.
    """

    name: str
    path: str
    adapter: Adapter


class Adapters(Mapping[str, NamedAdapter]):
    """The adapters of one model, by name. Loading and unloading is safe while answers run.

    Args:
        checkpoint: the model's weights.
        engine: runs the model.
    """

    def __init__(self, checkpoint: Checkpoint, engine: Engine) -> None:
        self._checkpoint = checkpoint
        self._engine = engine
        self._named: dict[str, NamedAdapter] = {}
        self._lock = ForkLock()

    def __getitem__(self, name: str) -> NamedAdapter:
        return self._named[name]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._named))

    def __len__(self) -> int:
        return len(self._named)

    @property
    def nbytes(self) -> int:
        """Bytes of all adapters in memory."""
        return sum(named.adapter.nbytes for named in tuple(self._named.values()))

    def load(self, name: str, path: str | os.PathLike[str], *, replace: bool = False) -> NamedAdapter:
        """Read an adapter and give it a name.

        Args:
            name: up to 200 letters, digits and any of `. _ - + @ /`. It must be free unless `replace` is set.
            path: a PEFT folder, or a GGUF file.
            replace: replace the adapter that has this name. Answers that have begun keep using the old one.

        Raises:
            AdapterError, CheckpointError: it is missing or damaged, or not for this model; the message says why.
            ArgumentError: a name that is taken or not allowed, or a model that does not write text.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ArgumentError(
                f"adapters: expected a name of letters, digits and . _ - + @ /, up to 200 of them, found {shown(name)}"
            )
        self._checkpoint.check_writes_text()
        if not replace:
            self._check_free(name)
        contents = read_adapter(path, self._checkpoint.config)
        packed = self._checkpoint.packed
        check_base(contents, self._checkpoint.source, *(() if packed is None else (packed.origin.name,)))
        named = NamedAdapter(name, os.fspath(path), make_adapter(contents, self._checkpoint, self._engine))
        with self._lock.held():
            if not replace:
                self._check_free(name)
            self._named[name] = named
        return named

    def _check_free(self, name: str) -> None:
        if name in self._named:
            raise ArgumentError(f"adapters: expected a name that is free, found {name!r}, which {self[name].path} has")

    def unload(self, name: str) -> None:
        """Unload an adapter. Answers that use it keep using it; its memory is freed after the last of them.

        Raises:
            ArgumentError: no adapter has this name.
        """
        self.get_adapter(name)
        with self._lock.held():
            self._named.pop(name, None)

    def close(self) -> None:
        """Free the memory of all adapters. The engine must be closed first."""
        with self._lock.held():
            for named in self._named.values():
                named.adapter.give_back()
            self._named.clear()

    def get_adapter(self, name: str) -> Adapter:
        """Return the adapter of a name. Raises ArgumentError, which lists the loaded names, when none has it."""
        named = self._named.get(name) if isinstance(name, str) else None
        if named is None:
            known = ", ".join(sorted(self._named)) or "none: load(..., adapters={name: path}) loads them"
            raise ArgumentError(f"adapter: expected the name of a loaded adapter ({known}), found {shown(name)}")
        return named.adapter


def make_adapter(contents: AdapterContents, checkpoint: Checkpoint, engine: Engine) -> Adapter:
    """Convert an adapter to the engine's form: float32 for a model in f32, else bfloat16."""
    return _Maker(contents, checkpoint, engine).adapter()


class _Maker:
    def __init__(self, contents: AdapterContents, checkpoint: Checkpoint, engine: Engine) -> None:
        self._contents = contents
        self._checkpoint = checkpoint
        self._engine = engine
        self._format = "f32" if checkpoint.quant == "f32" else "bf16"
        self._bytes = 0
        self._reductions: list[PackedMatrix] = []
        self._changes: dict[str, _native.MatrixChange] = {}

    def adapter(self) -> Adapter:
        config = self._checkpoint.config
        self._check_experts()
        inputs = [
            list(names) for n in range(config.num_hidden_layers) for names in matrices_by_input(config, n).values()
        ]
        for names in [*inputs, [HEAD]]:
            self._change(names)
        vectors = {name: as_float32(whole) for name, whole in self._contents.whole.items() if whole.ndim == 1}
        native = _native.Adapter(self._engine.native, self._reductions, self._changes, vectors, self._embedding())
        return Adapter(self._contents.identity, native, self._bytes + sum(each.nbytes for each in vectors.values()))

    def _check_experts(self) -> None:
        changed = {*self._contents.low_rank, *self._contents.whole}
        for tensor in tensors_of(self._checkpoint.config):
            if tensor.name in changed and (tensor.copy is not None or tensor.row.role == "router"):
                raise AdapterError(
                    f"{self._contents.path}: expected changes of attention, norms, embedding, head and dense layers, "
                    f"found one of {tensor.name} (`qwen3cpu merge` merges it into the weights)"
                )

    def _own_name(self, name: str) -> str:
        """Return the name of the matrix in this model. A tied head is the embedding."""
        return logits_matrix(self._checkpoint.config) if name == HEAD else name

    def _change(self, names: list[str]) -> None:
        """Collect the changes of matrices that read the same input."""
        rows: list[NDArray[np.float32]] = []
        for name in names:
            change, whole = self._contents.low_rank.get(name), self._whole(name)
            if change is not None:
                first = sum(map(len, rows))
                rows += [change.a, np.zeros((-change.rank % _TILE, change.a.shape[1]), np.float32)]
                b = self._packed(name, self._scaled(change))
                factor = self._factor(name, change, whole or self._own(name))
                self._changes[self._own_name(name)] = (len(self._reductions), first, b, factor, whole)
            elif whole is not None:
                self._changes[self._own_name(name)] = (None, 0, None, None, whole)
        if rows:
            self._reductions.append(self._packed(names[0], np.concatenate(rows)))

    def _embedding(self) -> _native.EmbeddingChange | None:
        change, whole = self._contents.low_rank.get(EMBEDDING), self._whole(EMBEDDING)
        if change is None:
            return None if whole is None else (None, None, None, whole)
        a, b = self._packed(EMBEDDING, np.ascontiguousarray(change.a.T)), self._packed(EMBEDDING, self._scaled(change))
        factor = None
        if change.magnitude is not None:
            factor = change.magnitude / column_norms(whole or self._own(EMBEDDING), change)
        return a, b, factor, whole

    @staticmethod
    def _scaled(change: LowRank) -> NDArray[np.float32]:
        scaled: NDArray[np.float32] = change.b * np.float32(change.scale)
        return scaled

    def _factor(self, name: str, change: LowRank, base: PackedMatrix) -> NDArray[np.float32] | None:
        """Return DoRA's factors: magnitude over norm of each changed row, with the matrix in the engine's format."""
        if change.magnitude is None:
            return None
        columns = self._packed(name, np.ascontiguousarray(change.a.T), kept=False)
        norms = _native.changed_norms(base, columns, self._scaled(change), self._engine.threads)
        factor: NDArray[np.float32] = change.magnitude / norms
        if not np.isfinite(factor).all():
            row = int(np.flatnonzero(~np.isfinite(factor))[0])
            raise AdapterError(
                f"{self._contents.path}: {name}: expected rows that are not zero, found zeros in row {row}"
            )
        return factor

    def _own(self, name: str) -> PackedMatrix:
        """Return the model's matrix. A tied head is the embedding."""
        return self._checkpoint.matrices[self._own_name(name)]

    def _whole(self, name: str) -> PackedMatrix | None:
        """Return the whole matrix that replaces the model's, in its format. None: there is none, or it is equal."""
        stored = self._contents.whole.get(name)
        if stored is None:
            return None
        own = self._own(name)
        packed = self._packed(name, stored, own.format, kept=False)
        if np.array_equal(packed.data, own.data):
            return None
        self._bytes += packed.data.nbytes
        return packed

    def _packed(
        self, name: str, values: NDArray[np.float32], form: str | None = None, *, kept: bool = True
    ) -> PackedMatrix:
        layout = MatrixLayout(form or self._format, *values.shape)
        out = layout.room()
        try:
            _native.pack_into(
                layout.format, np.require(values, requirements=["C", "A"]), out, layout.rows, 0, self._engine.threads
            )
        except EngineError as reason:
            raise AdapterError(f"{self._contents.path}: {name}: {reason}") from None
        if kept:
            self._bytes += out.nbytes
        return layout.with_data(out)


def check_adapters(adapters: object) -> None:
    """Raise ArgumentError unless `adapters` is None or a mapping of names to paths, as `load` takes it."""
    if adapters is not None and not isinstance(adapters, Mapping):
        raise ArgumentError(f"adapters: expected names with paths, found {type(adapters).__name__}")
