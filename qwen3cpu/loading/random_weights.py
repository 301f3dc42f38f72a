"""Makes models of a released Qwen3 shape with random weights for benchmarks, already packed, in seconds.

Speed does not depend on the weights, as long as activations stay finite and no number is subnormal. So layers repeat
one packed random block, which is as fast as copying. Every row of embedding and head is different, because the
sampler's work depends on whether logits repeat.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu import _native
from qwen3cpu.arguments import not_a_choice
from qwen3cpu.checkpoint.config import GenerationDefaults, ModelConfig
from qwen3cpu.checkpoint.known_models import SHAPES, Shape, shaped_config
from qwen3cpu.checkpoint.tensors import DEFAULT_QUANT, check_quant, vector_lengths, vocabulary_matrices
from qwen3cpu.errors import ArgumentError
from qwen3cpu.loading.loaded_model import Checkpoint
from qwen3cpu.packed.matrix import MatrixLayout, PackedMatrix, all_rooms, plan_matrices
from qwen3cpu.system.memory import anonymous_bytes

SIZES: Final[dict[str, Shape]] = {
    **SHAPES,
    # A sixth of a released size, for machines whose memory cannot hold the whole model.
    "30B-A3B-8": SHAPES["30B-A3B"]._replace(layers=8),
    # For tests of everything around the engine: two thin layers, which take no time.
    "test": Shape(64, 2, 4, 192, True),
}
"""Size -> shape: those of the released models; 8 layers of 30B-A3B; "test" is for tests."""
_TEST_CONSTANTS: Final = {"num_key_value_heads": 2, "head_dim": 32, "vocab_size": 512}

_PATTERN_ROWS: Final = 256  # of a layer's weights are different; a packed run of these stays in the L2 cache
_POOL: Final = 1 << 20  # different random numbers; few, because the benchmark reports the peak of memory
_HEAD_ROWS: Final = 512  # packed in one call
_LOGIT_SPREAD: Final = 3.0  # standard deviation of the logits: near that of trained models, which sampling sees
_CONTROL_TOKENS: Final = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<tool_call>",
    "</tool_call>",
    "<think>",
    "</think>",
)
_SPARE_ROWS: Final = 16  # at the end of the vocabulary: control tokens, then rows without a token


def synthetic_config(size: str) -> ModelConfig:
    """The configuration of a released size: one of SIZES.

    Raises:
        ArgumentError: an unknown size.
    """
    shape = SIZES.get(size)
    if shape is None:
        raise ArgumentError(f"size: {not_a_choice(size, tuple(SIZES))}")
    if size == "test":
        return shaped_config(shape, 1024, "the test shape", **_TEST_CONSTANTS)
    return shaped_config(shape, 40960, f"the {size} shape")


def synthetic_checkpoint(size: str, quant: str = DEFAULT_QUANT, *, threads: int, seed: int = 0) -> Checkpoint:
    """A model of the shape `size` with random weights, packed as `quant`.

    Args:
        size: one of SIZES.
        quant: one of QUANTS, as for `load`.
        threads: to pack with.
        seed: of the weights.

    Raises:
        ArgumentError: an unknown size or quant.
        CheckpointError: the weights do not fit into memory.
    """
    config = synthetic_config(size)
    check_quant(quant)
    matrices = _Weights(config, quant, threads, seed).all()
    vectors = {name: np.ones(length, dtype=np.float32) for name, length in vector_lengths(config).items()}
    return Checkpoint(
        source=f"Qwen3-{size}, random weights",
        config=config,
        generation=GenerationDefaults(),
        tokenizer_json=_tokenizer_json(config.vocab_size),
        tokenizer_config={},
        chat_template=None,
        matrices=matrices,
        vectors=vectors,
        quant=quant,
        fingerprint=hashlib.sha256(f"random {size} {quant} {seed}".encode()).hexdigest(),
        packed_path=None,
    )


class _Weights:
    """Fills the packed matrices of a model."""

    def __init__(self, config: ModelConfig, quant: str, threads: int, seed: int) -> None:
        self._plan = plan_matrices(config, quant)
        self._tables = vocabulary_matrices(config)
        self._hidden = config.hidden_size
        self._threads = threads
        self._rng = np.random.default_rng(seed)
        self._pool = self._rng.standard_normal(_POOL, dtype=np.float32)
        self._patterns: dict[tuple[str, int], NDArray[np.uint8]] = {}

    def all(self) -> dict[str, PackedMatrix]:
        """Every matrix of the model."""
        matrices = all_rooms(self._plan)
        for name, matrix in matrices.items():
            if name in self._tables:
                self._pack(matrix.layout, matrix.data, self._hidden**-0.5 * _LOGIT_SPREAD)
            else:
                self._repeat(matrix.layout, matrix.data)
        return matrices

    def _pack(self, matrix: MatrixLayout, out: NDArray[np.uint8], deviation: float) -> None:
        """Pack normally distributed weights; every row is different."""
        for first in range(0, matrix.rows, _HEAD_ROWS):
            rows = min(_HEAD_ROWS, matrix.rows - first)
            source = np.empty((rows, matrix.cols), dtype=np.float32)
            for row in source:
                start = int(self._rng.integers(_POOL - matrix.cols))
                np.multiply(self._pool[start : start + matrix.cols], deviation, out=row)
            _native.pack_into(matrix.format, source, out, matrix.rows, first, self._threads)

    def _repeat(self, matrix: MatrixLayout, out: NDArray[np.uint8]) -> None:
        """Repeat the same `_PATTERN_ROWS` rows: first the row tiles, then the row scales if the format has them."""
        pattern = self._pattern(matrix.format, matrix.cols)
        for part, repeated in zip(_parts(matrix, out), _parts(_pattern_matrix(matrix), pattern), strict=True):
            for first in range(0, len(part), len(repeated)):
                part[first : first + len(repeated)] = repeated[: len(part) - first]

    def _pattern(self, format_: str, cols: int) -> NDArray[np.uint8]:
        pattern = self._patterns.get((format_, cols))
        if pattern is None:
            matrix = MatrixLayout(format_, _PATTERN_ROWS, cols)
            pattern = self._patterns[format_, cols] = anonymous_bytes(matrix.bytes)
            self._pack(matrix, pattern, cols**-0.5)
        return pattern


def _pattern_matrix(matrix: MatrixLayout) -> MatrixLayout:
    return MatrixLayout(matrix.format, _PATTERN_ROWS, matrix.cols)


def _parts(matrix: MatrixLayout, data: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Yield the row tiles [tiles, bytes of a tile] and the row scales [tiles, bytes for a tile] of a packed matrix.

    A tile is a whole number of cache lines (csrc/layout/format.h). The bytes of a one-tile matrix beyond them are its
    row scales, which follow all tiles.
    """
    one = MatrixLayout(matrix.format, _native.TILE_ROWS, matrix.cols).bytes
    scales = one % 64
    tiles = -(-matrix.rows // _native.TILE_ROWS)
    split = tiles * (one - scales)
    yield data[:split].reshape(tiles, one - scales)
    yield data[split:].reshape(tiles, scales)


def _tokenizer_json(vocab_size: int) -> bytes:
    """A byte-level BPE without merges: the 256 bytes, made-up words of about a real token's length, control tokens."""
    # Imported here because callers that only ask for a shape do not need the library.
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())
    words = [*alphabet, *_made_up_words(vocab_size - _SPARE_ROWS - len(alphabet))]
    added = [
        # In the released files, markers of reasoning and tool calls are not "special" either.
        {"id": len(words) + number, "content": token, "special": token.startswith("<|")}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for number, token in enumerate(_CONTROL_TOKENS)
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": {word: id_ for id_, word in enumerate(words)}, "merges": []},
    }
    return json.dumps(tokenizer, separators=(",", ":")).encode()


def _made_up_words(count: int) -> Iterator[str]:
    """Yield `count` words, each after a space: all of one letter, then all of two letters, and so on."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    lengths = itertools.count(1)
    words = itertools.chain.from_iterable(itertools.product(letters, repeat=length) for length in lengths)
    return ("Ġ" + "".join(word) for word in itertools.islice(words, count))
