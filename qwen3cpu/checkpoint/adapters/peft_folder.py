"""Reads an adapter saved by PEFT: a folder with adapter_config.json and adapter_model.safetensors (or .bin)."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from qwen3cpu.checkpoint.adapters.contents import AdapterContents, LowRank, ModelTensors
from qwen3cpu.checkpoint.adapters.peft_config import PeftConfig
from qwen3cpu.checkpoint.config import ModelConfig
from qwen3cpu.checkpoint.mapped_tensors import MappedTensors
from qwen3cpu.checkpoint.safetensors_file import SafetensorsFile
from qwen3cpu.checkpoint.tensor_names import own_name
from qwen3cpu.checkpoint.tensors import EMBEDDING
from qwen3cpu.errors import AdapterError

WEIGHTS_FILE: Final = "adapter_model.safetensors"
TORCH_FILE: Final = "adapter_model.bin"
_FLOATS: Final = ("F32", "F16", "BF16")
_PARTS: Final = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector|base_layer)"
    r"(?:\.weight)?"
)
_WEIGHT: Final = ".weight"

_Parts = dict[str, NDArray[Any]]


def read_peft_folder(folder: Path, config: ModelConfig) -> AdapterContents:
    """Read the adapter in a folder, for a model of this configuration.

    Raises:
        AdapterError: a setting that is not supported, or tensors that do not fit the model or the settings.
        CheckpointError: a file that is damaged.
    """
    settings = PeftConfig(folder)
    file = _open(folder)
    path = file.path
    model = ModelTensors(config, path, settings.made_for)
    parts, whole = _sorted(file, model, settings)
    low_rank = {}
    for tensor in model:
        module = tensor.removesuffix(_WEIGHT)
        if tensor in parts and parts[tensor].keys() != {"base_layer"}:
            low_rank[tensor] = _low_rank(tensor, parts[tensor], model, settings, path)
        elif model.is_matrix(tensor) and settings.is_target(module) and not _is_embedding(module):
            raise AdapterError(
                f"{path}: expected tensors of {module}, which target_modules of {settings.path} names, found none"
            )
        if tensor in parts and "base_layer" in parts[tensor]:
            whole[tensor] = model.whole(tensor, parts[tensor]["base_layer"])
    return AdapterContents(folder, _identity(settings, file), low_rank, whole, settings.made_for)


def _open(folder: Path) -> MappedTensors:
    if (folder / WEIGHTS_FILE).exists():
        return SafetensorsFile(folder / WEIGHTS_FILE)
    if (folder / TORCH_FILE).exists():
        # Imported here: few adapters are written by torch.save.
        from qwen3cpu.checkpoint.torch_file import TorchFile

        return TorchFile(folder / TORCH_FILE)
    raise AdapterError(f"{folder}: expected {WEIGHTS_FILE} or {TORCH_FILE}, found neither")


def _is_embedding(module: str) -> bool:
    """Whether a module is outside the layers. Targets may name such a module although the file has no tensors of it."""
    return not module.startswith("model.layers.")


def _sorted(
    file: MappedTensors, model: ModelTensors, settings: PeftConfig
) -> tuple[dict[str, _Parts], dict[str, NDArray[Any]]]:
    """Sort the file's tensors into parts of low-rank changes by matrix, and whole tensors by name."""
    parts: dict[str, _Parts] = {}
    whole: dict[str, NDArray[Any]] = {}
    for stored in file.tensors:
        name = own_name(stored)
        match = _PARTS.fullmatch(name)
        tensor = name if match is None else f"{match['module']}{_WEIGHT}"
        where = f"{file.path}: tensor {stored!r}"
        if file.tensors[stored].dtype not in _FLOATS:
            raise AdapterError(f"{where}: expected {', '.join(_FLOATS)}, found {file.tensors[stored].dtype}")
        if tensor not in model:
            raise AdapterError(f"{where}: expected a tensor of this model, found another: {model.another_model}?")
        module = tensor.removesuffix(_WEIGHT)
        if match is None:
            if not settings.is_saved(module):
                raise AdapterError(f"{where}: expected it among modules_to_save of {settings.path}, found it missing")
            whole[tensor] = model.whole(tensor, file.array(stored))
            continue
        if not model.is_matrix(tensor) or not settings.is_target(module):
            raise AdapterError(f"{where}: expected a module of target_modules of {settings.path}, found {module}")
        found = parts.setdefault(tensor, {})
        part = match["part"].replace("embedding_", "")
        right_kind = part not in ("lora_A", "lora_B") or ("embedding_" in match["part"]) == (tensor == EMBEDDING)
        if part in found or not right_kind:
            raise AdapterError(f"{where}: expected one {part}, as {module} has it, found another")
        found[part] = file.array(stored)
    return parts, whole


def _low_rank(tensor: str, found: _Parts, model: ModelTensors, settings: PeftConfig, path: Path) -> LowRank:
    module = tensor.removesuffix(_WEIGHT)
    expected = {"lora_A", "lora_B"} | ({"lora_magnitude_vector"} if settings.dora else set())
    names = found.keys() - {"base_layer"}
    if names != expected:
        raise AdapterError(
            f"{path}: {module}: expected {', '.join(sorted(expected))}, found {', '.join(sorted(names))}"
        )
    a, b = found["lora_A"], found["lora_B"]
    change = model.low_rank(tensor, a, b, settings.scale_of(module), found.get("lora_magnitude_vector"))
    if change.rank != settings.rank_of(module):
        raise AdapterError(
            f"{path}: {module}: expected rank {settings.rank_of(module)}, as {settings.path} says, found {change.rank}"
        )
    return change


def _identity(settings: PeftConfig, file: MappedTensors) -> str:
    digest = hashlib.sha256(hashlib.sha256(settings.data).digest())
    digest.update(file.header)
    for name in sorted(file.tensors):
        digest.update(file.raw(name).data)
    return digest.hexdigest()
