"""How much memory the KV cache may take by default."""

from __future__ import annotations

from qwen3cpu.engine.sequence import block_count
from qwen3cpu.model import Model
from qwen3cpu.system.memory import system_memory


def default_kv_bytes(model: Model) -> int:
    """Half of the memory that is free now, and at least what one full context needs."""
    least = least_kv_blocks(model.context) * model.engine.kv_block_bytes
    return max(least, min(available_bytes(), system_memory()) // 2)


def least_kv_blocks(context: int) -> int:
    """Blocks that one answer may need: those of a full context, and one for a last block that others share."""
    return block_count(context) + 1


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
