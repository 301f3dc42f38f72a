"""An interpreter that ends while daemon threads generate keeps the exit status of its script."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys, threading, time
import qwen3cpu
model = qwen3cpu.load("tiny", threads=2)
started = threading.Event()
schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]} if sys.argv[2:] else None
def run():
    while True:
        for _ in model.stream("Tell me a story.", seed=1, thinking=False, schema=schema, max_new_tokens=20):
            started.set()
for _ in range(3):
    threading.Thread(target=run, daemon=True).start()
started.wait()
time.sleep(int(sys.argv[1]) / 1000)
sys.exit(7)
"""


def codes(*arguments):
    """Exit codes of interpreters that end at several moments."""
    return [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(number), *arguments], capture_output=True, timeout=120
        ).returncode
        for number in range(12)
    ]


def test_daemon_threads_that_generate():
    """Without care every second of these interpreters is aborted."""
    assert codes() == [7] * 12


def test_daemon_threads_in_a_grammar():
    """Without care every third ends by SIGSEGV."""
    pytest.importorskip("llguidance")
    assert codes("schema") == [7] * 12
