"""GET /metrics: counters and times in the text format 0.0.4 of Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.server.models.held import HeldModel
from qwen3cpu.server.models.lender import Lender
from qwen3cpu.server.scheduling.scheduler import Scheduler
from qwen3cpu.server.scheduling.stats import BUCKETS, Histogram, Stats
from qwen3cpu.server.scheduling.text_scheduler import TextScheduler


async def metrics(http: HttpRequest) -> Response:
    """All counters."""
    lines = _lines(http.app.state.lender, http.app.state.responses)
    return Response("\n".join([*lines, ""]), media_type="text/plain; version=0.0.4; charset=utf-8")


def _lines(lender: Lender, responses: Counter[tuple[str, int]]) -> Iterator[str]:
    by_status = [({"path": path, "status": str(status)}, count) for (path, status), count in sorted(responses.items())]
    yield from _family("http_responses_total", "counter", "HTTP responses by path and status.", by_status)
    for name, text, value in (
        ("models_loaded", "Models in memory.", len(lender.loaded())),
        ("model_bytes", "Bytes that the models in memory count for.", lender.bytes),
        ("requests_waiting_for_a_model", "Requests whose model is not in memory yet.", lender.waiting),
    ):
        yield from _family(name, "gauge", text, [({}, value)])
    # Where there are several models, each line of these has its name.
    known = [({} if lender.catalog.only_one else {"model": held.offer.name}, held) for held in lender.known()]
    ends = ("finished", "cancelled", "failed")
    by_end = [({**label, "end": end}, held.stats.jobs[end]) for label, held in known for end in ends]
    yield from _family("jobs_total", "counter", "Prompts, or requests for vectors or scores, by their ends.", by_end)
    for name, kind, text, read in _VALUES:
        yield from _family(name, kind, text, [(label, read(held)) for label, held in known])
    for name, text, histogram in _HISTOGRAMS:
        yield from _histograms(name, text, [(label, histogram(held.stats)) for label, held in known])


def _of_scheduler(read: Callable[[Scheduler | TextScheduler], int]) -> Callable[[HeldModel], int]:
    """A value of a model's scheduler; 0 while the model is not in memory."""
    return lambda held: 0 if held.service is None else read(held.service.scheduler)


_VALUES: tuple[tuple[str, str, str, Callable[[HeldModel], int]], ...] = (
    ("prompt_tokens_total", "counter", "Tokens of prompts and texts processed.", lambda held: held.stats.prompt_tokens),
    (
        "cached_tokens_total",
        "counter",
        "Tokens of prompts found in the prefix cache.",
        lambda held: held.stats.cached_tokens,
    ),
    ("completion_tokens_total", "counter", "Tokens of answers.", lambda held: held.stats.completion_tokens),
    ("preemptions_total", "counter", "Answers set back for want of KV memory.", lambda held: held.stats.preemptions),
    ("texts_total", "counter", "Texts turned into vectors, and documents scored.", lambda held: held.stats.texts),
    (
        "jobs_waiting",
        "gauge",
        "Prompts, or requests for vectors or scores, in the queue.",
        _of_scheduler(lambda scheduler: scheduler.queued),
    ),
    (
        "answers_running",
        "gauge",
        "Answers, or requests for vectors or scores, worked on.",
        _of_scheduler(lambda scheduler: scheduler.running),
    ),
    (
        "kv_blocks_in_use",
        "gauge",
        "Blocks of the KV cache that are taken.",
        _of_scheduler(lambda scheduler: scheduler.kv_blocks_in_use),
    ),
    (
        "kv_blocks_cached",
        "gauge",
        "Blocks that the prefix cache holds.",
        _of_scheduler(lambda scheduler: scheduler.kv_blocks_cached),
    ),
    ("requests_preparing", "gauge", "Requests that are not in the queue yet.", lambda held: held.preparing),
    (
        "kv_blocks_limit",
        "gauge",
        "Blocks that the KV cache may have.",
        _of_scheduler(lambda scheduler: scheduler.kv_blocks),
    ),
)
"""(name, kind, help, value of a model)."""

_HISTOGRAMS: tuple[tuple[str, str, Callable[[Stats], Histogram]], ...] = (
    ("queue_seconds", "From the arrival of a prompt until it joins the batch.", lambda stats: stats.queue_seconds),
    (
        "first_token_seconds",
        "From the arrival of a prompt to its first token.",
        lambda stats: stats.first_token_seconds,
    ),
    ("job_seconds", "From the arrival of a prompt to the end of its answer.", lambda stats: stats.job_seconds),
    (
        "step_seconds",
        "Between two tokens of a running answer; of a pass over texts.",
        lambda stats: stats.step_seconds,
    ),
)


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Iterator[str]:
    yield f"# HELP qwen3cpu_{name} {text}"
    yield f"# TYPE qwen3cpu_{name} {kind}"
    for labels, value in samples:
        yield (
            f"qwen3cpu_{name}{_labels(labels)} {value:g}"
            if isinstance(value, float)
            else (f"qwen3cpu_{name}{_labels(labels)} {value}")
        )


def _histograms(name: str, text: str, samples: Iterable[tuple[Mapping[str, str], Histogram]]) -> Iterator[str]:
    yield f"# HELP qwen3cpu_{name} {text}"
    yield f"# TYPE qwen3cpu_{name} histogram"
    for labels, histogram in samples:
        counts = list(histogram.counts)
        for place, bound in enumerate((*BUCKETS, float("inf"))):
            le = "+Inf" if bound == float("inf") else f"{bound:g}"
            yield f"qwen3cpu_{name}_bucket{_labels({**labels, 'le': le})} {sum(counts[: place + 1])}"
        yield f"qwen3cpu_{name}_sum{_labels(labels)} {histogram.sum:.6f}"
        yield f"qwen3cpu_{name}_count{_labels(labels)} {sum(counts)}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    escaped = (value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for value in labels.values())
    return "{" + ",".join(f'{name}="{value}"' for name, value in zip(labels, escaped, strict=True)) + "}"
