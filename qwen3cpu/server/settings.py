"""What an operator may set. The command line (qwen3cpu/cli/serve.py) fills it in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qwen3cpu.generation.batch import MOST_RUNNING


@dataclass(frozen=True)
class Settings:
    """Settings of a server.

    Attributes:
        model_name: the id under which clients ask for a model that was loaded before the server was made.
        api_key: what clients have to send as `Authorization: Bearer ...` or `x-api-key: ...`; None: nothing.
        cors_origins: web pages of these origins may use the server; none by default.
        hosts: names under which the server answers (the `Host` header), so that no web page can reach a server on
            this machine by a name of its own. Every address of this machine counts as one of them. Empty: any.
        parallel, queue, kv_bytes: see SchedulerLimits; of each model. kv_bytes None: half of what is free, or what a
            full context needs where there is a limit for all models.
        memory: bytes of the weights, KV caches and workspaces of all models that are loaded; None: no limit.
        model_keep_alive: seconds that a model stays in memory unused; less than 0: for ever. None: for ever where there
            is one model, else five minutes.
        adapters_dir: folder from which clients may load adapters; None: they may not.
        manage_models: whether clients may fetch models into the folder of models, and delete them there.
        timeout: seconds of a request from its arrival to its end.
        grace: seconds that requests under way have to finish when the server stops.
        keep_alive: seconds without a token after which a stream gets a comment.
        connections: connections at once at most.
        head_seconds: seconds that a client has to send the head of a request.
        max_body: bytes of a request.
        max_messages, max_tools, max_prompts: entries of these lists in one request.
        max_texts: texts to embed, or documents to score, in one request.
        max_schema: bytes of a JSON schema.
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
