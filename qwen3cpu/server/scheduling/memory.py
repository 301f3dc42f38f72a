"""How much memory the KV cache may take by default."""

from __future__ import annotations

from qwen3cpu import _native
from qwen3cpu.model import Model
from qwen3cpu.system.memory import system_memory


def default_kv_bytes(model: Model) -> int:
    """Half of the memory that is free now, and at least what one full context needs."""
    block = model.engine.native.kv_block_bytes()
    least = (-(-model.context // _native.KV_BLOCK) + 1) * block
    return max(least, min(available_bytes(), system_memory()) // 2)


def available_bytes() -> int:
    """Memory that the system could give without swapping; all where it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name == "MemAvailable":
                    return int(value.split()[0]) * 1024
    except OSError:
        pass  # not Linux
    return system_memory()
