"""Reads and checks config.json and generation_config.json. Every shape of the model comes from here."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.checkpoint.experts import ARCHITECTURE, MODEL_TYPE, Experts, read_experts
from qwen3cpu.checkpoint.json_fields import Fields, brief
from qwen3cpu.checkpoint.rope import RopeScaling, inverse_frequencies, read_rope
from qwen3cpu.checkpoint.tensors import count_parameters
from qwen3cpu.errors import ConfigError

_DEFAULT_HEAD_DIM = 128  # what transformers' Qwen3Config takes when the key is absent; it is not hidden_size / heads
_MAX_PARAMETERS = 1 << 40
MLX = "mlx"
"""The name of MLX's quantisation in `quant_method`."""
_ARCHITECTURES = {
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Model", "Qwen3ForSequenceClassification"),
    MODEL_TYPE: (ARCHITECTURE,),
}


@dataclass(frozen=True)
class ModelConfig:
    """Shapes and constants of a Qwen3 model.

    Source: the published configs, transformers' Qwen3Config and Qwen3MoeConfig.

    experts: settings of the layers with experts; None: all layers are dense.
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    rms_norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling | None
    max_position_embeddings: int
    tie_word_embeddings: bool
    attention_bias: bool
    eos_token_ids: tuple[int, ...]
    experts: Experts | None = None

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], source: str, quant_methods: Collection[str | None] | None = ()
    ) -> ModelConfig:
        """Read a config.json in the spelling of transformers 4 or 5.

        Args:
            values: the file's contents.
            source: what messages call it.
            quant_methods: accepted quantisation methods; unquantised weights are always accepted. None: accept any
                method, for weights that do not come from the file's folder.

        Raises:
            ConfigError: a missing, invalid or unsupported value. The message names `source` and the key.
        """
        fields = Fields(values, source, ConfigError)
        _check_architecture(fields)
        if quant_methods is not None:
            _check_quantization(values, source, quant_methods)
        heads = fields.integer("num_attention_heads", 1, 4096)
        if "num_key_value_heads" not in values:
            raise fields.fail("num_key_value_heads", "an integer from 1 to 4096")
        positions = fields.integer("max_position_embeddings", 1, 2**30)
        layers = fields.integer("num_hidden_layers", 1, 1024)
        theta, scaling = read_rope(values, source, positions)
        config = cls(
            hidden_size=fields.integer("hidden_size", 1, 1 << 17),
            intermediate_size=fields.integer("intermediate_size", 1, 1 << 20),
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=fields.optional_integer("num_key_value_heads", 1, 4096) or heads,
            head_dim=fields.integer("head_dim", 2, 1024) if "head_dim" in values else _DEFAULT_HEAD_DIM,
            vocab_size=fields.integer("vocab_size", 1, 1 << 24),
            rms_norm_eps=fields.number("rms_norm_eps", 0.0, 1.0, above_low=True),
            rope_theta=theta,
            rope_scaling=scaling,
            max_position_embeddings=positions,
            tie_word_embeddings=fields.boolean("tie_word_embeddings", False),
            attention_bias=fields.boolean("attention_bias", False),
            eos_token_ids=fields.token_ids("eos_token_id") or (),
            experts=read_experts(fields, layers),
        )
        config._check_shapes(source)
        return config

    def _check_shapes(self, source: str) -> None:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ConfigError(
                f"{source}: num_attention_heads: expected a multiple of num_key_value_heads "
                f"({self.num_key_value_heads}), found {self.num_attention_heads}"
            )
        if self.head_dim % 2:
            raise ConfigError(f"{source}: head_dim: expected an even number (RoPE turns pairs), found {self.head_dim}")
        if self.query_size > 1 << 20:
            raise ConfigError(
                f"{source}: num_attention_heads * head_dim: expected at most {1 << 20}, "
                f"found {self.num_attention_heads} * {self.head_dim}"
            )
        if self.parameters() > _MAX_PARAMETERS:
            raise ConfigError(f"{source}: expected at most {_MAX_PARAMETERS} parameters, found {self.parameters()}")

    def has_experts(self, layer: int) -> bool:
        """Whether the MLP of this layer is made of experts."""
        return self.experts is not None and layer not in self.experts.dense_layers

    def alone(self, layer: int, vocab_size: int) -> ModelConfig:
        """Return the configuration of a model with this layer only, and a vocabulary of `vocab_size` rows."""
        experts = replace(self.experts, dense_layers=()) if self.experts and self.has_experts(layer) else None
        return replace(self, num_hidden_layers=1, vocab_size=vocab_size, experts=experts)

    @property
    def query_size(self) -> int:
        """Columns of the queries of all heads side by side."""
        return self.num_attention_heads * self.head_dim

    @property
    def key_size(self) -> int:
        """Columns of the keys, and of the values, of all heads side by side."""
        return self.num_key_value_heads * self.head_dim

    def inv_freq(self) -> NDArray[np.float32]:
        """Return the RoPE frequencies (radians per position of every pair), YaRN included: float32 [head_dim / 2]."""
        return inverse_frequencies(self.head_dim, self.rope_theta, self.rope_scaling)

    def rope_scale(self) -> float:
        """Return the factor on cos and sin: YaRN's attention factor, or 1.0 without YaRN."""
        return 1.0 if self.rope_scaling is None else self.rope_scaling.scale()

    def rope_digest(self) -> str:
        """Return the SHA-256 (hex) of frequencies and scale. Equal digests mean equal rotations."""
        rope = self.inv_freq().astype("<f4").tobytes() + np.float64(self.rope_scale()).tobytes()
        return hashlib.sha256(rope).hexdigest()

    def native(
        self, context: int, *, tokens: int | None = None, fits: bool = True, int16_inputs: bool = False
    ) -> dict[str, Any]:
        """Return the configuration that `_native.Model` takes, for sequences of up to `context` positions.

        Args:
            context: positions of the longest sequence.
            tokens: number of ids of the tokenizer. Rows of the head beyond them have no token.
            fits: whether memory holds all weights.
            int16_inputs: whether the inputs of quantised matrices have 16 bits instead of 8.
        """
        return {
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab_size,
            "tokens": self.vocab_size if tokens is None else min(tokens, self.vocab_size),
            "rms_norm_eps": self.rms_norm_eps,
            "inv_freq": self.inv_freq(),
            "rope_scale": self.rope_scale(),
            "context": context,
            "int16_inputs": int16_inputs,
            **({} if self.experts is None else {"experts": self.experts.native(fetched=not fits)}),
        }

    def parameters(self) -> int:
        """Number of weights; a tied embedding counts once."""
        return count_parameters(self)


