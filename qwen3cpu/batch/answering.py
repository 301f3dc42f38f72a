"""Answers to lines, as many side by side as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from qwen3cpu.batch.ids import Ids
from qwen3cpu.batch.input_file import Line
from qwen3cpu.batch.requests import Underway, start
from qwen3cpu.batch.running import MOST_RUNNING, MOST_SMALL, SMALL, JobList, Runner
from qwen3cpu.server.scheduling.jobs import Job, Outcome
from qwen3cpu.server.scheduling.scheduler import SchedulerLimits
from qwen3cpu.server.scheduling.service import Service
from qwen3cpu.server.scheduling.workshop import Kind, Workshop

T = TypeVar("T")

Note = Callable[[int, Line, "Any | Exception"], None]
"""note(place, line, reply or error): takes what a line has come to."""


@dataclass(eq=False)
class _Task:
    """A line under way. left: answers that are not complete."""

    place: int
    line: Line
    underway: Underway
    left: int


class Inline(Workshop):
    """A workshop without threads: work is done when it is asked for."""

    async def run(self, kind: Kind, work: Callable[[], T]) -> T:
        """The result of `work`."""
        return work()


class Answering:
    """Answers lines, on the thread that calls.

    Args:
        service: not opened; it is used up.
        lines: (place, line) in the order in which they begin; read as there is room.
        ids: of a line, by its number.
        note: called for every line.
        seed: of the whole job.
        options: of lines in our own form.
    """

    def __init__(
        self,
        service: Service,
        lines: Iterator[tuple[int, Line]],
        ids: Callable[[int], Ids],
        note: Note,
        *,
        seed: int,
        options: Mapping[str, Any],
    ) -> None:
        surroundings = service.model.answerer.surroundings
        kv_blocks = service.scheduler.kv_blocks
        limits = SchedulerLimits(kv_bytes=kv_blocks * surroundings.engine.kv_block_bytes)
        self._handed_in = JobList(surroundings, limits)
        self._most = MOST_SMALL if service.model.weight_bytes < SMALL else MOST_RUNNING
        self._runner = Runner(surroundings, kv_blocks, self._most)
        service.scheduler = self._handed_in
        service.workshop = Inline()
        self._service = service
        self._lines = lines
        self._ids = ids
        self._note = note
        self._seed = seed
        self._options = options
        self._tasks: dict[Job, _Task] = {}
        self._running = 0

    def run(self) -> None:
        """Answer all lines."""
        try:
            self._fill()
            while self._tasks:
                for job, outcome in self._runner.step():
                    self._take(job, outcome)
                self._fill()
        finally:
            self._runner.close()

    def _fill(self) -> None:
        """Let lines begin."""
        while self._running < self._most and (following := next(self._lines, None)) is not None:
            place, line = following
            try:
                if line.problem is not None:
                    raise line.problem
                underway = start(self._service, line, self._seed, self._options)
            except (MemoryError, OSError):
                raise
            except Exception as error:
                self._handed_in.jobs.clear()
                self._note(place, line, error)
                continue
            task = _Task(place, line, underway, sum(job.answers for job in underway.answers.jobs))
            self._running += task.left
            while self._handed_in.jobs:
                job = self._handed_in.jobs.popleft()
                self._tasks[job] = task
                self._runner.add(job)

    def _take(self, job: Job, outcome: Outcome) -> None:
        """Take what a job got."""
        task = self._tasks.get(job)
        if task is None:
            return  # another answer to the same line has failed
        if isinstance(outcome, Exception):
            self._end(task, outcome)
        elif outcome.result is None:
            if task.underway.every_chunk:
                job.sink(outcome)
        else:
            job.sink(outcome)
            task.left -= 1
            self._running -= 1
            if not task.left:
                self._end(task, task.underway.reply(self._ids(task.line.number)))

    def _end(self, task: _Task, reply: Any | Exception) -> None:
        """Note a line."""
        self._running -= task.left
        for job in task.underway.answers.jobs:
            del self._tasks[job]
            if task.left:
                self._runner.drop(job)
        self._note(task.place, task.line, reply)
