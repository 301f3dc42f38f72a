"""Jobs in a file: answers every line of a JSONL file, and continues after an interruption."""

from qwen3cpu.batch.run import Summary, run_file

__all__ = ["Summary", "run_file"]
