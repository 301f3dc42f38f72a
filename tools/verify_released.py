"""Compare a released model with transformers and keep the receipt. .github/workflows/released-weights.yml runs this.

    python tools/verify_released.py MODEL [FILE]

MODEL is a hub id or a folder. FILE is a file in it (a GGUF file), if MODEL as a whole is not a model. Perplexity is
measured on docs/architecture.md. Writes receipts/NAME.md into the working directory. Exit code 1: the two differ.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from qwen3cpu.cli.main import main as qwen3cpu

TEXT = Path(__file__).parents[1] / "docs" / "architecture.md"


def file_of(model: str, file: str) -> str:
    """The path of a file of a folder or of a model on the hub, which is downloaded."""
    if Path(model).is_dir():
        return str(Path(model) / file)
    from huggingface_hub import hf_hub_download

    return hf_hub_download(model, file)


def main() -> int:
    """Verify, and return the exit code of `qwen3cpu verify`."""
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    model = sys.argv[1] if len(sys.argv) == 2 else file_of(*sys.argv[1:])
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", "-".join(sys.argv[1:])).strip("-")
    receipts = Path("receipts")
    receipts.mkdir(exist_ok=True)
    return qwen3cpu(["verify", model, "--reference", "--text", str(TEXT), "-o", str(receipts / f"{name}.md")])


if __name__ == "__main__":
    sys.exit(main())
