"""The tensors of a model: one table with a row for each, from which everything else about them follows.

Shapes, names in GGUF files, the inputs that calibration looks at, the number of parameters, the memory plan and random
weights all come from these rows. A tensor of another kind of layer is another row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from qwen3cpu import _native
from qwen3cpu.arguments import check_choice
from qwen3cpu.checkpoint.experts import Experts

EARLIER: Final = "q4s"
"""What packed files and sessions of earlier versions call q4. Such files are read; none are written any more."""
NARROW: Final = "q4"
WIDE: Final = "q8"
TWICE: Final = "q4x2"
"""The three formats of a model that is packed as NARROW: those of its matrices that would lose most are WIDE, and the
head, or the embedding to which it is tied, is TWICE.

NARROW is also the only format that is rounded with regard to a matrix's inputs (quantization/gptq.py).
"""
Quant: TypeAlias = Literal["f32", "bf16", "q8", "q4", "q4a128", "q4a64", "q4a32"]
"""QUANTS, for those who check types. A test compares the two."""
QUANTS: Final[tuple[str, ...]] = tuple(name for name in _native.FORMATS if name not in (EARLIER, TWICE))
"""What `quant=` may be."""
MATRIX_FORMATS: Final = (*QUANTS, TWICE)
"""Formats of matrices that are written: those of a whole model, and that of heads alone."""
DEFAULT_QUANT: Final = NARROW
KEEPING: Final = {128: "q4a128", 64: "q4a64", 32: "q4a32"}
"""Columns of a group -> the format that keeps weights which somebody else has rounded to sixteen levels."""

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
    """The format of a matrix whose weights stand in such groups of sixteen levels; None: in none. Else 8 bits."""
    if columns is not None:
        for own, name in KEEPING.items():
            if columns % own == 0:
                return name
    return WIDE


def read_format(name: str, *, earlier: bool) -> str:
    """The weight format that a packed file or session calls so. earlier: it is of a version whose q4 is EARLIER."""
    return EARLIER if earlier and name == NARROW else name


# What a row is made of


class ModelShape(Protocol):
    """What the rows ask of a configuration (ModelConfig in config.py)."""

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
    """The rule of routers: a small error may choose another expert, and they are small."""
    return "f32"


def _as_asked(quant: str, last_layer: bool) -> str:
    return quant


def _at_least_8_bits(quant: str, last_layer: bool) -> str:
    return WIDE if quant == NARROW or quant in KEEPING.values() else quant


def _twice_4_bits(quant: str, last_layer: bool) -> str:
    """The rule of the head.

    Two parts of 4 bits have the precision of 8, and the first alone tells which logits may be among the largest.
    """
    return TWICE if quant == NARROW else _at_least_8_bits(quant, last_layer)


def _at_least_8_bits_but_last(quant: str, last_layer: bool) -> str:
    """The rule of v_proj.

    Grouped queries share few value heads, and every query adds up their rounding. 8 bits are 2 to 3 % more bytes and
    take a seventh of the divergence away (docs/quality.md). The last layer's values are read by no other layer.
    """
    return quant if last_layer else _at_least_8_bits(quant, last_layer)


class TensorRow(NamedTuple):
    """One row of the table.

    name, gguf: in a Hugging Face checkpoint and in a GGUF file; in a layer, what comes after the layer's number.
    size: (rows, cols) of a matrix, (length,) of a vector. reads: the input of the layer that the matrix is multiplied
    with, as `_native.Model.run_layer` calls it. exists: whether a layer, or the
    model outside the layers, has it. format: of a matrix, when packed.
    copies: how many a layer has, None for one without a number. "{copy}" in `name` stands for the number; a GGUF file
    has all copies in one tensor, whose first dimension they are.
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
        """Of one copy."""
        return tuple(size(config) for size in self.size)

    def parameters(self, config: ModelShape, layer: int | None) -> int:
        """Weights of all copies in a layer, or outside the layers; 0 where it is not there."""
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
"""The order is that of the forward pass, in which packed files have matrices and, behind them, vectors."""
ROWS: Final = {row.name: row for row in (*BEFORE_LAYERS, *IN_LAYER, *AFTER_LAYERS)}


