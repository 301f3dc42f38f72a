"""The memory that the KV cache may take."""

from __future__ import annotations

from qwen3cpu.engine.engine import Engine
from qwen3cpu.engine.sequence import block_count
from qwen3cpu.errors import ArgumentError
from qwen3cpu.model import Model
from qwen3cpu.system.free_memory import system_left
from qwen3cpu.system.memory import system_memory


def default_kv_bytes(model: Model) -> int:
    """Half of the free memory in bytes, and at least what one full context needs."""
    least = least_kv_blocks(model.context) * model.engine.kv_block_bytes
    whole, left = system_memory(), system_left()
    return max(least, (whole if left is None else min(whole, left)) // 2)


def kv_blocks(engine: Engine, kv_bytes: int) -> int:
    """The number of KV cache blocks in `kv_bytes`. Raises ArgumentError when they do not hold one full context."""
    least = least_kv_blocks(engine.context)
    blocks = kv_bytes // engine.kv_block_bytes
    if blocks < least:
        raise ArgumentError(
            f"KV memory: a context of {engine.context} positions needs {least * engine.kv_block_bytes} bytes, found "
            f"{kv_bytes}; expected more memory or a shorter context"
        )
    return blocks


def least_kv_blocks(context: int) -> int:
    """Blocks that one answer may need: those of a full context, and one for the copy of a shared last block."""
    return block_count(context) + 1
