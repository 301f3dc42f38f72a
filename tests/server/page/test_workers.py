"""Worker processes: replies, limits of time and memory, and that no process is left."""

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.page import workers as module
from qwen3cpu.server.page.worker import NICENESS, answer
from qwen3cpu.server.page.workers import LIMITS, Limits, Workers

TEXT = {"text": "a *b*", "definitions": ""}


@pytest.fixture
def make():
    made = []

    def start(job="render", **limits):
        made.append(Workers(job, LIMITS[job]._replace(**limits)))
        return made[-1]

    yield start
    for each in made:
        each.close()
        assert all(process.poll() is not None for process in each._all)


def run(workers, **request):
    return json.loads(asyncio.run(workers.run(**request)))


def test_replies_come_from_one_process_again_and_again(make):
    workers = make()
    for _ in range(3):
        found = run(workers, **TEXT)
        assert found == {
            "blocks": [{"line": 0, "nodes": [["p", {}, "a ", ["em", {}, "b"]]]}],
            "open_line": 0,
            "definitions": "",
        }
    assert len(workers._all) == 1


def test_work_that_takes_too_long_is_ended(make):
    workers = make(seconds=0.05)
    with pytest.raises(ApiError, match="too complex") as caught:
        run(workers, text="*a **b " * 200_000, definitions="")
    assert caught.value.status == 422
    assert workers._all == []
    workers._limits = LIMITS["render"]
    assert run(workers, **TEXT)["open_line"] == 0, "the next one has a process of its own"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_work_that_needs_too_much_memory_is_refused(make):
    workers = make(bytes=1 << 20)
    with pytest.raises(ApiError, match=r"too much memory|too complex"):
        run(workers, text="- a\n" * 100_000, definitions="")


def test_too_many_wait(make, monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    workers = make(processes=1)

    async def several():
        return await asyncio.gather(*(workers.run(**TEXT) for _ in range(3)), return_exceptions=True)

    *done, refused = asyncio.run(several())
    assert all(isinstance(each, bytes) for each in done)
    assert refused.status == 429


def test_nothing_runs_after_the_end(make):
    workers = make()
    run(workers, **TEXT)
    workers.close()
    with pytest.raises(RuntimeError):
        run(workers, **TEXT)


def test_a_process_that_was_killed_is_replaced(make):
    workers = make()
    run(workers, **TEXT)
    workers._all[0].kill()
    workers._all[0].wait()
    assert run(workers, **TEXT)["open_line"] == 0


def test_a_worker_ends_with_its_server():
    process = subprocess.run(
        [sys.executable, "-m", "qwen3cpu.server.page.worker"], input=b"", capture_output=True, check=True
    )
    assert process.stdout == b""


LIMITLESS = {"seconds": 0, "bytes": None}


def test_a_rendering():
    found = answer({"job": "render", **TEXT, **LIMITLESS})
    assert found == {
        "blocks": [{"line": 0, "nodes": [["p", {}, "a ", ["em", {}, "b"]]]}],
        "open_line": 0,
        "definitions": "",
    }


def test_files():
    text = base64.b64encode(b"abc").decode()
    assert answer({"job": "extract", "data": text, **LIMITLESS}) == {"text": "abc", "pages": 1, "cut": False}
    broken = base64.b64encode(b"%PDF-1.7 broken").decode()
    assert "pypdf cannot read it" in answer({"job": "extract", "data": broken, **LIMITLESS})["error"]


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pypdf", None)
    data = base64.b64encode(b"%PDF-1.7").decode()
    assert "pip install 'qwen3cpu[" in answer({"job": "extract", "data": data, **LIMITLESS})["error"]


def test_memory_and_depth_are_told(monkeypatch):
    for error in (MemoryError, RecursionError):

        def fail(request, error=error):
            raise error

        monkeypatch.setitem(sys.modules["qwen3cpu.server.page.worker"].JOBS, "render", fail)
        assert answer({"job": "render", **LIMITLESS}) == {"error": "it needs too much memory"}


def test_endpoints(server):
    found = server.ok("/page/render", markdown="**x**")
    assert found["blocks"] == [{"line": 0, "nodes": [["p", {}, ["strong", {}, "x"]]]}]
    assert server.refused("/page/render", {"markdown": "x" * 300_000}, 400)["param"] == "markdown"
    assert server.refused("/page/render", {}, 400)["code"] == "missing_required_parameter"
    assert server.ok("/page/extract", file=base64.b64encode(b"abc").decode())["text"] == "abc"
    assert server.refused("/page/extract", {"file": base64.b64encode(b"%PDF-x").decode()}, 422)["code"] == "unreadable"


def test_limits_are_set():
    assert set(LIMITS) == {"render", "extract"}
    assert all(each.processes >= 1 and each.seconds > 0 and each.bytes > 0 for each in LIMITS.values())
    assert isinstance(LIMITS["render"], Limits)


def test_a_text_that_takes_long_delays_nobody(serve, tiny):
    server = serve(tiny)
    server.ok("/page/render", markdown="a")
    (process,) = server.app.state.page_workers["render"]._all
    process.send_signal(signal.SIGSTOP)
    found = []
    waiting = threading.Thread(target=lambda: found.append(server.ok("/page/render", markdown="slow")))
    waiting.start()
    try:
        while not server.app.state.page_workers["render"]._waiting:
            server.http.get("/health")
        assert server.chat("What is 1 + 1?")["choices"][0]["finish_reason"] == "stop"
        assert server.ok("/page/render", markdown="b")["blocks"], "another process takes the next one"
        assert found == []
    finally:
        process.send_signal(signal.SIGCONT)
        waiting.join()
    assert found[0]["blocks"][0]["nodes"] == [["p", {}, "slow"]]


def test_tokens_come_first(make):
    workers = make()
    run(workers, **TEXT)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, workers._all[0].pid) == min(19, own + NICENESS)
