"""Model folders with quantised tensors of other libraries: `made/`, written by the scripts in `makers/`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from checkpoints import VOCAB_SIZE, random_tensors, to_dtype, write_checkpoint, write_json, write_safetensors
from numpy.typing import NDArray

MADE = Path(__file__).parent / "made"
SHAPE = {
    "num_hidden_layers": 1,
    "hidden_size": 64,
    "intermediate_size": 96,
    "head_dim": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
"""The shape of the models in made/."""
VOCABULARY = VOCAB_SIZE
"""Rows of their embedding."""
NUMPY = {
    **{"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I8": "i1", "U8": "u1", "I32": "<i4", "U32": "<u4", "I64": "<i8"},
    **{"F8_E4M3": "u1", "F8_E5M2": "u1", "F8_E8M0": "u1"},
}

Stored = dict[str, tuple[str, NDArray[Any]]]
"""Tensor -> (dtype of safetensors, array with its bytes)."""


def made_names(prefix: str = "") -> list[str]:
    """The names of the examples in made/."""
    return sorted(path.stem for path in MADE.glob(f"{prefix}*.json"))


def about(name: str) -> dict[str, Any]:
    """Read made/NAME.json."""
    found: dict[str, Any] = json.loads((MADE / f"{name}.json").read_text())
    return found


def read_tensors(path: Path) -> Stored:
    """Every tensor of a safetensors file."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        first, last = (start + each for each in entry["data_offsets"])
        array = np.frombuffer(data[first:last], NUMPY[entry["dtype"]]).reshape(entry["shape"]).copy()
        tensors[name] = (entry["dtype"], array)
    return tensors


def write_made(
    folder: Path,
    name: str,
    change: Callable[[Stored], Any] = lambda tensors: None,
    config: Callable[[dict[str, Any]], Any] = lambda values: None,
    **overrides: Any,
) -> Path:
    """Write a model with some matrices from made/NAME, in a separate file.

    Args:
        folder: made if missing.
        name: of files in made/.
        change: changes the tensors of made/NAME before they are written.
        config: changes config.json.
        overrides: keys of config.json.

    Returns:
        The folder.
    """
    found = about(name)
    keys = {**SHAPE, **found["config"], **overrides}
    written = write_checkpoint(folder, **keys)
    (folder / "model.safetensors").unlink()
    config(written.config)
    write_json(folder / "config.json", written.config)
    made = read_tensors(MADE / f"{name}.safetensors")
    change(made)
    others: Stored = {
        key: ("BF16", to_dtype(values, "bfloat16")[0])
        for key, values in written.tensors.items()
        if key not in found["sha256"]
    }
    files = {"model-00001-of-00002.safetensors": made, "model-00002-of-00002.safetensors": others}
    for file, tensors in files.items():
        write_safetensors(folder / file, tensors)
    weight_map = {key: file for file, tensors in files.items() for key in tensors}
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    return folder


def plain_twin(folder: Path, config: Mapping[str, Any], matrices: Mapping[str, NDArray[np.float32]]) -> Path:
    """Write the same model unquantised in float32, with these matrices and the others of `write_made`."""
    keys = {key: value for key, value in config.items() if not key.startswith("quantization") and key != "torch_dtype"}
    tensors = {
        name: matrices[name] if name in matrices else to_dtype(values, "bfloat16")[1]
        for name, values in random_tensors(config)
    }
    return write_checkpoint(folder, dtype="float32", tensors=tensors, **keys).folder


def digest(values: NDArray[np.float32]) -> str:
    """The digest of makers/common.py."""
    return hashlib.sha256(np.ascontiguousarray(values, dtype="<f4").tobytes()).hexdigest()
