"""The compiled engine (csrc/bindings). No logic lives on this side; see qwen3cpu/engine/engine.py for its user."""

from collections.abc import Sequence as SequenceOf
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

FORMATS: list[str]
"""Weight formats in the order of csrc/layout/formats.inc: f32, bf16, q8, q4, q4s."""
KV_FORMATS: list[str]
"""Formats of the KV cache in the order of csrc/layout/kv_formats.inc: f32, f16, q8."""
KV_BLOCK: int
"""Positions in one block of the KV cache."""
TILE_ROWS: int
"""Rows of a matrix that share a tile. Packing and products go from tile to tile."""
LEAST_TOP_TOKENS: int
"""Smallest vocabulary in which a head in q4x2 finds the largest logits by its first part."""

def kv_format_bytes(kv: str) -> tuple[int, int]:
    """Bytes of one dimension of a key or value in a KV format, and of the scale of a key or value (0: no scales).

    EngineError for an unknown format.
    """

def isas() -> list[tuple[str, bool]]:
    """(name, this CPU can run it) of every compiled instruction set, best first."""

def chosen_isa() -> str:
    """The instruction set that this process uses; QWEN3CPU_ISA forces one. Raises EngineError for an unusable one.

    With QWEN3CPU_ISA=list, importing the module writes to stderr which ones were compiled in, which of them this CPU
    can run and which is chosen, a line each.
    """

def physical_cores() -> int:
    """Physical cores among the CPUs that this process may run on (affinity), at least 1."""

def block_columns(format: str) -> int:
    """Columns of one block of a packed matrix."""

def activation_columns(format: str) -> int:
    """Columns of an input that share an int8 scale when a matrix of this format multiplies it; 0: it stays float."""

def matrix_bytes(format: str, rows: int, cols: int) -> int:
    """Bytes of a packed matrix."""

def pack_into(
    format: str,
    source: NDArray[Any],
    out: NDArray[np.uint8],
    rows: int,
    first_row: int,
    threads: int,
) -> None:
    """Pack `source`, rows [first_row, first_row + len(source)) of a matrix of `rows` rows, into its place in `out`.

    source: [n, cols] C-contiguous float32, float16, or uint16 holding bfloat16 bits. first_row is a multiple of 8; n is
    a multiple of 8 or reaches the last row. out: uint8 [matrix_bytes(format, rows, cols)], writable, 64-byte aligned.
    NaN or infinity in the source raises EngineError naming row and column. Releases the GIL.
    """

def write_affine_into(
    format: str,
    n: NDArray[np.uint8],
    scale: NDArray[np.float32],
    minimum: NDArray[np.float32],
    group: int,
    out: NDArray[np.uint8],
    rows: int,
    first_row: int,
    threads: int,
) -> None:
    """Write weights scale * n + minimum, unchanged, to q4a32, q4a64 or q4a128; rows, out, threads as in pack_into.

    n: uint8 [n, cols], 0 to 15. scale, minimum: float32 [n, groups of `group` columns]; group is a multiple of the
    format's own. EngineError for a level above 15, and for a scale or minimum that is not finite. Releases the GIL.
    """

MOST_RUN_COLUMNS: int
"""Most columns that `round_columns` takes."""

def start_rounding(weights: NDArray[Any], out: NDArray[np.uint8], threads: int) -> None:
    """Write the row scales of a q4 matrix for weights [rows, cols] into out, uint8 [matrix_bytes("q4", rows, cols)].

    weights: float32, float16, or uint16 holding bfloat16 bits. Releases the GIL.
    """

def round_columns(
    weights: NDArray[Any],
    source: NDArray[np.int32],
    places: NDArray[np.int32],
    factor: NDArray[np.float32],
    out: NDArray[np.uint8],
    cols: int,
    errors: NDArray[np.float32] | None,
    threads: int,
) -> None:
    """Round n columns of a matrix of `cols` columns to q4, one by one, each correcting the errors of those before it.

    weights: rows that hold them, contiguous, of a type that `start_rounding` takes. source [n]: their columns in
    `weights`, within MOST_RUN_COLUMNS neighbours; a column from its width on is all zeros. places [n]: their columns in
    the matrix; every 32 from the first are those of one group, in any order. Places from `cols` on, in the last group,
    are padding. n is at most MOST_RUN_COLUMNS. factor [n, n]: their part of U, upper triangular, where U' U is the
    inverse of the inputs' second moments in the order of the columns. out: as `start_rounding` left it.
    errors [rows, n]: receives (weight just before it is rounded - rounded) / U_ii. Releases the GIL; EngineError for
    shapes that do not fit.
    """

