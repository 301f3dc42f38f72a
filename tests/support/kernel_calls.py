"""The compiled kernels, packed matrices and prepared inputs for the kernel tests."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native

kernels = _native.kernels
Array = NDArray[Any]

U = 2.0**-24
"""Half the spacing of floats at 1: the relative error of one rounding to nearest."""
FLUSHED = 2.0**-126
"""The largest error of a result that is flushed to zero, because kernels run with denormals flushed."""

ORACLE = "scalar"
ISAS = [name for name, supported in _native.isas() if supported and name != ORACLE]
"""Instruction sets that this CPU can run, without the oracle with which they are compared."""

ACTIVATION_BLOCK = {name: _native.activation_columns(name) for name in _native.FORMATS}
"""Columns that share an activation scale; 0: activations stay float."""


class Kernel(NamedTuple):
    """A function of the kernel tables that this CPU can run."""

    name: str
    """The format or the operation."""
    isas: tuple[str, ...]
    """The instruction sets whose tables hold it."""

    @property
    def isa(self) -> str:
        """An instruction set that calls it."""
        return self.isas[-1]

    def __str__(self) -> str:
        return f"{self.name}-{'+'.join(self.isas)}"


def compiled(kind: str, *names: str, oracle: bool = False) -> list[Kernel]:
    """Every function of a kind, once for all tables that contain it. names: only these formats.

    The oracle's own functions are left out, because comparing them with themselves shows nothing.
    """
    tables = {isa: kernels.addresses(isa) for isa in [*ISAS, ORACLE]}
    found: dict[tuple[str, int], list[str]] = {}
    for isa, row_kind, name in kernels.rows():
        if row_kind == kind and isa in tables and (not names or name in names):
            found.setdefault((name, tables[isa][f"{kind} {name}"]), []).append(isa)
    return [Kernel(name, tuple(isas)) for (name, _), isas in found.items() if oracle or ORACLE not in isas]


def gamma(n: float) -> float:
    """Bound on the relative error of n roundings one after another."""
    return n * U / (1 - n * U)


def aligned(nbytes: int) -> NDArray[np.uint8]:
    """Zeroed bytes on a 64-byte boundary."""
    raw = np.zeros(nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + nbytes]


def pack(weight_format: str, weights: Array, threads: int = 1) -> NDArray[np.uint8]:
    out = aligned(_native.matrix_bytes(weight_format, *weights.shape))
    out[:] = 0xA5  # every byte must be written, including padding
    _native.pack_into(weight_format, np.ascontiguousarray(weights), out, weights.shape[0], 0, threads)
    return out


def unpack(weight_format: str, packed: Array, n_rows: int, cols: int) -> NDArray[np.float32]:
    read = [kernels.row_to_float(weight_format, packed, n_rows, cols, row) for row in range(n_rows)]
    return np.stack(read)


def prepare(weight_format: str, x: NDArray[np.float32], isa: str = ORACLE) -> tuple[Array, ...]:
    """Inputs [n_tokens, cols] in the form that the format's kernels take."""
    block = ACTIVATION_BLOCK[weight_format]
    if block:
        prepared: tuple[Array, ...] = kernels.quantize(isa, f"i8g{block}", x)
        return prepared
    padding = -x.shape[1] % 32
    return (np.ascontiguousarray(np.pad(x, ((0, 0), (0, padding)))),)


def int8_inputs(weight_format: str, q: Array, scale: float) -> tuple[Array, ...]:
    """Inputs given as int8 [n_tokens, cols], every block with the same scale."""
    n_tokens, cols = q.shape
    padded = np.pad(q, ((0, 0), (0, -cols % 32))).astype(np.int8)
    sums = padded.reshape(n_tokens, -1, 32).sum(2, dtype=np.int16)
    scales = np.full((n_tokens, -(-cols // ACTIVATION_BLOCK[weight_format])), scale, np.float32)
    return padded, scales, sums


class Product:
    """A packed matrix and prepared inputs, which any instruction set can multiply."""

    def __init__(self, weight_format: str, packed: Array, n_rows: int, cols: int, x: tuple[Array, ...]) -> None:
        self.weight_format, self.packed, self.n_rows, self.cols, self.x = weight_format, packed, n_rows, cols, x
        self.tokens = x[0].shape[0]
        self.tiles = -(-n_rows // 8)

    def run(
        self,
        isa: str,
        *,
        tiles: tuple[int, int] | None = None,
        tokens: tuple[int, int] | None = None,
        ldy: int | None = None,
    ) -> NDArray[np.float32]:
        """Return y [n_tokens, ldy]; tiles and tokens: (first, how many)."""
        tiles = tiles or (0, self.tiles)
        tokens = tokens or (0, self.tokens)
        y: NDArray[np.float32] = kernels.matmul(
            isa,
            self.weight_format,
            self.packed,
            self.n_rows,
            self.cols,
            self.x,
            self.tokens,
            *tiles,
            *tokens,
            ldy if ldy is not None else tiles[1] * 8,
        )
        return y


def random_product(weight_format: str, n_rows: int, cols: int, tokens: int, seed: int = 0) -> Product:
    rng = np.random.default_rng([seed, n_rows, cols, tokens])
    weights = (rng.standard_normal((n_rows, cols)) * 0.05).astype(np.float32)
    x = rng.standard_normal((tokens, cols)).astype(np.float32)
    return Product(weight_format, pack(weight_format, weights), n_rows, cols, prepare(weight_format, x))
