"""The quality receipt of a packed file: what its rounding costs on a text, measured once and kept with the weights.

It is part of the sealed header. Writing it copies the data unchanged.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from qwen3cpu.checkpoint.json_fields import parse_object
from qwen3cpu.errors import CheckpointError
from qwen3cpu.evaluation.measuring import AnyQuality
from qwen3cpu.evaluation.quality import Quality
from qwen3cpu.evaluation.search_quality import EmbeddingQuality, RerankingQuality
from qwen3cpu.packed.packed_file import PackedFile
from qwen3cpu.packed.sealed_file import replacing, reseal

_KEY: Final = "quality"
_ABOUT: Final = {"text", "text_sha256"}
_TEXTS: Final = {"quant", "reference", *_ABOUT}


def read_receipt(file: PackedFile) -> dict[str, Any] | None:
    """Read the receipt as a dictionary with the numbers, `text` (name of the text) and `text_sha256`. None: no receipt.

    Raises CheckpointError for anything that `write_receipt` does not write.
    """
    text = file.metadata.get(_KEY)
    if text is None:
        return None
    receipt = parse_object(text.encode("utf-8", "replace"), f"{file.path}: {_KEY}")
    kinds = [{field.name for field in fields(kind)} | _ABOUT for kind in (Quality, EmbeddingQuality, RerankingQuality)]
    if set(receipt) not in kinds or not all(type(receipt[name]) in (int, float) for name in set(receipt) - _TEXTS):
        expected = " or ".join(map(str, map(sorted, kinds)))
        raise CheckpointError(f"{file.path}: {_KEY}: expected the fields {expected}, found {sorted(receipt)}")
    return receipt


def write_receipt(path: Path, quality: AnyQuality, text_name: str, text_sha256: str) -> None:
    """Store a receipt in a packed file, which is replaced atomically. Raises CheckpointError, OSError."""
    header = PackedFile(path).header
    receipt = quality.to_dict() | {"text": text_name, "text_sha256": text_sha256}
    with path.open("rb") as old, replacing(path) as new:
        new.write(reseal(header, {_KEY: json.dumps(receipt, separators=(",", ":"))}))
        old.seek(len(header))
        shutil.copyfileobj(old, new, 8 << 20)
