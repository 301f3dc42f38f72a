"""Harnesses for fuzzers that make bytes: the seeds of each target, and functions that use or damage an input."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bodies import BODIES, FOREIGN_KEYS, Bodies
from files import Files
from mutations import as_json, damage_bytes, damage_json
from schemas import Schemas, random_schema

from qwen3cpu.packed.sealed_file import DIGEST, header_digest

Mutate = Callable[[bytes, int], bytes]
"""mutate(data, most) damages bytes; the result has at most `most` bytes."""
HEADED = ("safetensors", "packed", "session")
"""Targets that consist of eight bytes for the length of JSON, the JSON and data."""
JSON_FAILS = (ValueError, RecursionError)
SEED_SCHEMAS = 100


class Harness:
    """A target that takes bytes.

    Args:
        target: one of targets.GUIDED.
        folder: an empty one, for the files.
    """

    def __init__(self, target: str, folder: Path) -> None:
        self.target = target
        self._made: Any = {"bodies": Bodies, "schemas": Schemas}.get(target, Files)(folder)

    def seeds(self) -> list[bytes]:
        """Return valid inputs."""
        if self.target == "bodies":
            return [path.encode() + b"\n" + as_json(body) for path, body in BODIES]
        if self.target == "schemas":
            schemas = [random_schema(random.Random(number)) for number in range(SEED_SCHEMAS)]
            return [as_json({"call": number % 2 == 1, "schema": schema}) for number, schema in enumerate(schemas)]
        return [self._made.whole(self.target)]

    def use(self, data: bytes) -> None:
        """Use one input. Raises Qwen3CpuError when it is refused; any other exception is a fault."""
        if self.target == "bodies":
            path, _, body = data.partition(b"\n")
            if path.decode("latin-1") in dict(BODIES):
                self._made.send(path.decode(), body)
        elif self.target == "schemas":
            with contextlib.suppress(*JSON_FAILS):
                read = json.loads(data)
                if isinstance(read, dict) and "schema" in read:
                    self._made.ask(read["schema"], call=read.get("call") is True)
        else:
            self._made.use(self.target, sealed(data) if self.target in ("packed", "session") else data)

    def damage(self, data: bytes, most: int, rng: random.Random, mutate: Mutate) -> bytes:
        """Damage an input: its bytes, the text of the JSON in it, or a value of that JSON."""
        before, text, after = self._parts(data)
        kind = rng.randrange(3)
        if kind == 0:
            return mutate(data, most)
        if not text:
            return damage_bytes(data, rng, header=max(1, len(data) // 2))[:most]
        if kind == 1:
            text = mutate(text, max(1, most - len(before) - len(after)))
        else:
            try:
                text = as_json(damage_json(json.loads(text), rng, FOREIGN_KEYS if self.target == "bodies" else ()))
            except JSON_FAILS:
                text = damage_bytes(text, rng)
        if self.target in HEADED:
            before = len(text).to_bytes(8, "little")
        return (before + text + after)[:most]

    def _parts(self, data: bytes) -> tuple[bytes, bytes, bytes]:
        """Split an input into the bytes before its JSON, the JSON, and the bytes after it."""
        if self.target == "bodies":
            path, newline, body = data.partition(b"\n")
            return path + newline, body, b""
        if self.target in HEADED:
            end = min(len(data), 8 + int.from_bytes(data[:8], "little"))
            return data[:8], data[8:end], data[end:]
        if self.target in ("gguf", "template"):
            return data, b"", b""
        return b"", data, b""


def sealed(data: bytes) -> bytes:
    """Give a packed file or session checksums that fit its bytes, as an attacker would."""
    end = min(len(data), 8 + int.from_bytes(data[:8], "little"))
    header = data[:end]
    with contextlib.suppress(*JSON_FAILS, KeyError, TypeError, AttributeError):
        entries = json.loads(header[8:])
        for name, digest in json.loads(entries["__metadata__"]["sha256"]).items():
            start, stop = entries[name]["data_offsets"]
            new = hashlib.sha256(data[end + start : end + stop]).hexdigest()
            header = header.replace(digest.encode(), new.encode()) if len(digest) == len(new) else header
    if len(header) >= DIGEST.stop:
        header = header[: DIGEST.start] + header_digest(header) + header[DIGEST.stop :]
    return header + data[end:]
