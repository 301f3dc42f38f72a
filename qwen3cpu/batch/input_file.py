"""The lines of a job. The file is read once to count and order them, and again line by line."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.errors import ArgumentError
from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.request_json import parse_json

LONGEST: Final = 8 << 20
"""The largest number of bytes of a line, as for a request to the server."""
BEGINNINGS: Final = (128, 512, 2048, 8192)
"""Lengths, in characters, of the beginnings of prompts by which lines are grouped."""
_BOM: Final = b"\xef\xbb\xbf"


class LineError(ApiError):
    """An error of a line itself, not of the body of its request."""


@dataclass(frozen=True)
class Line:
    """A line that is not blank.

    number: its number in the file, from 1. given: its JSON object; None if it is invalid. problem: why it is invalid.
    """

    number: int
    given: Mapping[str, Any] | None
    problem: LineError | None = None

    @property
    def custom_id(self) -> str | None:
        """Its name, if it has one."""
        name = None if self.given is None else self.given.get("custom_id")
        return name if isinstance(name, str) else None

    @property
    def key(self) -> str | int:
        """Its name, or else its number."""
        return self.number if self.custom_id is None else self.custom_id


class InputFile:
    """A file of lines. Each line takes about 40 bytes of memory, and at most 200 while the file is read the first time.

    Args:
        path: a regular file.

    Raises:
        ArgumentError: it cannot be read, or two lines have the same `custom_id`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        try:
            self._file = open(path, "rb")  # noqa: SIM115  closed by `close`
        except OSError as reason:
            raise ArgumentError(f"{self.name}: cannot be read: {reason.strerror or reason}") from None
        try:
            if not os.path.isfile(path):
                raise ArgumentError(f"{self.name}: expected a regular file, which can be read twice")
            self._scan()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __len__(self) -> int:
        """The number of lines that are not blank."""
        return len(self.numbers)

    def line(self, place: int) -> Line:
        """The line at a place among those that are not blank. ArgumentError when the file has been changed."""
        self._file.seek(self._starts[place])
        raw = _next_line(self._file)[0]
        if zlib.crc32(raw) != self._sums[place]:
            raise ArgumentError(f"{self.name}:{self.numbers[place]}: the file has been changed while it was worked on")
        return _parsed(int(self.numbers[place]), raw)

    def _scan(self) -> None:
        numbers, starts, sums = array("q"), array("q"), array("I")
        keys, marks = bytearray(), [array("Q") for _ in BEGINNINGS]
        digest, start, number = hashlib.sha256(), 0, 0
        while True:
            raw, size = _next_line(self._file, digest)
            if not size:
                break
            number += 1
            if raw.strip(b"\r\n\t " + _BOM):
                line = _parsed(number, raw)
                numbers.append(number)
                starts.append(start)
                sums.append(zlib.crc32(raw))
                keys += hashlib.blake2b(json.dumps(line.key).encode(), digest_size=16).digest()
                for mark, each in zip(beginning_marks(line.given), marks, strict=True):
                    each.append(mark)
            start += size
        self.digest = digest.hexdigest()
        """SHA-256 of the file."""
        self.numbers = np.array(numbers, np.int64)
        """The numbers of the lines that are not blank, int64 [lines]."""
        self._starts, self._sums = starts, sums
        self._refuse_repeated(np.frombuffer(bytes(keys), "V16"))
        self.order = side_by_side([np.array(each, np.uint64) for each in marks])
        """Places of all lines, int64 [lines], with lines that begin alike next to each other."""

    def _refuse_repeated(self, keys: NDArray[np.void]) -> None:
        names, first, counts = np.unique(keys, return_index=True, return_counts=True)
        if len(names) == len(keys):
            return
        again = int(first[counts > 1].min())
        other = int(np.flatnonzero(keys == keys[again])[1])
        name = json.dumps(self.line(again).key, ensure_ascii=False)
        raise ArgumentError(
            f"{self.name}: lines {self.numbers[again]} and {self.numbers[other]} have the same custom_id {name}; "
            "expected another one on each line"
        )


def _next_line(file: BinaryIO, digest: Any = None) -> tuple[bytes, int]:
    """(the next line, cut to LONGEST + 1 bytes if it is longer; its size)."""
    raw = piece = file.readline(LONGEST + 1)
    size = len(raw)
    while True:
        if digest is not None:
            digest.update(piece)
        if not piece or piece.endswith(b"\n"):
            return raw, size
        piece = file.readline(LONGEST + 1)
        size += len(piece)


def _parsed(number: int, raw: bytes) -> Line:
    if len(raw) > LONGEST:
        return Line(number, None, LineError(400, f"expected a line of at most {LONGEST} bytes, found more"))
    try:
        given = parse_json(raw.removeprefix(_BOM) if number == 1 else raw)
    except ApiError as error:
        return Line(number, None, LineError(400, str(error).replace("the body", "the line", 1), code="invalid_json"))
    name = given.get("custom_id")
    if name is not None and not isinstance(name, str):
        message = f"custom_id: expected a text, found {type(name).__name__}"
        return Line(number, None, LineError(400, message, code="invalid_type", param="custom_id"))
    return Line(number, given)


def beginning_marks(given: Mapping[str, Any] | None) -> list[int]:
    """Hashes of the first BEGINNINGS characters of a line's prompt."""
    text = _beginning(given)
    return [_hash(text[:length]) for length in BEGINNINGS]


def _beginning(given: Mapping[str, Any] | None) -> str:
    """An approximate text of the prompt of a line: tools and messages, in the order of the template."""
    if given is None:
        return ""
    body = given.get("body")
    asked = body if isinstance(body, dict) else given
    names = ("instructions", "tools", "messages", "prompt", "input")
    return json.dumps([asked[name] for name in names if asked.get(name) is not None], ensure_ascii=False)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def side_by_side(marks: Sequence[NDArray[np.uint64]]) -> NDArray[np.int64]:
    """Places of lines, int64 [lines], in an order with lines that begin alike next to each other.

    Lines with the same first mark form a group, inside it lines with the same second mark, and so on. A group has the
    place of its first line.

    marks: for each length, the marks of all lines.
    """
    ranks = []
    for each in marks:
        _, first, group = np.unique(each, return_index=True, return_inverse=True)
        ranks.append(first[group])
    # The last key of lexsort is the primary one. Lines with equal marks keep their order.
    return np.lexsort(ranks[::-1]).astype(np.int64)


def unanswered(order: NDArray[np.int64], done: NDArray[np.bool_]) -> Iterator[int]:
    """The places in `order` that are not done, in that order."""
    for place in order[~done[order]]:
        yield int(place)
