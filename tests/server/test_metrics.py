"""GET /metrics: the counters, their format, and that the documentation has all of them."""

import re
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from qwen3cpu._version import VERSION
from qwen3cpu.server.scheduling.stats import BUCKETS, TOKEN_BUCKETS, Histogram

CHAT = "/v1/chat/completions"
PAGE = Path(__file__).parents[2] / "docs" / "observing.md"
OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0"}


def families(server, **query):
    return {each.name: each for each in read_text(server.http.get("/metrics", params=query).text)}


def values(server):
    """(name, labels) -> value."""
    found = families(server).values()
    return {(each.name, *sorted(each.labels.items())): each.value for family in found for each in family.samples}


def test_what_is_counted(serve, tiny):
    server = serve(tiny)
    usage = server.chat(max_tokens=5, ignore_eos=True, speculate=False)["usage"]
    server.post(CHAT, {"messages": []})
    server.http.get("/nowhere")
    found = values(server)
    responses = "qwen3cpu_http_responses_total"
    assert found[responses, ("path", CHAT), ("status", "200")] == 1
    assert found[responses, ("path", CHAT), ("status", "400")] == 1
    assert found[responses, ("path", "other"), ("status", "404")] == 1
    assert found["qwen3cpu_jobs_total", ("end", "finished")] == 1
    assert found["qwen3cpu_answers_total", ("reason", "length")] == 1
    assert found["qwen3cpu_answers_total", ("reason", "stop")] == 0
    assert found["qwen3cpu_prompt_tokens_total",] == usage["prompt_tokens"]
    assert found["qwen3cpu_completion_tokens_total",] == 5
    assert found["qwen3cpu_request_prompt_tokens_sum",] == usage["prompt_tokens"]
    assert found["qwen3cpu_request_completion_tokens_sum",] == 5
    for name in ("queue_seconds", "first_token_seconds", "token_seconds", "job_seconds", "request_prompt_tokens"):
        assert found[f"qwen3cpu_{name}_count",] == 1, name
    assert found["qwen3cpu_step_seconds_bucket", ("le", "+Inf")] == found["qwen3cpu_step_seconds_count",] == 4
    assert found["qwen3cpu_http_request_seconds_count", ("path", CHAT)] == 2
    assert found["qwen3cpu_http_request_seconds_sum", ("path", CHAT)] > 0
    first, whole = (found[f"qwen3cpu_{name}_sum",] for name in ("first_token_seconds", "job_seconds"))
    assert first < whole
    assert found["qwen3cpu_token_seconds_sum",] * 4 < whole
    assert found["qwen3cpu_build_info", ("version", VERSION)] == 1
    blocks, limit = found["qwen3cpu_kv_blocks_in_use",], found["qwen3cpu_kv_blocks_limit",]
    assert found["qwen3cpu_kv_usage_ratio",] == blocks / limit


def test_each_answer_to_a_prompt_is_counted_and_the_prompt_once(serve, tiny):
    server = serve(tiny)
    server.chat(max_tokens=1, n=3)
    found = values(server)
    assert found["qwen3cpu_request_completion_tokens_count",] == 3
    assert found["qwen3cpu_request_prompt_tokens_count",] == 1
    assert found["qwen3cpu_token_seconds_count",] == 0, "no token came after the first"


def test_servers_count_for_themselves(serve, tiny, random_model):
    one, other = serve(tiny), serve(random_model)
    one.chat(max_tokens=1)
    assert values(one)["qwen3cpu_jobs_total", ("end", "finished")] == 1
    assert values(other)["qwen3cpu_jobs_total", ("end", "finished")] == 0


def test_the_format_that_a_client_accepts(server):
    plain = server.http.get("/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    open_ = server.http.get("/metrics", headers=OPENMETRICS)
    assert open_.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert open_.text.endswith("# EOF\n")
    names = {each.name for each in read_openmetrics(open_.text)}
    assert names == {each.name.removesuffix("_info") for each in read_text(plain.text)}


def test_only_what_is_asked_for(server):
    assert list(families(server, **{"name[]": "qwen3cpu_models_loaded"})) == ["qwen3cpu_models_loaded"]


def test_histograms_count_by_upper_bounds():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 3.0):
        histogram.note(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.sum == 8.0
    for bounds in (BUCKETS, TOKEN_BUCKETS):
        assert list(bounds) == sorted(set(bounds))


@pytest.mark.skipif(not PAGE.is_file(), reason="needs docs/ beside the tests")
def test_the_page_has_every_metric(serve, tiny):
    server = serve(tiny)
    server.chat(max_tokens=2, ignore_eos=True)
    families(server)  # so that this path has been counted
    rows = set()
    for family in families(server).values():
        if not family.name.startswith("qwen3cpu_"):
            continue
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        shown = ", ".join(f"`{label}`" for label in sorted(labels))
        name = family.samples[0].name if family.type in ("counter", "gauge") else family.name
        rows.add(f"| `{name}` | {family.type} | {shown} | {family.documentation} |")
    found = {line for line in PAGE.read_text("utf-8").splitlines() if re.match(r"\| `qwen3cpu_\w+` \| \w+ \|", line)}
    assert found == rows