# The tensors of one model


class Tensor(NamedTuple):
    """One tensor of a model.

    row: of the table. layer: its number, None outside the layers. copy: which of `copies`, None where there is one.
    """

    row: TensorRow
    shape: tuple[int, ...]
    layer: int | None = None
    copy: int | None = None
    copies: int = 1

    @property
    def name(self) -> str:
        """In a Hugging Face checkpoint."""
        name = self.row.name if self.copy is None else self.row.name.format(copy=self.copy)
        return name if self.layer is None else f"{LAYERS}{self.layer}.{name}"

    @property
    def gguf_name(self) -> str:
        """Of the tensor of a GGUF file that it is in."""
        return self.row.gguf if self.layer is None else f"{GGUF_LAYERS}{self.layer}.{self.row.gguf}"

    @property
    def gguf_shape(self) -> tuple[int, ...]:
        """Of that tensor."""
        return self.shape if self.copy is None else (self.copies, *self.shape)

    @property
    def is_matrix(self) -> bool:
        """Whether it is packed in a weight format; vectors stay in float32."""
        return len(self.shape) == 2

    def format(self, quant: str, config: ModelShape) -> str:
        """The weight format of a matrix in a model that is packed as `quant`."""
        row = ROWS[HEAD] if self.name == logits_matrix(config) else self.row
        return row.format(quant, self.layer == config.num_hidden_layers - 1)


def tensors_of(config: ModelShape) -> Iterator[Tensor]:
    """Every tensor of a model, in the order of the table."""
    yield from _expand(BEFORE_LAYERS, config)
    for layer in range(config.num_hidden_layers):
        yield from tensors_of_layer(config, layer)
    yield from _expand(AFTER_LAYERS, config)


def tensors_of_layer(config: ModelShape, layer: int) -> Iterator[Tensor]:
    """Every tensor of one layer."""
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
    """Name -> (rows, cols) of every weight matrix, in the order of the forward pass; no head when it is tied."""
    return {each.name: (each.shape[0], each.shape[1]) for each in tensors_of(config) if each.is_matrix}


def vector_lengths(config: ModelShape) -> dict[str, int]:
    """Name -> length of every norm weight and of the biases that the configuration has."""
    return {each.name: each.shape[0] for each in tensors_of(config) if not each.is_matrix}


def matrices_by_input(config: ModelShape, layer: int) -> dict[str, list[str]]:
    """Each input of a layer, as `_native.Model.run_layer` calls it -> the matrices that it is multiplied with.

    Inputs and matrices are in the order in which a pass needs them.
    """
    matrices: dict[str, list[str]] = {}
    for tensor in tensors_of_layer(config, layer):
        if tensor.row.reads is not None:
            matrices.setdefault(tensor.row.reads, []).append(tensor.name)
    return matrices


def input_sizes(config: ModelShape) -> dict[str, int]:
    """Each input of any layer -> its columns."""
    found: dict[str, int] = {}
    for layer in range(config.num_hidden_layers):
        for row in IN_LAYER:
            if row.reads is not None and row.exists(config, layer):
                found[row.reads] = row.shape(config)[1]
    return found


def vocabulary_matrices(config: ModelShape) -> set[str]:
    """The names of embedding and head, which have a row for each token. All other matrices are in layers."""
    rows = (*BEFORE_LAYERS, *AFTER_LAYERS)
    return {row.name for row in rows if row.role in ("embedding", "head") and row.exists(config, None)}


def logits_matrix(config: ModelShape) -> str:
    """The name of the matrix that makes the logits: the head, or the embedding to which it is tied."""
    return EMBEDDING if config.tie_word_embeddings else HEAD


def count_parameters(config: ModelShape) -> int:
    """Number of weights; a tied embedding counts once."""
    layers = range(config.num_hidden_layers)
    others = sum(row.parameters(config, None) for row in (*BEFORE_LAYERS, *AFTER_LAYERS))
    return others + sum(row.parameters(config, layer) for layer in layers for row in IN_LAYER)
