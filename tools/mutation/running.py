"""Runs the tests on one fault after the other, and writes each result at once."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mutation.places import Fault
from mutation.reach import Reach
from mutation.testing import Outcome, Runner, note
from mutation.tree import CompileError, Tree

BATCH_SECONDS = 30.0  # of tests that share a process; collecting all tests takes longer than finding most faults


_WRITING = threading.Lock()


def run_faults(
    waiting: queue.SimpleQueue[Fault],
    tree: Tree,
    reach: Reach,
    runner: Runner,
    results: Path,
    *,
    near: bool = False,
    files: list[str] | None = None,
) -> None:
    """Run all waiting faults. Each result is a line of the file `results`.

    near: run only the tests that mirror a fault's file. files: run these tests. With either, a fault that they miss
    gets no result.
    """
    while True:
        try:
            fault = waiting.get_nowait()
        except queue.Empty:
            return
        started = time.monotonic()
        row = {"fault": fault.id, **judge(fault, tree, files or reach.tests_of(fault, near=near), reach, runner)}
        row["seconds"] = round(time.monotonic() - started, 1)
        if (near or files) and row["verdict"] == "survived":
            note(f"{fault.id} survived these tests ({fault.operator}, {fault.file})")
            continue
        with _WRITING, results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        note(f"{fault.id} {row['verdict']} by {row['by']} in {row['seconds']:.0f} s ({fault.operator}, {fault.file})")


def read_results(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of results, or none if the file does not exist."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def judge(fault: Fault, tree: Tree, tests: list[str], reach: Reach, runner: Runner) -> dict[str, Any]:
    """Put a fault in, run test files until one finds it, and remove it."""
    try:
        before = tree.put(fault)
    except (CompileError, ValueError) as error:
        return {"verdict": "cannot be placed", "by": str(error)[:500]}
    broken = reach.broken()
    runner.clean()
    try:
        for caught in _catches(tests, broken, reach, runner):
            tree.write(fault.file, before)
            tree.build()
            if caught.how == "hung" or _passes_without(caught, runner):
                return {"verdict": "caught", "by": caught.test, "how": caught.how}
            note(f"{fault.id}: {caught.test} fails without the fault too")
            broken.append(str(caught.test))
            tree.put(fault)
    finally:
        tree.write(fault.file, before)
        tree.build()
    return {"verdict": "survived", "by": None, "how": None, "ran": len(tests)}


def _catches(tests: list[str], broken: list[str], reach: Reach, runner: Runner) -> Iterator[Outcome]:
    """Outcomes other than success, each seen twice. `broken` may grow in between."""
    for batch in batches(tests, reach):
        while True:
            deselected = [f"--deselect={test}" for test in broken]
            outcome = runner.run(batch, "-x", *deselected)
            if outcome.how == "passed":
                break
            if outcome.how != "hung" and outcome.test and runner.run([outcome.test], *deselected).how == "passed":
                note(f"{outcome.test} {outcome.how} once and passed alone")
                broken.append(outcome.test)
                continue
            yield outcome


def _passes_without(caught: Outcome, runner: Runner) -> bool:
    runner.clean()
    return caught.test is None or caught.test.endswith("conftest.py") or runner.run([caught.test]).how == "passed"


def batches(tests: list[str], reach: Reach) -> Iterator[list[str]]:
    """The tests in their order, cut into runs of about `BATCH_SECONDS`. The first run is short."""
    batch: list[str] = []
    seconds, most = 0.0, BATCH_SECONDS / 3
    for test in tests:
        batch.append(test)
        seconds += reach.seconds(test)
        if seconds >= most:
            yield batch
            batch, seconds, most = [], 0.0, BATCH_SECONDS
    if batch:
        yield batch
