"""Functions that the endpoints for answers share: the model's name, ids, token counts, log-probabilities."""

from __future__ import annotations

import secrets
from time import time
from typing import Any

from qwen3cpu.checkpoint.purpose import Task
from qwen3cpu.generation.results import Result, Usage
from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.models.catalog import as_released
from qwen3cpu.server.models.errors import UnknownModelError
from qwen3cpu.server.scheduling.service import Service

LEAST_LOGPROB = -9999.0
"""The number that stands for minus infinity in JSON, as in OpenAI's API."""


def check_model(service: Service, name: str | None) -> None:
    """Raise UnknownModelError when a name is not that of the served model. All spellings of released models count."""
    known = service.settings.model_name
    if name is not None and as_released(name) != as_released(known):
        raise UnknownModelError(name, [known])


IS_A: dict[Task, str] = {"generation": "language model", "embedding": "embedding model", "reranking": "reranker"}
"""Task -> the name of such a model in messages."""
ENDPOINTS: dict[Task, str] = {
    "generation": "/v1/chat/completions, /v1/completions, /v1/responses, /v1/messages, /api/chat or /api/generate",
    "embedding": "/v1/embeddings or /api/embed",
    "reranking": "/v1/rerank, /v2/rerank or /rerank",
}
"""Task -> the endpoints for it."""


def check_task(name: str, made_for: Task, task: Task) -> None:
    """Raise ApiError 400 when a model was not made for the task of the endpoint."""
    if made_for != task:
        found, expected = (f"{'an' if IS_A[each][0] == 'e' else 'a'} {IS_A[each]}" for each in (made_for, task))
        raise ApiError(
            400,
            f"{name} is {found}, not {expected}; expected a request to {ENDPOINTS[made_for]}",
            code=f"not_{expected.replace(' ', '_')}",
            param="model",
        )


def head(service: Service, prefix: str, kind: str) -> dict[str, Any]:
    """The first fields of every answer."""
    return {
        "id": f"{prefix}-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time()),
        "model": service.settings.model_name,
        "system_fingerprint": service.fingerprint,
    }


def usage(counts: list[tuple[Usage, int]]) -> dict[str, Any]:
    """Token counts of several choices. Each comes with the number of its prompt, because a prompt counts once."""
    prompts = {prompt: each for each, prompt in reversed(counts)}
    prompt_tokens = sum(each.prompt_tokens for each in prompts.values())
    completion_tokens = sum(each.completion_tokens for each, _ in counts)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": sum(each.cached_tokens for each in prompts.values())},
        "completion_tokens_details": {"reasoning_tokens": sum(each.reasoning_tokens for each, _ in counts)},
    }


def details(result: Result) -> dict[str, Any]:
    """Fields that OpenAI does not have: that a loop or the schema ended the answer, and how it violates the schema."""
    return {
        **({"finish_details": {"type": result.stopped_by}} if result.stopped_by in ("loop", "schema") else {}),
        **({"schema_errors": list(result.schema_errors)} if result.schema_errors else {}),
    }


def number(logprob: float | None) -> float:
    """A log-probability as a number that JSON can hold."""
    return LEAST_LOGPROB if logprob is None or logprob < LEAST_LOGPROB else logprob
