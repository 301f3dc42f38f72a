"""Damages valid inputs: bytes of files and values of JSON. The same random generator gives the same damage."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from typing import Any

ODD_NUMBERS = (0, 1, -1, 2, 0.5, -0.0, 1e308, 5e-324, 2**31, -(2**31), 2**53 + 1, 2**63, 2**64, 10**30)
ODD_STRINGS = (
    "",
    " ",
    "\0",
    "�",
    "\ud800",
    "a" * 5000,
    "../../etc/passwd",
    "<|im_end|>",
    "{{ 1/0 }}",
    "%s%n",
    "ﷺ" * 50,
)
ODD_VALUES: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"": None}, *ODD_NUMBERS, *ODD_STRINGS)
DEEP = "nested this deep: "
"""Marks the place of a deeply nested value, which Python's own functions could not copy. The depth follows."""
LENGTHS = (0, 1, 7, 2**15, 2**31 - 1, 2**32, 2**40, 2**63 - 1, 2**64 - 1)


def damage_bytes(data: bytes, rng: random.Random, *, header: int = 4096) -> bytes:
    """Damage the bytes of a file at one to three places, half of them in the first `header` bytes."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if not out:
            out += bytes(rng.randrange(256) for _ in range(rng.randrange(1, 64)))
            continue
        reach = min(header, len(out)) if rng.random() < 0.5 else len(out)
        at = rng.randrange(reach)
        kind = rng.randrange(8)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x22, 0x5C, 0x7B))
        elif kind == 2:
            del out[at:]
        elif kind == 3:
            del out[at : at + rng.randrange(1, 64)]
        elif kind == 4:
            out[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 64)))
        elif kind == 5:
            out[at:at] = out[at : at + rng.randrange(1, 256)]
        elif kind == 6:
            width = rng.choice((2, 4, 8))
            out[at : at + width] = (rng.choice(LENGTHS) % 2 ** (8 * width)).to_bytes(width, "little")
        else:
            other = rng.randrange(len(out))
            out[at : at + 16], out[other : other + 16] = out[other : other + 16], out[at : at + 16]
    return bytes(out)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value inside a JSON value, the outermost first."""
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))


def damage_json(value: Any, rng: random.Random, extra_keys: tuple[str, ...] = ()) -> Any:
    """Return a copy of a JSON value with one to three damages."""
    out = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        path = rng.choice(list(places(out)))
        if not path:
            if isinstance(out, dict) and extra_keys:
                out[rng.choice(extra_keys)] = odd_value(rng)
            continue
        parent = out
        for step in path[:-1]:
            parent = parent[step]
        _damage_entry(parent, path[-1], rng, extra_keys)
    return out


def odd_value(rng: random.Random) -> Any:
    """Return an unusual value, sometimes the mark of a deep one, which `as_json` replaces."""
    if rng.random() < 0.9:
        return copy.deepcopy(rng.choice(ODD_VALUES))
    return f"{DEEP}{rng.choice((3, 70, 200, 300, 400, 450, 20_000))}"


def as_json(value: Any) -> bytes:
    """Encode a value as JSON, including lone surrogates, so the text may be invalid UTF-8."""
    text = json.dumps(value)
    text = re.sub(f'"{DEEP}(\\d+)"', lambda mark: '{"a":[' * int(mark[1]) + "1" + "]}" * int(mark[1]), text)
    return text.encode("utf-8", "surrogatepass")


def _damage_entry(parent: Any, key: Any, rng: random.Random, extra_keys: tuple[str, ...]) -> None:
    kind = rng.randrange(7)
    old = parent[key]
    if kind <= 2:
        parent[key] = odd_value(rng)
    elif kind == 3:
        del parent[key]
    elif kind == 4:
        parent[key] = [old] if rng.random() < 0.5 else {"value": old}
    elif kind == 5 and isinstance(old, (int, float)) and not isinstance(old, bool):
        parent[key] = rng.choice((-old, old + 1, old * 1000, str(old), float(old) + 0.5))
    elif kind == 5 and isinstance(old, str):
        parent[key] = rng.choice((old.upper(), old[: len(old) // 2], old * 2, old + "\0"))
    elif isinstance(parent, dict):
        name = rng.choice(extra_keys) if extra_keys and rng.random() < 0.6 else str(key) + rng.choice(("s", "_", ""))
        parent[name] = odd_value(rng)
    else:
        parent.insert(rng.randrange(len(parent) + 1), copy.deepcopy(old))
