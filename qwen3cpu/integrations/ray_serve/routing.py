"""Chooses the replica of a request: the one that has the KV cache of requests with the same beginning."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

LONGEST: Final = 512
"""Characters of a prompt without messages, or entries of a list, that count as its beginning."""


def beginning_of(body: bytes) -> str | None:
    """A hash of the common beginning of all turns of a conversation; None for a request without a prompt.

    The beginning is everything up to the first message of the user: instructions, tools, system messages, and this
    message. Later turns only add messages.
    """
    try:
        asked = json.loads(body)
    except ValueError:
        return None
    if not isinstance(asked, dict):
        return None
    parts = [asked.get(name) for name in ("model", "instructions", "system", "tools")]
    for name in ("messages", "input", "prompt"):
        if (found := asked.get(name)) is not None:
            text = json.dumps([*parts, _first(found)], sort_keys=True)
            return hashlib.sha256(text.encode()).hexdigest()
    return None


def _first(prompt: Any) -> Any:
    """The beginning of a prompt."""
    if isinstance(prompt, str):
        return prompt[:LONGEST]
    if not isinstance(prompt, list):
        return prompt
    for place, message in enumerate(prompt):
        if isinstance(message, Mapping) and message.get("role") == "user":
            return prompt[: place + 1]
    return prompt[:LONGEST]


class BeginningRouter(RequestRouter):  # type: ignore[misc, unused-ignore]
    """Sends requests with the same beginning to the same replica, and to another one while that one has no room.

    Hashes give the order of replicas for a beginning (rendezvous hashing). So all routers choose the same replica
    without communication, and a new or lost replica moves only its own conversations.
    """

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """The replicas, in the order in which a request tries them."""
        beginning = None if pending_request is None else pending_request.kwargs.get("beginning")
        if beginning is None and pending_request is not None:
            beginning = pending_request.metadata.request_id
        names = [replica.replica_id.unique_id for replica in candidate_replicas]
        return [[candidate_replicas[place]] for place in ranked(str(beginning), names)]


def ranked(beginning: str, names: Sequence[str]) -> list[int]:
    """The indices of names, in their order for a beginning."""

    def weight(place: int) -> bytes:
        return hashlib.sha256(f"{beginning} {names[place]}".encode()).digest()

    return sorted(range(len(names)), key=weight)
