"""An interpreter that ends while daemon threads generate keeps the exit status of its script."""

import importlib.util
import multiprocessing
import subprocess
import sys

import pytest
from checkpoints import write_checkpoint

BEGIN = """
import os, sys, threading, time
import qwen3cpu
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
def end_beside_threads(folder, schema, milliseconds):
    model = qwen3cpu.load(folder, quant="f32", threads=2)
    started = threading.Event()
    def run():
        while True:
            for _ in model.stream("Tell me a story.", seed=1, thinking=False, schema=schema, max_new_tokens=20):
                started.set()
    for _ in range(3):
        threading.Thread(target=run, daemon=True).start()
    started.wait()
    time.sleep(milliseconds / 1000)
    sys.exit(7)
"""
ONE = """
end_beside_threads(sys.argv[1], SCHEMA if sys.argv[2] == "schema" else None, 5)
"""
MANY = """
statuses, running = [], set()
def wait_for(most):
    while len(running) > most:
        pid, status = os.wait()
        running.remove(pid)
        statuses.append(os.waitstatus_to_exitcode(status))
for number in range(int(sys.argv[3])):
    wait_for(3)
    pid = os.fork()
    if not pid:
        # Every second one follows a schema. Those of a kind end at moments of their own.
        end_beside_threads(sys.argv[1], SCHEMA if sys.argv[2] == "schema" and number % 2 else None, number // 2)
    running.add(pid)
wait_for(0)
print(*statuses)
"""


def run(program, *arguments):
    return subprocess.run([sys.executable, "-c", BEGIN + program, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("kind", ["text", "schema"])
def test_an_interpreter_that_ends_beside_daemon_threads(tmp_path, kind):
    if kind == "schema":
        pytest.importorskip("llguidance")
    assert run(ONE, write_checkpoint(tmp_path).folder, kind).returncode == 7


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.heavy
@pytest.mark.parametrize("count", [100])
def test_interpreters_that_end_beside_daemon_threads(tmp_path, count):
    """They share an import, and each loads a model. Without `hold_threads_that_end` most of them would abort."""
    kind = "schema" if importlib.util.find_spec("llguidance") else "text"
    done = run(MANY, write_checkpoint(tmp_path).folder, kind, count)
    assert done.stdout.split() == ["7"] * count, done.stderr
