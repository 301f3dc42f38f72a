"""All calls of llguidance go through here, where forks, the end of the interpreter and panics in Rust are met."""

from __future__ import annotations

from types import TracebackType
from typing import Final

from qwen3cpu.errors import ArgumentError, is_panic
from qwen3cpu.system.library_calls import LibraryCalls


class _Calls(LibraryCalls):
    """Around calls of llguidance, by `with`. Raises ArgumentError for a panic, which is none of Exception's."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        if error is not None and is_panic(error):
            raise ArgumentError(f"schema: llguidance failed: {error}") from None


LIBRARY: Final = _Calls()