def add_block_moments(inputs: NDArray[np.float32], moments: NDArray[np.float32], threads: int) -> None:
    """Add X'X of inputs X [tokens, cols] within blocks of n columns to moments [blocks, n, n].

    n is a multiple of 8; the last block may be narrower. Only the upper triangles are written. The order of additions
    is fixed, so every machine gets the same bits. Releases the GIL.
    """

def invert_factors(matrices: NDArray[np.float64], threads: int) -> NDArray[np.float32]:
    """The upper triangular U, U' U = m^-1, of each symmetric m of matrices [blocks, n, n]. Reads upper triangles only.

    Every machine gets the same bits. Releases the GIL; EngineError when one is not positive definite.
    """

def unpack(
    format: str, packed: NDArray[np.uint8], rows: int, cols: int, threads: int, first: int = 0, last: int | None = None
) -> NDArray[np.float32]:
    """The rows [first, last) of the weights [rows, cols] that packed bytes stand for. Releases the GIL.

    EngineError for rows that do not exist.
    """

def touch_pages(array: NDArray[np.uint8]) -> None:
    """Map the pages of an array, and read them from their file if needed; they stay shared. Releases the GIL."""

def hold_threads_that_end() -> None:
    """Make daemon threads that the ending interpreter stops wait for the end of the process.

    Must be called on the main thread.
    """

@final
class Bpe:
    """A byte-pair encoding: the vocabulary and the merges of a tokenizer.json, in 11 MB for the released models."""

    @staticmethod
    def read(tokenizer_json: bytes) -> tuple[Bpe, bytes] | None:
        """Read vocabulary and merges; return them, and the file without them. Releases the GIL.

        None when they are not of the usual kind (csrc/tokenizer/tokenizer_json.h), without an error message.
        """

    @property
    def size(self) -> int:
        """Ids go from 0 to size - 1."""

    def token(self, id: int) -> bytes:
        """The bytes of a token. IndexError for an id from `size` on."""

    def find(self, token: bytes) -> int | None:
        """The id of these bytes, if they are one token."""

    def encode(self, words: SequenceOf[str]) -> NDArray[np.uint32]:
        """Ids of words, in order. Each word is written in the byte alphabet. Pieces without a token are left out, as in
        the `tokenizers` library. Releases the GIL.
        """

@final
class Block:
    """A reference to a full block of KV_BLOCK positions, which keeps the contents alive after its sequence is gone."""

    @property
    def shared(self) -> bool:
        """Whether a sequence or another Block holds it too; then dropping this reference frees no memory."""

@final
class Sequence:
    """The KV cache of one sequence: a list of reference-counted blocks of KV_BLOCK positions.

    Calls wait for a running pass over this sequence, but not for other passes. Dropping the object does not wait.
    """

    @property
    def length(self) -> int:
        """Positions held."""

    def truncate(self, length: int) -> None:
        """Forget every position from `length` on. EngineError when it is negative or above the current length."""

    def fork(self) -> Sequence:
        """A second sequence with the same positions; blocks are shared and copied when written."""

    def release(self) -> None:
        """Free the blocks (also done when the object is collected)."""

    def hold(self, index: int) -> Block:
        """A reference to block `index`, which must be full: EngineError when it is not."""

    def read(self, index: int) -> NDArray[np.uint8]:
        """A copy of block `index`: uint8 [kv_block_bytes], undefined where it holds no positions.

        EngineError when there is no such block.
        """

    def append(self, block: NDArray[np.uint8], positions: int) -> None:
        """Append the first `positions` (1 to KV_BLOCK) of a block that `read` returned.

        EngineError for another number of positions, or when the positions held so far end inside a block.
        """

    def block_ids(self) -> list[int]:
        """Addresses of the blocks, for tests of sharing."""

Matrix: TypeAlias = tuple[str, int, int, NDArray[np.uint8]]
"""A packed matrix: format, rows, cols, bytes."""
MatrixChange: TypeAlias = tuple[int | None, int, Matrix | None, NDArray[np.float32] | None, Matrix | None]
"""(number of its reduction, its first row there, b [rows, rank], factor [rows], whole matrix); None: no such part."""
EmbeddingChange: TypeAlias = tuple[Matrix | None, Matrix | None, NDArray[np.float32] | None, Matrix | None]
"""(a [vocab, rank], b [hidden, rank], factor [hidden], whole matrix); None: no such part."""

