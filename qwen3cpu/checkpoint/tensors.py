"""The tensors of a model: one table with a row for each, from which everything else about them follows.

Shapes, names in GGUF files, the inputs that calibration measures, the number of parameters, the memory plan and random
weights all come from these rows. A new kind of layer needs only new rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from qwen3cpu import _native
from qwen3cpu.arguments import check_choice
from qwen3cpu.checkpoint.experts import Experts

EARLIER: Final = "q4s"
"""The format that packed files and sessions of earlier versions call q4. It can be read but not written."""
NARROW: Final = "q4"
WIDE: Final = "q8"
TWICE: Final = "q4x2"
"""The third format of a model that is packed as NARROW, beside WIDE.

Matrices that would lose most are WIDE. The head, or the embedding to which it is tied, is TWICE. NARROW is also the
only format that is rounded with regard to a matrix's inputs (quantization/gptq.py).
"""
Quant: TypeAlias = Literal["f32", "bf16", "q8", "q4", "q4a128", "q4a64", "q4a32"]
"""QUANTS, for type checkers. A test compares the two."""
QUANTS: Final[tuple[str, ...]] = tuple(name for name in _native.FORMATS if name not in (EARLIER, TWICE))
"""Allowed values of `quant=`."""
MATRIX_FORMATS: Final = (*QUANTS, TWICE)
"""Formats in which matrices are written: those of a whole model, and TWICE, which only heads have."""
DEFAULT_QUANT: Final = NARROW
KEEPING: Final = {128: "q4a128", 64: "q4a64", 32: "q4a32"}
"""Columns of a group -> the format that keeps weights already rounded to at most sixteen levels."""

EXPERTS: Final = "experts"
"""The input of the experts' down projections. It has a row for each token of an expert, not for each token."""
EMBEDDING: Final = "model.embed_tokens.weight"
HEAD: Final = "lm_head.weight"
ROUTER: Final = "mlp.gate.weight"
LAYERS: Final = "model.layers."
GGUF_LAYERS: Final = "blk."


def check_quant(quant: str) -> None:
    """Raise ArgumentError unless `quant` is one of QUANTS."""
    check_choice("quant", quant, QUANTS)


def format_of_groups(columns: int | None) -> str:
    """Return the format that keeps groups of this many columns and sixteen levels; 8 bits if none does.

    columns: of a group; None: the matrix has no such groups.
    """
    if columns is not None:
        for own, name in KEEPING.items():
            if columns % own == 0:
                return name
    return WIDE


def read_format(name: str, *, earlier: bool) -> str:
    """Return the weight format that a packed file or session names. earlier: its version calls EARLIER q4."""
    return EARLIER if earlier and name == NARROW else name


# What a row is made of


