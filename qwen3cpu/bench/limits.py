"""The limits of a model's speed: measured peaks of this machine, and computed bytes and multiply-adds per token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qwen3cpu.bench.cases import Case
from qwen3cpu.checkpoint.tensors import TWICE, logits_matrix, tensors_of, vocabulary_matrices
from qwen3cpu.engine.batch import LEAST_TOP_TOKENS
from qwen3cpu.engine.engine import CHUNK
from qwen3cpu.loading.loaded_model import Checkpoint
from qwen3cpu.packed.matrix import PackedMatrix


@dataclass(frozen=True)
class ModelCosts:
    """The bytes that a forward pass of a model reads, and its multiply-adds."""

    layer_bytes: int
    """Weights of the layers, with norms and biases."""
    head_bytes: int
    layer_macs: int
    """Multiply-adds of the linear layers for each token, without attention."""
    head_macs: int
    kv_bytes_per_token: float
    multiply: str
    """The peak that bounds the layers: "int8" or "fp32"."""
    expert_bytes: int = 0
    """The part of `layer_bytes` that belongs to experts."""
    chosen_share: float = 1.0
    """Share of the experts that each token uses."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a dict, for JSON."""
        return asdict(self)

    def bytes_per_token(self, case: Case) -> float:
        """Bytes that must be read from memory for each token of a case.

        Each pass reads the layers once and, for every sequence in it, the KV cache up to the last position. The head is
        read in passes that choose a token. Activations stay in the CPU's caches.
        """
        if case.n_gen:
            weights = (self._layers_read(case.batch) + self.head_bytes) / case.batch
            return weights + self.kv_bytes_per_token * (case.depth + (case.n_gen + 1) / 2)
        passes = -(-case.tokens // CHUNK)
        ends = min(case.batch, passes)
        weights = (passes * self._layers_read(case.tokens / passes) + ends * self.head_bytes) / case.tokens
        own_passes = -(-case.n_prompt // CHUNK)
        positions = case.depth + case.n_prompt * (own_passes + 1) / (2 * own_passes)
        return weights + self.kv_bytes_per_token * own_passes * positions / case.n_prompt

    def _layers_read(self, tokens: float) -> float:
        """Bytes of the layers that a pass over `tokens` tokens reads, if they choose their experts independently."""
        left_out: float = (1 - self.chosen_share) ** tokens
        return self.layer_bytes - self.expert_bytes * left_out

    def macs_per_token(self, case: Case) -> float:
        """Multiply-adds of the linear layers for each token of a case; a prompt needs the head once."""
        return self.layer_macs + (self.head_macs if case.n_gen else self.head_macs / case.n_prompt)


def model_costs(checkpoint: Checkpoint, kv_bytes_per_token: float) -> ModelCosts:
    """The costs of a checkpoint in its packed format."""
    tables = vocabulary_matrices(checkpoint.config)
    head = checkpoint.matrices[logits_matrix(checkpoint.config)]
    # If the vocabulary is large enough, a token needs only the first part of a head in two parts.
    halved = head.format == TWICE and head.rows >= LEAST_TOP_TOKENS
    layers = [matrix for name, matrix in checkpoint.matrices.items() if name not in tables]
    of_experts = {tensor.name for tensor in tensors_of(checkpoint.config) if tensor.copy is not None}
    experts = [checkpoint.matrices[name] for name in of_experts]
    own = checkpoint.config.experts
    share = 1.0 if own is None else own.chosen / own.count
    return ModelCosts(
        layer_bytes=sum(matrix.data.nbytes for matrix in layers) + sum(v.nbytes for v in checkpoint.vectors.values()),
        head_bytes=head.data.nbytes // 2 if halved else head.data.nbytes,
        layer_macs=round(_macs(layers) - (1 - share) * _macs(experts)),
        head_macs=head.rows * head.cols,
        kv_bytes_per_token=kv_bytes_per_token,
        multiply="fp32" if checkpoint.quant in ("f32", "bf16") else "int8",
        expert_bytes=sum(matrix.data.nbytes for matrix in experts),
        chosen_share=share,
    )


def _macs(matrices: Sequence[PackedMatrix]) -> int:
    return sum(matrix.rows * matrix.cols for matrix in matrices)
