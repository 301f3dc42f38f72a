"""Registers Qwen3 models with EleutherAI's lm-evaluation-harness, as the model "qwen3cpu".

`import qwen3cpu.lm_eval` does it for `lm_eval.simple_evaluate`. The harness does not discover models of other packages,
so start its command line through this module:

    python -m qwen3cpu.lm_eval run --model qwen3cpu --model_args pretrained=Qwen/Qwen3-1.7B,quant=q4 --tasks arc_easy
"""

from __future__ import annotations

from qwen3cpu.evaluation.lm_eval import Qwen3CpuLM, main

__all__ = ["Qwen3CpuLM", "main"]

if __name__ == "__main__":
    main()
