"""The settings of an operator, which the command line (qwen3cpu/cli/serve.py) fills in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.batch import MOST_RUNNING
from qwen3cpu.server.hosts import is_host, is_origin


@dataclass(frozen=True)
class Settings:
    """Settings of a server.

    Attributes:
        model_name: the id under which clients ask for a model that was loaded before the server was made.
        api_key: the key that clients must send as `Authorization: Bearer ...` or `x-api-key: ...`; None: no key.
        cors_origins: web pages of these origins may use the server; none by default.
        hosts: names that the `Host` header may have, so that a web page cannot reach a server on this machine under its
            own name (DNS rebinding). Loopback addresses are always allowed. Empty: any name.
        parallel, queue, kv_bytes: limits of each model, see SchedulerLimits. kv_bytes None: half of the free memory, or
            what a full context needs if `memory` is set.
        memory: bytes that weights, KV caches and workspaces of all loaded models may take; None: no limit.
        model_keep_alive: seconds that an unused model stays in memory; less than 0: for ever. None: for ever with one
            model, else five minutes.
        adapters_dir: folder from which clients may load adapters; None: they may not.
        manage_models: whether clients may fetch models into the folder of models, and delete them there.
        timeout: seconds that a request may take from its arrival to its end.
        grace: seconds that running requests have to finish when the server stops.
        keep_alive: seconds without a token after which a stream gets a comment.
        connections: the largest number of open connections.
        head_seconds: seconds that a client has to send the head of a request.
        max_body: the largest number of bytes of a request's body.
        max_messages, max_tools, max_prompts: the largest number of entries of these lists in one request.
        max_texts: the largest number of texts to embed, or documents to score, in one request.
        max_schema: the largest number of bytes of a JSON schema.

    Raises:
        ArgumentError: an origin or a name of `hosts` that no request can have.
    """

    model_name: str = ""
    api_key: str | None = None
    cors_origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    parallel: int = MOST_RUNNING
    queue: int = 64
    kv_bytes: int | None = None
    memory: int | None = None
    model_keep_alive: float | None = None
    adapters_dir: Path | None = None
    manage_models: bool = False
    timeout: float = 1800.0
    grace: float = 30.0
    keep_alive: float = 10.0
    connections: int = 1000
    head_seconds: float = 10.0
    max_body: int = 8 << 20
    max_messages: int = 2048
    max_tools: int = 128
    max_prompts: int = 256
    max_texts: int = 10_000
    max_schema: int = 1 << 16

    def __post_init__(self) -> None:
        for origin in self.cors_origins:
            if not is_origin(origin):
                expected = "expected an origin such as https://example.com, without a path, or *"
                raise ArgumentError(f"--cors-origin: {expected}, found {origin!r}")
        for host in self.hosts:
            if not is_host(host):
                expected = "expected a name such as example.com, without a scheme and a path"
                raise ArgumentError(f"--allowed-host: {expected}, found {host!r}")
