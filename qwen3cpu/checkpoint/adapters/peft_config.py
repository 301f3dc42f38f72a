"""Reads adapter_config.json of PEFT. Settings that change the result are honoured, or refused by name."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from qwen3cpu.checkpoint.adapters.contents import MOST_RANK
from qwen3cpu.checkpoint.input_files import read_file
from qwen3cpu.checkpoint.json_fields import Fields, brief, parse_object
from qwen3cpu.errors import AdapterError

CONFIG_FILE: Final = "adapter_config.json"

_READ: Final = frozenset(
    {
        "peft_type",
        "r",
        "lora_alpha",
        "rank_pattern",
        "alpha_pattern",
        "use_rslora",
        "use_dora",
        "target_modules",
        "exclude_modules",
        "layers_to_transform",
        "layers_pattern",
        "modules_to_save",
        "bias",
        "init_lora_weights",
    }
)
_WITHOUT_EFFECT: Final = frozenset(
    {
        # About training, about where the adapter came from, or about how another program computes.
        "auto_mapping",
        "base_model_name_or_path",
        "corda_config",
        "eva_config",
        "inference_mode",
        "loftq_config",
        "lora_dropout",
        "lora_ga_config",
        "megatron_config",
        "megatron_core",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
        "task_type",
        # PEFT itself resets it for linear layers, and Qwen3 has no others.
        "fan_in_fan_out",
        # With it the file has the tensors of both tied modules.
        "ensure_weight_tying",
    }
)
_PLAIN_KINDS: Final = ("gaussian", "eva", "orthogonal", "mica")
"""Values of init_lora_weights that do not change the base model, besides true and false."""


class PeftConfig:
    """The settings of a LoRA adapter, checked.

    Args:
        folder: of the adapter.

    Raises:
        AdapterError: the file is missing, or has a setting that is not supported. The message names the setting.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / CONFIG_FILE
        data = read_file(self.path)
        if data is None:
            raise AdapterError(f"{folder}: expected a PEFT adapter, found no {CONFIG_FILE}")
        self.data = data
        """The bytes of the file."""
        fields = Fields(parse_object(data, str(self.path), AdapterError), str(self.path), AdapterError)
        self._values = fields.values
        if fields.text("peft_type") != "LORA":
            raise fields.fail("peft_type", '"LORA"')
        self._refuse(fields)
        base = fields.values.get("base_model_name_or_path")
        self.made_for = base if isinstance(base, str) and base else None
        """The model that the adapter names as its base; None: it names none."""
        self.rank = fields.integer("r", 1, MOST_RANK)
        self.alpha = fields.number("lora_alpha", -1e6, 1e6)
        self.rslora = fields.boolean("use_rslora", False)
        self.dora = fields.boolean("use_dora", False)
        self._ranks = self._pattern(fields, "rank_pattern")
        self._alphas = self._pattern(fields, "alpha_pattern")
        self._targets = _names(fields, "target_modules")
        self._excluded = _names(fields, "exclude_modules")
        self.saved = _names(fields, "modules_to_save")
        """The names in `modules_to_save`."""
        self._layers = self._layer_numbers(fields)
        self._layers_patterns = _names(fields, "layers_pattern") or ()
        for patterns in (self._ranks, self._alphas, self._texts(self._layers_patterns), self._texts(self.saved)):
            for pattern in patterns:
                self._compiled(pattern)

    def _refuse(self, fields: Fields) -> None:
        if fields.text("bias", "none") != "none":
            raise fields.fail("bias", '"none" (trained biases are not supported)')
        kind = fields.values.get("init_lora_weights", True)
        plain = kind is None or isinstance(kind, bool) or (isinstance(kind, str) and kind.lower() in _PLAIN_KINDS)
        if not plain:
            raise fields.fail(
                "init_lora_weights",
                "a kind that does not change the weights of the base model (save the adapter converted, PEFT: "
                "path_initial_model_for_weight_conversion)",
            )
        for name, value in fields.values.items():
            if name not in _READ and name not in _WITHOUT_EFFECT and value not in (None, False, [], {}, ""):
                raise fields.fail(name, "no such setting (it is not supported)")

    def _pattern(self, fields: Fields, name: str) -> Mapping[str, float]:
        value = fields.values.get(name) or {}
        if not isinstance(value, dict) or not all(
            isinstance(each, (int, float)) and not isinstance(each, bool) and math.isfinite(each)
            for each in value.values()
        ):
            raise fields.fail(name, "an object with numbers")
        return value

    @staticmethod
    def _layer_numbers(fields: Fields) -> frozenset[int] | None:
        value = fields.values.get("layers_to_transform")
        if value is None or value == []:
            return None
        numbers = value if isinstance(value, list) else [value]
        if not all(type(each) is int for each in numbers):
            raise fields.fail("layers_to_transform", "a number or a list of numbers")
        return frozenset(numbers)

    @staticmethod
    def _texts(names: str | tuple[str, ...] | None) -> tuple[str, ...]:
        return (names,) if isinstance(names, str) else names or ()

    def _compiled(self, pattern: str, around: str = "{}") -> re.Pattern[str]:
        try:
            return re.compile(around.format(pattern))
        except re.error as reason:
            raise AdapterError(
                f"{self.path}: expected a regular expression, found {brief(pattern)}: {reason}"
            ) from None

    # Questions about one module, by its name in Qwen3ForCausalLM ("model.layers.0.self_attn.q_proj")

    def rank_of(self, module: str) -> int:
        """Return the rank of a module."""
        return int(self._by_pattern(self._ranks, module, self.rank))

    def scale_of(self, module: str) -> float:
        """Return the factor on `b a` of a module."""
        rank, alpha = self.rank_of(module), self._by_pattern(self._alphas, module, self.alpha)
        return alpha / (math.sqrt(rank) if self.rslora else rank)

    def _by_pattern(self, patterns: Mapping[str, float], module: str, default: float) -> float:
        """Return the value of the first pattern that matches the end of the name, as PEFT does."""
        for pattern, value in patterns.items():
            if self._compiled(pattern, r"(?:.*\.)?(?:{})$").match(module):
                return value
        return default

    def is_saved(self, module: str) -> bool:
        """Whether modules_to_save names a module or one that contains it. Ends of names are compared, as in PEFT."""
        parts = module.split(".")
        around = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
        return any(each.endswith(name) for each in around for name in self._texts(self.saved))

    def is_target(self, module: str) -> bool:
        """Whether a module has low-rank matrices, by PEFT's rules."""
        if self._is_named(self._excluded, module):
            return False
        if any(self._compiled(name, r"(?:^|.*\.)(?:{})(?:$|\..*)").match(module) for name in self._texts(self.saved)):
            return False
        if self._targets == "all-linear":
            return module.startswith("model.layers.")
        if isinstance(self._targets, str):
            return self._compiled(self._targets).fullmatch(module) is not None
        if not self._is_named(self._targets, module):
            return False
        return self._layers is None or self._layer_of(module) in self._layers

    def _is_named(self, names: str | tuple[str, ...] | None, module: str) -> bool:
        if isinstance(names, str):
            return self._compiled(names).fullmatch(module) is not None
        return any(module == name or module.endswith(f".{name}") for name in names or ())

    def _layer_of(self, module: str) -> int | None:
        patterns = self._texts(self._layers_patterns) or ("[^.]*",)
        for pattern in patterns:
            if match := self._compiled(pattern, r"(?:^|.*?\.)(?:{})\.(?P<number>\d+)\.").match(module):
                return int(match["number"])
        return None


def _names(fields: Fields, key: str) -> str | tuple[str, ...] | None:
    """Read a setting that is a regular expression or a list of names; None: absent or empty."""
    value = fields.values.get(key)
    if value is None or isinstance(value, str):
        return value or None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise fields.fail(key, "a string or a list of strings")
    return tuple(value) or None
