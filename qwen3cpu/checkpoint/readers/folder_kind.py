"""Tells what a folder holds instead of a model: an adapter, weights in another format, or a file to pass itself."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from qwen3cpu.checkpoint.input_files import read_file
from qwen3cpu.checkpoint.json_fields import brief, parse_object
from qwen3cpu.errors import CheckpointError

_OTHERS = (
    ("*.gguf", "GGUF files: pass the path of one"),
    ("*.qwen3", "packed files: pass the path of one"),
    ("pytorch_model-*.bin", "shards written by torch.save without their index"),
    ("*.pth", "weights written by torch.save: load them with transformers and save_pretrained(FOLDER)"),
    ("*.onnx", "an ONNX model: pass the original model in safetensors"),
    ("tf_model.h5", "TensorFlow weights: pass the original model in safetensors"),
    ("consolidated*.safetensors", "weights in another layout: pass the one with model.safetensors"),
)


def check_no_adapter(folder: Path) -> None:
    """Raise CheckpointError when a folder without a model of its own holds a LoRA adapter."""
    names = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
    found = next((name for name in names if (folder / name).exists()), None)
    if found is None:
        return
    base = None
    try:
        data = read_file(folder / "adapter_config.json")
        base = None if data is None else parse_object(data, found).get("base_model_name_or_path")
    except CheckpointError:
        pass  # the message is only less detailed
    of = f" of {brief(base)}" if isinstance(base, str) else ""
    raise CheckpointError(
        f"{folder}: expected a whole model, found the adapter{of} ({found}); merge it into its model first "
        "(PEFT: merge_and_unload(), then save_pretrained())"
    )


def describe_other_weights(folder: Path) -> str:
    """Describe what a folder without model.safetensors holds: its files, or advice if their kind is known."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as reason:
        return f"a folder that cannot be listed ({reason.strerror or reason})"
    for pattern, text in _OTHERS:
        if any(fnmatch(name, pattern) for name in names):
            return text
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return shown or "an empty folder"