def _check_architecture(fields: Fields) -> None:
    """Raise ConfigError for everything that is not a Qwen3 with full attention."""
    values = fields.values
    known = _ARCHITECTURES.get(str(fields.text("model_type")))
    if known is None:
        raise fields.fail("model_type", "'qwen3' (the dense Qwen3 models) or 'qwen3_moe' (those with experts)")
    architectures = values.get("architectures")
    # sentence-transformers saves embedding models as "Qwen3Model"; converted rerankers have the third name.
    if architectures is not None and (
        not isinstance(architectures, list) or set(known).isdisjoint(map(str, architectures))
    ):
        raise fields.fail("architectures", f"a list with one of {', '.join(known)}")
    if fields.text("hidden_act", "silu") not in ("silu", "swish"):
        raise fields.fail("hidden_act", "'silu'")
    if fields.boolean("use_sliding_window", False):
        raise fields.fail("use_sliding_window", "false (sliding-window attention is not supported)")
    layer_types = values.get("layer_types")
    if layer_types is not None and (
        not isinstance(layer_types, list) or any(kind != "full_attention" for kind in layer_types)
    ):
        raise fields.fail("layer_types", "'full_attention' for every layer")


def quant_method(values: Mapping[str, Any]) -> str | None:
    """Return `quant_method` of the quantization_config in a config.json. None: the weights are not quantised.

    MLX writes an object `quantization` without a method, and a copy of it as quantization_config.
    """
    quantization = values.get("quantization_config")
    method = quantization.get("quant_method") if isinstance(quantization, dict) else None
    if method is None and isinstance(values.get("quantization"), dict):
        return MLX
    return method if isinstance(method, str) else None


def _check_quantization(values: Mapping[str, Any], source: str, quant_methods: Collection[str | None]) -> None:
    quantization, method = values.get("quantization_config"), quant_method(values)
    if method in quant_methods if method is not None else quantization is None:
        return
    key = "quantization" if method == MLX else "quantization_config"
    known = ", ".join(sorted(each for each in quant_methods if each is not None))
    found = method or (quantization.get("quant_method") if isinstance(quantization, dict) else quantization)
    raise ConfigError(
        f"{source}: {key}: expected an unquantised checkpoint (BF16, F16 or F32 weights)"
        f"{known and f' or one quantised by {known}'}, found one quantised by {brief(found)}; pass the original model"
    )


@dataclass(frozen=True)
class GenerationDefaults:
    """The sampling settings that a model's authors recommend in generation_config.json. None: not in the file."""

    do_sample: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    max_new_tokens: int | None = None
    eos_token_ids: tuple[int, ...] | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str) -> GenerationDefaults:
        """Read generation_config.json; unknown keys are ignored. Raises ConfigError naming `source` and the key."""
        fields = Fields(values, source, ConfigError)
        return cls(
            do_sample=None if values.get("do_sample") is None else fields.boolean("do_sample", False),
            temperature=fields.optional_number("temperature", 0.0, 1e4),
            # llama.cpp and vLLM write -1 for "keep all"; None would be our own default.
            top_k=_top_k(fields),
            top_p=fields.optional_number("top_p", 0.0, 1.0, above_low=True),
            min_p=fields.optional_number("min_p", 0.0, 1.0),
            repetition_penalty=fields.optional_number("repetition_penalty", 0.0, 1e4, above_low=True),
            max_new_tokens=fields.lenient_integer("max_new_tokens", 1, 2**31 - 1),
            eos_token_ids=fields.token_ids("eos_token_id"),
        )


def _top_k(fields: Fields) -> int | None:
    top_k = fields.lenient_integer("top_k", 0, 2**31 - 1)
    return 0 if top_k is None and fields.values.get("top_k") is not None else top_k


def end_token_ids(config: ModelConfig, defaults: GenerationDefaults) -> frozenset[int]:
    """Return the end tokens that config.json and generation_config.json name. May be empty."""
    return frozenset(config.eos_token_ids) | frozenset(defaults.eos_token_ids or ())
