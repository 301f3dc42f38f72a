"""GET /metrics: counters and times for Prometheus, in its text format or in that of OpenMetrics.

The counters belong to the schedulers and to the gate. They are only read on a request for metrics, so counting costs a
step a few additions and no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu._version import VERSION
from qwen3cpu.server.http_stats import HttpStats
from qwen3cpu.server.models.held import HeldModel
from qwen3cpu.server.models.lender import Lender
from qwen3cpu.server.scheduling.scheduler import Scheduler
from qwen3cpu.server.scheduling.stats import Histogram, Stats
from qwen3cpu.server.scheduling.text_scheduler import TextScheduler

Labels = Mapping[str, str]


async def metrics(http: HttpRequest) -> Response:
    """All counters, or those that `name[]` in the query names, in the format that the client accepts."""
    encode, content_type = choose_encoder(http.headers.get("accept", ""))
    registry: CollectorRegistry = http.app.state.registry
    names = http.query_params.getlist("name[]")
    data = encode(registry.restricted_registry(names) if names else registry)
    return Response(data, headers={"content-type": content_type})


def make_registry(lender: Lender, http_stats: HttpStats) -> CollectorRegistry:
    """Make the metrics of one server, separate from those of other servers in this process.

    Args:
        lender: has the models.
        http_stats: counts responses.
    """
    registry = CollectorRegistry(auto_describe=True)
    registry.register(_ServerCollector(lender, http_stats))
    ProcessCollector(registry=registry)
    return registry


class _ServerCollector(Collector):
    def __init__(self, lender: Lender, http_stats: HttpStats) -> None:
        self._lender = lender
        self._http_stats = http_stats

    def collect(self) -> Iterator[Metric]:
        """All metric families."""
        yield InfoMetricFamily("qwen3cpu_build", "The server's version.", {"version": VERSION})
        responses = [
            ({"path": path, "status": str(status)}, count)
            for (path, status), count in sorted(self._http_stats.responses.items())
        ]
        yield _family("http_responses_total", "counter", "HTTP responses by path and status.", responses)
        seconds = [({"path": path}, each) for path, each in sorted(self._http_stats.seconds.items())]
        about = "From the arrival of a request until its response has been sent."
        yield _histogram_family("http_request_seconds", about, seconds)
        lender = self._lender
        for name, text, value in (
            ("models_loaded", "Models in memory.", len(lender.loaded())),
            ("model_bytes", "Bytes that the models in memory count for.", lender.bytes),
            ("requests_waiting_for_a_model", "Requests whose model is not in memory yet.", lender.waiting),
        ):
            yield _family(name, "gauge", text, [({}, value)])
        # If there are several models, each sample has the model's name as a label.
        known: list[tuple[Labels, HeldModel]] = [
            ({} if lender.catalog.only_one else {"model": held.offer.name}, held) for held in lender.known()
        ]
        ends = ("finished", "cancelled", "failed")
        by_end = [({**label, "end": end}, held.stats.jobs[end]) for label, held in known for end in ends]
        yield _family("jobs_total", "counter", "Prompts, or requests for vectors or scores, by their end.", by_end)
        reasons = ("stop", "length")
        by_reason = [({**label, "reason": each}, held.stats.answers[each]) for label, held in known for each in reasons]
        yield _family("answers_total", "counter", "Answers that ended, by finish_reason.", by_reason)
        for name, kind, text, read in _VALUES:
            yield _family(name, kind, text, [(label, read(held)) for label, held in known])
        for name, text, histogram in _HISTOGRAMS:
            yield _histogram_family(name, text, [(label, histogram(held.stats)) for label, held in known])


def _of_scheduler(read: Callable[[Scheduler | TextScheduler], float]) -> Callable[[HeldModel], float]:
    """A value of a model's scheduler; 0 while the model is not in memory."""
    return lambda held: 0 if held.service is None else read(held.service.scheduler)


_VALUES: tuple[tuple[str, str, str, Callable[[HeldModel], float]], ...] = (
    ("prompt_tokens_total", "counter", "Tokens of prompts and texts processed.", lambda held: held.stats.prompt_tokens),
    (
        "cached_tokens_total",
        "counter",
        "Tokens of prompts found in the prefix cache.",
        lambda held: held.stats.cached_tokens,
    ),
    ("completion_tokens_total", "counter", "Tokens of answers.", lambda held: held.stats.completion_tokens),
    ("drafted_tokens_total", "counter", "Drafted tokens that were checked.", lambda held: held.stats.drafted),
    ("accepted_tokens_total", "counter", "Drafted tokens that were accepted.", lambda held: held.stats.accepted),
    ("preemptions_total", "counter", "Answers preempted for lack of KV memory.", lambda held: held.stats.preemptions),
    ("texts_total", "counter", "Texts turned into vectors, and documents scored.", lambda held: held.stats.texts),
    (
        "jobs_waiting",
        "gauge",
        "Requests in the queue. One with several prompts counts until its last prompt has started.",
        _of_scheduler(lambda scheduler: scheduler.queued),
    ),
    (
        "answers_running",
        "gauge",
        "Answers, or requests for vectors or scores, in work.",
        _of_scheduler(lambda scheduler: scheduler.running),
    ),
    (
        "kv_blocks_in_use",
        "gauge",
        "Blocks of the KV cache that are in use.",
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
    (
        "kv_usage_ratio",
        "gauge",
        "Share of the KV cache's blocks that are in use, including kept prefixes.",
        _of_scheduler(lambda scheduler: scheduler.kv_blocks_in_use / scheduler.kv_blocks),
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
    (
        "token_seconds",
        "Mean time of a token after the first, one value for each answer.",
        lambda stats: stats.token_seconds,
    ),
    ("job_seconds", "From the arrival of a prompt to the end of its answer.", lambda stats: stats.job_seconds),
    (
        "step_seconds",
        "Time between two tokens of a running answer, or of a pass over texts.",
        lambda stats: stats.step_seconds,
    ),
    ("request_prompt_tokens", "Tokens of a prompt that was answered.", lambda stats: stats.request_prompt_tokens),
    ("request_completion_tokens", "Tokens of an answer.", lambda stats: stats.request_completion_tokens),
)


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[Labels, float]]) -> Metric:
    """A counter or a gauge."""
    found = list(samples)
    labels = list(found[0][0]) if found else []
    make = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
    family = make(f"qwen3cpu_{name}", text, labels=labels)
    for each, value in found:
        family.add_metric(list(each.values()), value)
    return family


def _histogram_family(name: str, text: str, samples: Iterable[tuple[Labels, Histogram]]) -> Metric:
    found = list(samples)
    family = HistogramMetricFamily(f"qwen3cpu_{name}", text, labels=list(found[0][0]) if found else [])
    for each, histogram in found:
        bounds = [*map(str, histogram.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(list(histogram.counts)), strict=True))
        family.add_metric(list(each.values()), buckets, histogram.sum)
    return family
