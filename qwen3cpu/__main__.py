"""`python -m qwen3cpu` is the same as the command `qwen3cpu`."""

import sys

from qwen3cpu.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
