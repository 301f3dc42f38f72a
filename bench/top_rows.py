"""Check that the head finds the largest logits: python bench/top_rows.py --model FOLDER --text FILE [--top 20]

Every position of the text is computed twice, with all logits and with the largest only. Prints the number of positions
where one of the largest is missing or differs, which must be 0, and the number of logits that were computed in full.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import qwen3cpu
from qwen3cpu.engine.batch import BatchItem, Output
from qwen3cpu.system.progress_bar import Progress

WINDOW = 512
PIECE = 64


def main() -> int:
    """Print the counts; returns the exit code: 1 when a logit is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--top", type=int, default=20, help="number of largest logits (default: %(default)s)")
    parser.add_argument("--quant", default="q4")
    args = parser.parse_args()
    model = qwen3cpu.load(args.model, quant=args.quant, prefix_cache=0)
    engine, size = model.engine, min(model.tokenizer.size, model.config.vocab_size)
    ids = model.tokenizer.encode(args.text.read_text("utf-8"))[: args.tokens]
    wrong, computed, most, whole = 0, 0, 0, 0
    with Progress("Comparing", len(ids), unit="tokens") as progress:
        for first in range(0, len(ids), WINDOW):
            window = ids[first : first + WINDOW]
            sequences = {output: engine.new_sequence() for output in ("logits", "top_logits")}
            for start in range(0, len(window), PIECE):
                piece = window[start : start + PIECE]
                found = {}
                output: Output
                for output in ("logits", "top_logits"):
                    item = BatchItem(sequences[output], piece, range(len(piece)), output, args.top)
                    (found[output],) = engine.forward([item])
                every, top = (found[output][:, :size] for output in ("logits", "top_logits"))
                there = np.isfinite(top)
                least = np.partition(every, size - args.top, axis=1)[:, size - args.top, None]
                wrong += int(((every >= least) & (top != every)).any(axis=1).sum())
                wrong += int((there & (top != every)).any(axis=1).sum())
                counts = there.sum(axis=1)
                computed, most = computed + int(counts.sum()), max(most, int(counts[counts < size].max(initial=0)))
                whole += int((counts == size).sum())
                progress.advance(len(piece))
            for sequence in sequences.values():
                sequence.release()
    print(f"{model!r}\n{len(ids)} positions, {size} tokens: {wrong} with a wrong or missing logit among the largest")
    print(f"in full: {computed / len(ids):.0f} logits on average, {most} at most, all of them at {whole} positions")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
