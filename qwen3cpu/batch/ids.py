"""Makes the parts of a reply that differ from run to run depend only on the line: ids, times, counts of caches."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from qwen3cpu.generation.results import Result

_ID = re.compile(r"(.*[-_])([0-9a-f]+)")
_TIMES = ("created", "created_at")
_DETAILS = ("prompt_tokens_details", "input_tokens_details")


class Ids:
    """The ids of one line.

    Args:
        job: the digest of all that the results depend on.
        number: the number of the line.
    """

    def __init__(self, job: str, number: int) -> None:
        self._seed = f"{job} {number}"
        self.line = f"batch_req_{self._digits('line', 24)}"
        """The id of the line of the output."""
        self.request = f"req_{self._digits('request', 24)}"
        """The id of the request."""

    def settle(self, reply: dict[str, Any]) -> None:
        """Replace the random ids of a reply of the server, and set times and counts of cached tokens to 0."""
        reply.update({name: 0 for name in _TIMES if name in reply})
        usage = reply.get("usage") or {}
        for name in _DETAILS:
            if name in usage:
                usage[name]["cached_tokens"] = 0
        self._renew(reply, "id", "reply")
        for index, choice in enumerate(reply.get("choices", ())):
            for place, call in enumerate(choice.get("message", {}).get("tool_calls", ())):
                self._renew(call, "id", f"choice {index} call {place}")
        for index, item in enumerate(reply.get("output", ())):
            self._renew(item, "id", f"item {index}")
            self._renew(item, "call_id", f"item {index} call")

    def result(self, result: Result) -> dict[str, Any]:
        """The `Result.to_dict` of a result, with the line's ids and without times and counts of cached tokens."""
        plain = result.to_dict()
        del plain["timings"], plain["index"], plain["usage"]["cached_tokens"]
        for place, call in enumerate(plain["tool_calls"]):
            self._renew(call, "id", f"call {place}")
        return plain

    def _renew(self, owner: dict[str, Any], name: str, place: str) -> None:
        """Replace an id by the line's own id of the same form."""
        if name in owner:
            match = _ID.fullmatch(owner[name])
            assert match is not None
            owner[name] = match[1] + self._digits(place, len(match[2]))

    def _digits(self, place: str, count: int) -> str:
        return hashlib.sha256(f"{place} {self._seed}".encode()).hexdigest()[:count]
