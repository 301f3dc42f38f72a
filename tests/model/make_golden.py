"""Writes golden/*.npz with transformers: the output of its float32 Qwen3 for some of the random models.

    python tests/model/make_golden.py

Needs torch and transformers. The files hold logits and greedy tokens only. tests/support/random_models.py makes weights
and prompts again from their seeds, and a checksum shows if they differ.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from random_models import checksum, config, random_ids, random_weights
from reference import Reference

GOLDEN = Path(__file__).parent / "golden"
SHAPES = ("two_queries_128", "three_queries_bias", "five_queries_odd", "six_queries_yarn_128", "eight_queries_64")
PROMPT_SEED = 2  # continuations that do not fall into a loop and have no near ties
PROMPT, CONTINUATION = 12, 64
TEXT, POSITIONS = 96, (0, 63, 95)


def main() -> None:
    """Write one file per shape."""
    for shape in SHAPES:
        cfg = config(shape)
        weights = random_weights(cfg)
        reference = Reference(cfg, weights)
        logits, _ = reference.run(random_ids(cfg, TEXT))
        continuation, lead = reference.greedy(random_ids(cfg, PROMPT, PROMPT_SEED), CONTINUATION)
        np.savez_compressed(
            GOLDEN / f"{shape}.npz",
            checksum=np.uint32(checksum(weights)),
            positions=np.array(POSITIONS, dtype=np.int32),
            logits=logits[list(POSITIONS)],
            continuation=np.array(continuation, dtype=np.int32),
        )
        print(f"{shape}: {len(set(continuation))} different tokens, smallest lead {lead:.1e} of the largest logit")


if __name__ == "__main__":
    main()
