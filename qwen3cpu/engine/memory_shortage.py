"""The error of a call that the engine cannot finish because memory is short."""

from __future__ import annotations

from qwen3cpu.errors import EngineError


class MemoryShortError(EngineError, MemoryError):
    """Memory is short. Code that handles MemoryError, such as that of jobs, handles it too.

    Args:
        work: what the memory was for.
        reason: the error of NumPy or of the compiled engine.
    """

    def __init__(self, work: str, reason: MemoryError) -> None:
        said = str(reason)
        found = f": {said}" if said and "bad_alloc" not in said else ""
        super().__init__(
            f"memory is short: expected enough for {work}, found too little{found}; use shorter texts, fewer at a "
            "time, or a smaller format of weights or KV cache"
        )
