"""Jobs in a file: every line of a JSONL file answered, and gone on with after any end."""

from qwen3cpu.batch.run import Summary, run_file

__all__ = ["Summary", "run_file"]
