"""Answers lines, as many at the same time as memory allows.

While the model runs, a thread reads, checks and encodes the next lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from qwen3cpu.batch.ahead import Ahead
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
"""note(place, line, reply or error): takes the result of a line."""


@dataclass(frozen=True)
class _Begun:
    """A line that has been read. underway: its answers, whose `jobs` must be run, or the error of the line."""

    place: int
    line: Line
    underway: Underway | Exception
    jobs: Sequence[Job] = ()


@dataclass(eq=False)
class _Task:
    """A line in work. left: the number of incomplete answers."""

    place: int
    line: Line
    underway: Underway
    left: int


class Inline(Workshop):
    """A workshop without threads, which runs work in the call itself."""

    async def run(self, kind: Kind, work: Callable[[], T]) -> T:
        """The result of `work`."""
        return work()


class Answering:
    """Answers lines on the calling thread.

    Args:
        service: a service that is not open. It cannot be used afterwards.
        lines: (place, line) in the order in which they start; read on another thread, a little ahead.
        ids: returns the ids of a line by its number.
        note: called for every line.
        seed: the seed of the whole job.
        options: options for lines in this package's own form.
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
        self._begun = self._begin(lines)
        self._ids = ids
        self._note = note
        self._seed = seed
        self._options = options
        self._tasks: dict[Job, _Task] = {}
        self._running = 0

    def run(self) -> None:
        """Answer all lines."""
        ahead = Ahead(self._begun, self._most)
        try:
            self._fill(ahead)
            while self._tasks:
                for job, outcome in self._runner.step():
                    self._take(job, outcome)
                self._fill(ahead)
        finally:
            ahead.close()
            self._runner.close()

    def _begin(self, lines: Iterator[tuple[int, Line]]) -> Iterator[_Begun]:
        """Prepare lines on the thread that works ahead. Only this thread uses the list of submitted jobs."""
        for place, line in lines:
            try:
                if line.problem is not None:
                    raise line.problem
                underway = start(self._service, line, self._seed, self._options)
            except (MemoryError, OSError):
                raise
            except Exception as error:
                yield _Begun(place, line, error)
            else:
                yield _Begun(place, line, underway, list(self._handed_in.jobs))
            self._handed_in.jobs.clear()

    def _fill(self, ahead: Ahead[_Begun]) -> None:
        """Start the lines that are ready. If none is in work, wait for one."""
        while self._running < self._most and (begun := ahead.take(wait=not self._tasks)) is not None:
            if isinstance(begun.underway, Exception):
                self._note(begun.place, begun.line, begun.underway)
                continue
            left = sum(job.answers for job in begun.jobs)
            task = _Task(begun.place, begun.line, begun.underway, left)
            self._running += left
            for job in begun.jobs:
                self._tasks[job] = task
                self._runner.add(job, every_chunk=begun.underway.every_chunk)

    def _take(self, job: Job, outcome: Outcome) -> None:
        """Take an outcome of a job."""
        task = self._tasks.get(job)
        if task is None:
            return  # another answer to the same line has failed
        if isinstance(outcome, Exception):
            self._end(task, outcome)
            return
        job.sink(outcome)
        if outcome.result is not None:
            task.left -= 1
            self._running -= 1
            if not task.left:
                self._end(task, task.underway.reply(self._ids(task.line.number)))

    def _end(self, task: _Task, reply: Any | Exception) -> None:
        """Note the result of a line, and drop the rest of its jobs."""
        self._running -= task.left
        for job in task.underway.answers.jobs:
            del self._tasks[job]
            self._runner.drop(job)
        self._note(task.place, task.line, reply)
