"""Checks an installed wheel: the embedded model answers, twice the same, and by the command line.

    python wheel_smoke.py        (with the Python that the wheel is installed in)

numpy, and torch if it is installed, compute in the same process before and after.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np


def main() -> None:
    """Check, and print the result."""
    if importlib.util.find_spec("torch"):
        import torch

        torch.ones(512, 512) @ torch.ones(512, 512)
    np.ones((512, 512)) @ np.ones((512, 512))
    import qwen3cpu
    from qwen3cpu.system.build_commit import commit

    package = Path(qwen3cpu.__file__).parent
    if "site-packages" not in package.parts:
        raise SystemExit(f"expected an installed package, found {package}")
    if commit() is None:
        raise SystemExit("the package does not know its commit")
    model = qwen3cpu.load("tiny", threads=2)
    question = "What is 17 + 25?"
    answers = {model.generate(question, seed=1).text.strip() for _ in range(2)}
    if len(answers) != 1:
        raise SystemExit(f"a seed gave two answers: {answers}")
    if not all("42" in answer for answer in answers):
        raise SystemExit(f"{question} expected 42, found {answers}")
    np.ones((512, 512)) @ np.ones((512, 512))
    for arguments in (["--version"], ["demo", "--threads", "2"], ["generate", "--model", "tiny", question]):
        subprocess.run([sys.executable, "-m", "qwen3cpu", *arguments], check=True, stdout=subprocess.PIPE)
    print(f"qwen3cpu {qwen3cpu.__version__} ({commit()}), Python {sys.version.split()[0]}: {answers.pop()}")


if __name__ == "__main__":
    main()
