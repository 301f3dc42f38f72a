"""The released Qwen3 models: one table, from which names, sizes, `list`, `plan`, errors and docs/models.md follow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from qwen3cpu.arguments import nearest
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.experts import MODEL_TYPE
from qwen3cpu.checkpoint.purpose import Task

OWNER: Final = "Qwen"
"""The owner of the released models on the hub."""
PREFIX: Final = "Qwen3-"
LICENCE: Final = "Apache-2.0"
VOCABULARY: Final = 151936
GGUF: Final = "GGUF"
"""The form of repositories that hold several GGUF files. The user names the one to fetch."""


class Shape(NamedTuple):
    """The values of config.json that differ between models. The rest is the same for all."""

    hidden: int
    layers: int
    heads: int
    inner: int
    tied: bool
    """Whether the head is the embedding."""
    expert_width: int = 0
    """Width of an expert; 0: a dense model. A model with experts has 128 in every layer and chooses 8."""
    kv_heads: int = 8


SHAPES: Final = {
    "0.6B": Shape(1024, 28, 16, 3072, True),
    "1.7B": Shape(2048, 28, 16, 6144, True),
    "4B": Shape(2560, 36, 32, 9728, True),
    "8B": Shape(4096, 36, 32, 12288, False),
    "14B": Shape(5120, 40, 40, 17408, False),
    "32B": Shape(5120, 64, 64, 25600, False),
    "30B-A3B": Shape(2048, 48, 32, 6144, False, 768, 4),
    "235B-A22B": Shape(4096, 94, 64, 12288, False, 1536, 4),
}
"""Shapes of the released models, from their config.json."""


@dataclass(frozen=True)
class KnownModel:
    """A released model.

    Attributes:
        name: the name of its repository.
        size: a key of SHAPES.
        task: what it was made for.
        positions: max_position_embeddings.
        forms: suffixes of the repositories in which the authors offer it quantised.
        other_names: further names for it; spellings of `name` need not be listed.
        stored_head: whether its files hold a tied head beside the embedding.
    """

    name: str
    size: str
    task: Task = "generation"
    positions: int = 40960
    forms: tuple[str, ...] = ()
    other_names: tuple[str, ...] = ()
    stored_head: bool = False

    @property
    def hub_id(self) -> str:
        """Its id on the Hugging Face hub."""
        return f"{OWNER}/{self.name}"

    @property
    def short(self) -> str:
        """The name without the prefix "Qwen3-", as people type it."""
        return self.name.removeprefix(PREFIX)

    @property
    def parameters(self) -> int:
        """Number of weights; a tied head counts once."""
        return self.config().parameters()

    @property
    def file_bytes(self) -> int:
        """Bytes of its weights on the hub, in bfloat16."""
        head = SHAPES[self.size].hidden * VOCABULARY if self.stored_head else 0
        return 2 * (self.parameters + head)

    def config(self) -> ModelConfig:
        """Make its configuration. Real vocabularies of embedding models and rerankers are 267 to 271 rows shorter."""
        shape = SHAPES[self.size]
        # An embedding model has no head.
        shape = shape._replace(tied=shape.tied or self.task == "embedding")
        return shaped_config(shape, self.positions, f"the shape of {self.name}")


def shaped_config(shape: Shape, positions: int, source: str, **others: int) -> ModelConfig:
    """Make the configuration of a released model. Arguments as for `shaped_values`; messages call it `source`."""
    return ModelConfig.from_dict(shaped_values(shape, positions, **others), source)


def shaped_values(shape: Shape, positions: int, **others: int) -> dict[str, Any]:
    """Make the part of a released model's config.json that determines what is computed.

    Args:
        shape: the values that differ between models.
        positions: max_position_embeddings.
        others: other values that replace those of the released models.
    """
    experts = {
        "model_type": MODEL_TYPE,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": shape.expert_width,
        "norm_topk_prob": True,
    }
    return {
        **(experts if shape.expert_width else {"model_type": "qwen3"}),
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": 128,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": positions,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "tie_word_embeddings": shape.tied,
        **others,
    }


_MLX: Final = ("MLX-4bit", "MLX-6bit", "MLX-8bit", "MLX-bf16")
_SMALL: Final = ("FP8", "GPTQ-Int8", *_MLX, GGUF)
_LARGE: Final = ("FP8", "AWQ", *_MLX, GGUF)

KNOWN: Final = (
    KnownModel("Qwen3-0.6B", "0.6B", forms=_SMALL, stored_head=True),
    KnownModel("Qwen3-1.7B", "1.7B", forms=_SMALL, stored_head=True),
    KnownModel("Qwen3-4B", "4B", forms=_LARGE),
    KnownModel("Qwen3-8B", "8B", forms=_LARGE),
    KnownModel("Qwen3-14B", "14B", forms=_LARGE),
    KnownModel("Qwen3-32B", "32B", forms=_LARGE),
    KnownModel("Qwen3-4B-Instruct-2507", "4B", positions=262144, forms=("FP8",), other_names=("4b-instruct",)),
    KnownModel("Qwen3-4B-Thinking-2507", "4B", positions=262144, forms=("FP8",), other_names=("4b-thinking",)),
    KnownModel("Qwen3-0.6B-Base", "0.6B", positions=32768),
    KnownModel("Qwen3-1.7B-Base", "1.7B", positions=32768),
    KnownModel("Qwen3-4B-Base", "4B", positions=32768),
    KnownModel("Qwen3-8B-Base", "8B", positions=32768),
    KnownModel("Qwen3-14B-Base", "14B", positions=32768),
    KnownModel("Qwen3-Embedding-0.6B", "0.6B", "embedding", 32768, (GGUF,)),
    KnownModel("Qwen3-Embedding-4B", "4B", "embedding", forms=(GGUF,)),
    KnownModel("Qwen3-Embedding-8B", "8B", "embedding", forms=(GGUF,)),
    KnownModel("Qwen3-Reranker-0.6B", "0.6B", "reranking"),
    KnownModel("Qwen3-Reranker-4B", "4B", "reranking"),
    KnownModel("Qwen3-Reranker-8B", "8B", "reranking"),
    KnownModel("Qwen3-30B-A3B", "30B-A3B", forms=("FP8", "GPTQ-Int4", GGUF), other_names=("30b",)),
    KnownModel("Qwen3-30B-A3B-Instruct-2507", "30B-A3B", positions=262144, forms=("FP8",)),
    KnownModel("Qwen3-30B-A3B-Thinking-2507", "30B-A3B", positions=262144, forms=("FP8",)),
    KnownModel("Qwen3-Coder-30B-A3B-Instruct", "30B-A3B", positions=262144, forms=("FP8",)),
    KnownModel("Qwen3-235B-A22B", "235B-A22B", forms=("FP8", "GPTQ-Int4", GGUF), other_names=("235b",)),
)
"""The released models as of autumn 2025. Everything else about known models is made from this table."""


class Named(NamedTuple):
    """A model that a name stands for, and the repository that has it in the named form."""

    model: KnownModel
    hub_id: str


def find_known(name: str) -> Named | None:
    """Find the released model that a name stands for, in any spelling. None: the name is unknown.

    Spellings are such as "1.7B", "qwen3:1.7b", "Qwen3-1.7B", "qwen/qwen3-1.7b" and "4b-awq".
    """
    return _BY_KEY.get(_key(name))


def canonical(name: str) -> str:
    """Return the hub id of a released model, in whatever spelling it is given; other names stay unchanged."""
    found = find_known(name)
    return name if found is None else found.hub_id


def nearest_known(name: str) -> str | None:
    """Return the released model that a name misspells or extends, such as "1.7b-q4_K_M"; None: none is near."""
    key = _key(name)[:64]
    begun = [each for each in _BY_KEY if key.startswith(f"{each}-")]
    near = max(begun, key=len) if begun else nearest(key, tuple(_BY_KEY), least=0.75)
    return None if near is None else _BY_KEY[near].hub_id.partition("/")[2]


def _key(name: str) -> str:
    """Reduce a name to what all spellings of it share."""
    key = re.sub(r"[\s:_]+", "-", name.strip().lower().removesuffix(":latest"))
    key = key.removeprefix(f"{OWNER.lower()}/")
    return key.removeprefix(PREFIX.lower())


def _by_key() -> dict[str, Named]:
    found = {}
    for model in KNOWN:
        for form in ("", *(form for form in model.forms if form != GGUF)):
            name = f"{model.name}-{form}".removesuffix("-")
            found[_key(name)] = Named(model, f"{OWNER}/{name}")
        for other in model.other_names:
            found[other] = Named(model, model.hub_id)
    return found


_BY_KEY: Final = _by_key()
