"""The seed of one line, or row, of a large job."""

from __future__ import annotations

import hashlib
import json


def line_seed(base_seed: int, key: str | int) -> int:
    r"""The seed of a line, from 0 to 2**53 - 1. It is the same on every machine.

    This function never changes: files that were made with it can be made again, and another machine can continue a job.
    The seed is the first 53 bits of the SHA-256 of the JSON text `[base_seed,key]`. The text has no spaces, and every
    character beyond ASCII is written as `\uXXXX` of its UTF-16 code units, in lower case. A name and a number have
    different texts, so the key "7" and line 7 have different seeds.

    Args:
        base_seed: of the whole job.
        key: the line's `custom_id`, or its number, from 1, if it has none.
    """
    text = json.dumps([base_seed, key], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode("ascii")).digest()[:8], "big") >> 11
