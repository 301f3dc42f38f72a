"""Makes all kinds of answers of one model, with drafts from each source or without drafts, to compare with `==`.

As a program: python drafted_answers.py FOLDER DRAFT FILE QUANT KV THREADS SOURCE prints them as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from drafters import Free

import qwen3cpu
from qwen3cpu.engine.model_drafts import DraftModel

SOURCES = ("none", "the text", "a file", "a model", "all")
PROMPTS = ([5, 6, 7] * 20, [9, 8], list(range(3, 90)), [11, 12, 13, 14] * 5)
GREEDY: dict[str, Any] = {"temperature": 0}
SAMPLED: dict[str, Any] = {"temperature": 0.9, "seed": 4}
VARIED: dict[str, Any] = {"temperature": 1.1, "seed": 5, "presence_penalty": 0.5, "dry_multiplier": 0.8, "top_k": 0}


def drafting_model(
    folder: str, small: str, file: str, source: str, *, quant: str, kv: str, threads: int, prefix_cache: int
) -> qwen3cpu.Model:
    """A model whose answers are drafted from a source, as much as possible.

    Args:
        folder: of the model.
        small: folder of the drafting model.
        file: of kept texts.
        source: one of SOURCES.
        quant: as for `load`, and so are the others.
        kv: format of the KV cache.
        threads: of a pass.
        prefix_cache: bytes.
    """
    model = qwen3cpu.load(
        folder,
        quant=quant,  # type: ignore[arg-type]
        kv=kv,  # type: ignore[arg-type]
        threads=threads,
        prefix_cache=prefix_cache,
        draft=small if source in ("a model", "all") else None,
        drafts_from=file if source in ("a file", "all") else None,
    )
    around = model.answerer.surroundings
    make: Callable[[], Sequence[Any]] | None = around.make_drafters
    assert make is not None
    if source == "none":
        model.answerer.surroundings = replace(around, make_drafters=None)
    elif source in ("a file", "a model"):
        model.answerer.surroundings = replace(around, make_drafters=lambda: make()[-1:])
    model.engine.pass_times = Free()
    return model


def every_answer(model: qwen3cpu.Model) -> tuple[list[Any], int]:
    """The answers of a model to all prompts in all ways, as plain values, and the number of right drafted tokens."""
    results: list[qwen3cpu.Result] = []
    limits: dict[str, Any] = {"max_new_tokens": 30, "ignore_eos": True}
    for prompt in PROMPTS:
        for options in (GREEDY, SAMPLED, VARIED, {**SAMPLED, "logprobs": 2}):
            results.append(model.generate(prompt, **limits, **options))
        results += model.generate(prompt, n=2, **limits, **SAMPLED)
    for options in (GREEDY, SAMPLED):
        results += model.generate_batch(PROMPTS, most_running=3, **limits, **options)
    chat = model.chat("be brief", **limits, **SAMPLED)
    with tempfile.TemporaryDirectory() as folder:
        for turn in ("hello", "the sky is blue", "the sky is blue and the sea"):
            for chunk in chat.stream(turn):
                results += [chunk.result] if chunk.result is not None else []
            chat.save(Path(folder) / "saved")
            chat.close()
            chat = model.resume(Path(folder) / "saved")
    chat.close()
    said = [[list(each.token_ids), each.text, each.reasoning, repr(each.logprobs)] for each in results]
    return said, sum(each.timings.accepted for each in results)


def main(arguments: Sequence[str]) -> None:
    """Print the answers of a model."""
    folder, small, file, quant, kv, threads, source = arguments
    model = drafting_model(folder, small, file, source, quant=quant, kv=kv, threads=int(threads), prefix_cache=1 << 24)
    print(json.dumps(every_answer(model)))


if __name__ == "__main__":
    DraftModel.least_chance = property(lambda self: 0.0)  # type: ignore[assignment,method-assign]
    main(sys.argv[1:])
