"""GET /metrics: counters and times in the text format 0.0.4 of Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.scheduling.service import Service
from qwen3cpu.server.scheduling.stats import BUCKETS, Histogram


async def metrics(http: HttpRequest) -> Response:
    """All counters."""
    lines = _lines(http.app.state.service, http.app.state.responses)
    return Response("\n".join([*lines, ""]), media_type="text/plain; version=0.0.4; charset=utf-8")


def _lines(service: Service, responses: Counter[tuple[str, int]]) -> Iterator[str]:
    scheduler = service.scheduler
    stats = scheduler.stats
    by_status = [({"path": path, "status": str(status)}, count) for (path, status), count in sorted(responses.items())]
    by_end = [({"end": end}, stats.jobs[end]) for end in ("finished", "cancelled", "failed")]
    yield from _family("http_responses_total", "counter", "HTTP responses by path and status.", by_status)
    yield from _family("jobs_total", "counter", "Prompts, or requests for vectors or scores, by their ends.", by_end)
    for name, kind, text, value in (
        ("prompt_tokens_total", "counter", "Tokens of prompts and texts processed.", stats.prompt_tokens),
        ("cached_tokens_total", "counter", "Tokens of prompts found in the prefix cache.", stats.cached_tokens),
        ("completion_tokens_total", "counter", "Tokens of answers.", stats.completion_tokens),
        ("preemptions_total", "counter", "Answers set back for want of KV memory.", stats.preemptions),
        ("texts_total", "counter", "Texts turned into vectors, and documents scored.", stats.texts),
        ("jobs_waiting", "gauge", "Prompts, or requests for vectors or scores, in the queue.", scheduler.queued),
        ("answers_running", "gauge", "Answers, or requests for vectors or scores, worked on.", scheduler.running),
        ("kv_blocks_in_use", "gauge", "Blocks of the KV cache that are taken.", scheduler.kv_blocks_in_use),
        ("kv_blocks_cached", "gauge", "Blocks that the prefix cache holds.", scheduler.kv_blocks_cached),
        ("requests_preparing", "gauge", "Requests that are not in the queue yet.", service.preparing),
        ("kv_blocks_limit", "gauge", "Blocks that the KV cache may have.", scheduler.kv_blocks),
    ):
        yield from _family(name, kind, text, [({}, value)])
    for name, text, histogram in (
        ("queue_seconds", "From the arrival of a prompt until it joins the batch.", stats.queue_seconds),
        ("first_token_seconds", "From the arrival of a prompt to its first token.", stats.first_token_seconds),
        ("job_seconds", "From the arrival of a prompt to the end of its answer.", stats.job_seconds),
        ("step_seconds", "Between two tokens of a running answer; of a pass over texts.", stats.step_seconds),
    ):
        yield from _histogram(name, text, histogram)


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Iterator[str]:
    yield f"# HELP qwen3cpu_{name} {text}"
    yield f"# TYPE qwen3cpu_{name} {kind}"
    for labels, value in samples:
        yield (
            f"qwen3cpu_{name}{_labels(labels)} {value:g}"
            if isinstance(value, float)
            else (f"qwen3cpu_{name}{_labels(labels)} {value}")
        )


def _histogram(name: str, text: str, histogram: Histogram) -> Iterator[str]:
    counts = list(histogram.counts)
    yield f"# HELP qwen3cpu_{name} {text}"
    yield f"# TYPE qwen3cpu_{name} histogram"
    for place, bound in enumerate((*BUCKETS, float("inf"))):
        le = "+Inf" if bound == float("inf") else f"{bound:g}"
        yield f"qwen3cpu_{name}_bucket{_labels({'le': le})} {sum(counts[: place + 1])}"
    yield f"qwen3cpu_{name}_sum {histogram.sum:.6f}"
    yield f"qwen3cpu_{name}_count {sum(counts)}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    escaped = (value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for value in labels.values())
    return "{" + ",".join(f'{name}="{value}"' for name, value in zip(labels, escaped, strict=True)) + "}"
