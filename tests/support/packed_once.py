"""Packs the models inside the package once in a process, even if tests load them often. Each time takes 0.3 s."""

from pathlib import Path
from unittest import mock

import qwen3cpu
from qwen3cpu.loading import open as opening

ASSETS = Path(qwen3cpu.__file__).parent / "assets"


def packing_once():
    """A patch to enter or start: later loads get the arrays of the first load, which are never written to."""
    pack, kept = opening.pack_in_memory, {}

    def pack_in_memory(weights, texts, quant, **options):
        if ASSETS not in weights.path.parents and weights.path != ASSETS:
            return pack(weights, texts, quant, **options)
        key = weights.fingerprint(), quant
        if key not in kept:
            kept[key] = pack(weights, texts, quant, **options)
            for matrix in kept[key].values():
                matrix.data.flags.writeable = False
        return dict(kept[key])

    return mock.patch.object(opening, "pack_in_memory", pack_in_memory)