class ModelShape(Protocol):
    """The values that the rows need from a configuration (ModelConfig in config.py)."""

    @property
    def hidden_size(self) -> int: ...
    @property
    def intermediate_size(self) -> int: ...
    @property
    def num_hidden_layers(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def query_size(self) -> int: ...
    @property
    def key_size(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def tie_word_embeddings(self) -> bool: ...
    @property
    def attention_bias(self) -> bool: ...
    @property
    def experts(self) -> Experts | None: ...
    def has_experts(self, layer: int) -> bool: ...


Role = Literal["embedding", "head", "norm", "bias", "projection", "router"]
Size = Callable[[ModelShape], int]
FormatRule = Callable[[str, bool], str]
"""rule(quant, whether the matrix is in the last layer): its weight format."""


def _vocab(config: ModelShape) -> int:
    return config.vocab_size


def _hidden(config: ModelShape) -> int:
    return config.hidden_size


def _inner(config: ModelShape) -> int:
    return config.intermediate_size


def _queries(config: ModelShape) -> int:
    return config.query_size


def _keys(config: ModelShape) -> int:
    return config.key_size


def _head_dim(config: ModelShape) -> int:
    return config.head_dim


def _experts(config: ModelShape) -> int:
    return 0 if config.experts is None else config.experts.count


def _expert_width(config: ModelShape) -> int:
    return 0 if config.experts is None else config.experts.width


def _always(config: ModelShape, layer: int | None) -> bool:
    return True


def _with_biases(config: ModelShape, layer: int | None) -> bool:
    return config.attention_bias


def _with_own_head(config: ModelShape, layer: int | None) -> bool:
    return not config.tie_word_embeddings


def _with_experts(config: ModelShape, layer: int | None) -> bool:
    return layer is not None and config.has_experts(layer)


def _without_experts(config: ModelShape, layer: int | None) -> bool:
    return not _with_experts(config, layer)


def _float(quant: str, last_layer: bool) -> str:
    """The rule for routers. They are small, and a small error may choose another expert."""
    return "f32"


def _as_asked(quant: str, last_layer: bool) -> str:
    return quant


def _at_least_8_bits(quant: str, last_layer: bool) -> str:
    return WIDE if quant == NARROW or quant in KEEPING.values() else quant


def _twice_4_bits(quant: str, last_layer: bool) -> str:
    """The rule for the head.

    Two parts of 4 bits have the precision of 8, and the first alone tells which logits may be among the largest.
    """
    return TWICE if quant == NARROW else _at_least_8_bits(quant, last_layer)


def _at_least_8_bits_but_last(quant: str, last_layer: bool) -> str:
    """The rule for v_proj.

    Grouped queries share few value heads, and every query adds up their rounding. 8 bits need 2 to 3 % more bytes and
    remove a seventh of the divergence (docs/quality.md). No later layer reads the last layer's values.
    """
    return quant if last_layer else _at_least_8_bits(quant, last_layer)


class TensorRow(NamedTuple):
    """One row of the table.

    Attributes:
        name: in a Hugging Face checkpoint; in a layer, what follows the layer's number. "{copy}" is a copy's number.
        gguf: the same in a GGUF file, where all copies are one tensor. Its first dimension is the copies.
        size: (rows, cols) of a matrix, (length,) of a vector.
        reads: the layer's input that the matrix multiplies, as `_native.Model.run_layer` calls it.
        exists: whether a layer, or the model outside the layers, has the tensor.
        format: rule for the format of a packed matrix.
        copies: number of copies in a layer; None: one tensor without a number.
    """

    name: str
    gguf: str
    size: tuple[Size, ...]
    role: Role
    reads: str | None = None
    exists: Callable[[ModelShape, int | None], bool] = _always
    format: FormatRule = _as_asked
    copies: Size | None = None

    def shape(self, config: ModelShape) -> tuple[int, ...]:
        """Return the shape of one copy."""
        return tuple(size(config) for size in self.size)

    def parameters(self, config: ModelShape, layer: int | None) -> int:
        """Count the weights of all copies in a layer, or outside the layers; 0 if the tensor does not exist."""
        copies = 1 if self.copies is None else self.copies(config)
        return prod(self.shape(config)) * copies if self.exists(config, layer) else 0


# The table

BEFORE_LAYERS: Final = (
    TensorRow(EMBEDDING, "token_embd.weight", (_vocab, _hidden), "embedding", format=_at_least_8_bits),
)
IN_LAYER: Final = (
    TensorRow("input_layernorm.weight", "attn_norm.weight", (_hidden,), "norm"),
    TensorRow("self_attn.q_proj.weight", "attn_q.weight", (_queries, _hidden), "projection", "qkv"),
    TensorRow("self_attn.k_proj.weight", "attn_k.weight", (_keys, _hidden), "projection", "qkv"),
    TensorRow(
        "self_attn.v_proj.weight",
        "attn_v.weight",
        (_keys, _hidden),
        "projection",
        "qkv",
        format=_at_least_8_bits_but_last,
    ),
    TensorRow("self_attn.q_norm.weight", "attn_q_norm.weight", (_head_dim,), "norm"),
    TensorRow("self_attn.k_norm.weight", "attn_k_norm.weight", (_head_dim,), "norm"),
    TensorRow("self_attn.q_proj.bias", "attn_q.bias", (_queries,), "bias", exists=_with_biases),
    TensorRow("self_attn.k_proj.bias", "attn_k.bias", (_keys,), "bias", exists=_with_biases),
    TensorRow("self_attn.v_proj.bias", "attn_v.bias", (_keys,), "bias", exists=_with_biases),
    TensorRow("self_attn.o_proj.weight", "attn_output.weight", (_hidden, _queries), "projection", "o"),
    TensorRow("self_attn.o_proj.bias", "attn_output.bias", (_hidden,), "bias", exists=_with_biases),
    TensorRow("post_attention_layernorm.weight", "ffn_norm.weight", (_hidden,), "norm"),
    TensorRow(
        "mlp.gate_proj.weight", "ffn_gate.weight", (_inner, _hidden), "projection", "gate_up", exists=_without_experts
    ),
    TensorRow(
        "mlp.up_proj.weight", "ffn_up.weight", (_inner, _hidden), "projection", "gate_up", exists=_without_experts
    ),
    TensorRow(
        "mlp.down_proj.weight", "ffn_down.weight", (_hidden, _inner), "projection", "down", exists=_without_experts
    ),
    TensorRow(
        ROUTER,
        "ffn_gate_inp.weight",
        (_experts, _hidden),
        "router",
        "gate_up",
        exists=_with_experts,
        format=_float,
    ),
    *(
        TensorRow(
            f"mlp.experts.{{copy}}.{name}_proj.weight",
            f"ffn_{name}_exps.weight",
            size,
            "projection",
            reads,
            exists=_with_experts,
            copies=_experts,
        )
        for name, size, reads in (
            ("gate", (_expert_width, _hidden), "gate_up"),
            ("up", (_expert_width, _hidden), "gate_up"),
            ("down", (_hidden, _expert_width), EXPERTS),
        )
    ),
)
AFTER_LAYERS: Final = (
    TensorRow("model.norm.weight", "output_norm.weight", (_hidden,), "norm"),
    TensorRow(HEAD, "output.weight", (_vocab, _hidden), "head", exists=_with_own_head, format=_twice_4_bits),
)
"""The order of all rows is that of the forward pass. Packed files have matrices, then vectors, in this order."""
ROWS: Final = {row.name: row for row in (*BEFORE_LAYERS, *IN_LAYER, *AFTER_LAYERS)}


# The tensors of one model


class Tensor(NamedTuple):
    """One tensor of a model.

    row: of the table. layer: its number; None: outside the layers. copy: number of the copy; None: there is only one.
    """

    row: TensorRow
    shape: tuple[int, ...]
    layer: int | None = None
    copy: int | None = None
    copies: int = 1

    @property
    def name(self) -> str:
        """Its name in a Hugging Face checkpoint."""
        name = self.row.name if self.copy is None else self.row.name.format(copy=self.copy)
        return name if self.layer is None else f"{LAYERS}{self.layer}.{name}"

    @property
    def gguf_name(self) -> str:
        """The name of the GGUF tensor that contains it."""
        return self.row.gguf if self.layer is None else f"{GGUF_LAYERS}{self.layer}.{self.row.gguf}"

    @property
    def gguf_shape(self) -> tuple[int, ...]:
        """The shape of the GGUF tensor that contains it."""
        return self.shape if self.copy is None else (self.copies, *self.shape)

    @property
    def is_matrix(self) -> bool:
        """Whether it is a matrix, which is packed in a weight format. Vectors stay in float32."""
        return len(self.shape) == 2

    def format(self, quant: str, config: ModelShape) -> str:
        """Return the weight format of this matrix in a model that is packed as `quant`."""
        row = ROWS[HEAD] if self.name == logits_matrix(config) else self.row
        return row.format(quant, self.layer == config.num_hidden_layers - 1)


def tensors_of(config: ModelShape) -> Iterator[Tensor]:
    """Yield every tensor of a model, in the order of the table."""
    yield from _expand(BEFORE_LAYERS, config)
    for layer in range(config.num_hidden_layers):
        yield from tensors_of_layer(config, layer)
    yield from _expand(AFTER_LAYERS, config)


def tensors_of_layer(config: ModelShape, layer: int) -> Iterator[Tensor]:
    """Yield every tensor of one layer."""
    return _expand(IN_LAYER, config, layer)


def _expand(rows: Sequence[TensorRow], config: ModelShape, layer: int | None = None) -> Iterator[Tensor]:
    for row in rows:
        if not row.exists(config, layer):
            continue
        shape = row.shape(config)
        if row.copies is None:
            yield Tensor(row, shape, layer)
        else:
            copies = row.copies(config)
            yield from (Tensor(row, shape, layer, copy, copies) for copy in range(copies))


def matrix_shapes(config: ModelShape) -> dict[str, tuple[int, int]]:
    """Return name -> (rows, cols) of every weight matrix, in the order of the forward pass. A tied head is left out."""
    return {each.name: (each.shape[0], each.shape[1]) for each in tensors_of(config) if each.is_matrix}


def vector_lengths(config: ModelShape) -> dict[str, int]:
    """Return name -> length of every norm weight and every bias that the configuration has."""
    return {each.name: each.shape[0] for each in tensors_of(config) if not each.is_matrix}


def matrices_by_input(config: ModelShape, layer: int) -> dict[str, list[str]]:
    """Return input of a layer, as `_native.Model.run_layer` calls it -> the matrices that multiply it.

    Inputs and matrices are in the order in which a pass needs them.
    """
    matrices: dict[str, list[str]] = {}
    for tensor in tensors_of_layer(config, layer):
        if tensor.row.reads is not None:
            matrices.setdefault(tensor.row.reads, []).append(tensor.name)
    return matrices


def input_sizes(config: ModelShape) -> dict[str, int]:
    """Return input of a layer -> its columns, for the inputs of all layers."""
    found: dict[str, int] = {}
    for layer in range(config.num_hidden_layers):
        for row in IN_LAYER:
            if row.reads is not None and row.exists(config, layer):
                found[row.reads] = row.shape(config)[1]
    return found


def vocabulary_matrices(config: ModelShape) -> set[str]:
    """Return the names of embedding and head, which have a row for each token. All other matrices are in layers."""
    rows = (*BEFORE_LAYERS, *AFTER_LAYERS)
    return {row.name for row in rows if row.role in ("embedding", "head") and row.exists(config, None)}


def logits_matrix(config: ModelShape) -> str:
    """Return the name of the matrix that computes the logits: the head, or the embedding to which it is tied."""
    return EMBEDDING if config.tie_word_embeddings else HEAD


def count_parameters(config: ModelShape) -> int:
    """Return the number of weights; a tied embedding counts once."""
    layers = range(config.num_hidden_layers)
    others = sum(row.parameters(config, None) for row in (*BEFORE_LAYERS, *AFTER_LAYERS))
    return others + sum(row.parameters(config, layer) for layer in layers for row in IN_LAYER)