@final
class Adapter:
    """Low-rank and whole changes of a model for some items of a batch. It keeps its arrays and the model alive."""

    def __init__(
        self,
        model: Model,
        reductions: SequenceOf[Matrix],
        changes: dict[str, MatrixChange],
        vectors: dict[str, NDArray[np.float32]],
        embedding: EmbeddingChange | None = None,
    ) -> None:
        """Y = factor * (W x + b u) for the matrices W of `changes`. u: rows [first, first + rank) of the product of the
        reduction [rows, cols] and x. Matrices that read the same input of a layer share a reduction, and begin in it at
        multiples of 8. A whole matrix, in W's format, replaces W. vectors: norms that replace the model's. A head that
        is tied to the embedding has the embedding's name.

        EngineError for what does not fit the model. Low-rank parts are in f32 or bf16.
        """

AdaptedItem: TypeAlias = tuple[Sequence, NDArray[np.int32], NDArray[np.int32], str, Adapter | None, int]

def changed_norms(matrix: Matrix, a: Matrix, b: NDArray[np.float32], threads: int) -> NDArray[np.float32]:
    """The norm of each row of W + b a, [rows]. a: transposed, [cols of W, rank], in f32 or bf16. b: [rows, rank]."""

@final
class Model:
    """Weights (views of packed buffers) and the forward pass."""

    def __init__(
        self,
        config: dict[str, Any],
        matrices: dict[str, tuple[str, int, int, NDArray[np.uint8]]],
        vectors: dict[str, NDArray[np.float32]],
        kv: str,
        threads: int,
    ) -> None:
        """Config: hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads,
        head_dim, vocab_size, rms_norm_eps, inv_freq (float32 [head_dim / 2]), rope_scale (cos/sin factor), context.

        matrices: HF tensor name -> (format, rows, cols, packed bytes, 64-byte aligned; kept alive, not copied).
        "lm_head.weight" is absent when tied. vectors: norm weights and the biases that exist, by HF tensor name.
        Missing or misshapen entries raise EngineError naming the tensor, the expected and the found shape.
        """

    threads: int

    def new_sequence(self, blocks: SequenceOf[Block] = ()) -> Sequence:
        """A sequence of the positions of these blocks, in order; EngineError for one of another model."""

    def forward(
        self,
        batch: SequenceOf[
            tuple[Sequence, NDArray[np.int32], NDArray[np.int32]]
            | tuple[Sequence, NDArray[np.int32], NDArray[np.int32], str]
            | AdaptedItem
        ],
    ) -> list[NDArray[np.float32]]:
        """Append new tokens to several sequences in one pass over the weights.

        batch: (sequence, tokens, wanted, output, adapter, top) each. tokens [n >= 1]: the new ones. wanted: offsets
        into them (ascending, may be empty). output: "logits" (the default); "hidden", the hidden state after the final
        norm; or "top_logits", the logits with -inf where `top` (1 to 64) others are larger or an id has no token, if
        the head finds these faster. adapter: what changes the model for this item; None (the default): nothing.
        Returns float32 [len(wanted), vocab_size] or [len(wanted), hidden_size] for each item. The same sequence may not
        appear twice. Releases the GIL; calls on one model from several threads run one after the other. On an error no
        sequence has changed.
        """

    def embed(self, tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        """The residual stream before layer 0, [len(tokens), hidden_size].

        `embed`, `run_layer` for every layer and `head` give the logits of `forward`, bit for bit. Each releases the
        GIL and raises EngineError for what does not fit the model.
        """

    def run_layer(
        self,
        layer: int,
        lengths: NDArray[np.int32],
        x: NDArray[np.float32],
        *,
        qkv: NDArray[np.float32] | None = None,
        o: NDArray[np.float32] | None = None,
        gate_up: NDArray[np.float32] | None = None,
        down: NDArray[np.float32] | None = None,
        experts: NDArray[np.float32] | None = None,
        chosen: NDArray[np.int32] | None = None,
    ) -> None:
        """Run one layer over sequences of these lengths, each from position 0 on; no KV cache is kept.

        x [sum(lengths), hidden_size] is changed in place. The other arrays, if given, receive the inputs of the layer's
        matrices: qkv and gate_up [tokens, hidden_size], o [tokens, heads * head_dim], down [tokens, intermediate_size]
        of a layer without experts. In a layer with experts, chosen [tokens, chosen] receives the experts of each token,
        ascending, and experts [tokens * chosen, width] the inputs of their down projections, token by token. All are
        C-contiguous.
        """

    def head(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [n, vocab_size] of the residual stream x [n, hidden_size] after the last layer."""

    def kv_blocks_in_use(self) -> int: ...
    def kv_block_bytes(self) -> int: ...
    def workspace_bytes(self) -> int: ...
    def counters(self) -> dict[str, int]:
        """Tokens processed since the model was made (`tokens`), forward calls (`calls`)."""
