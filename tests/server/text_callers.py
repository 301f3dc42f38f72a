"""Submits texts to a scheduler of texts and waits for them, like the threads of a server."""

import queue
import threading
from array import array

from qwen3cpu.server.scheduling.scheduler import SchedulerLimits
from qwen3cpu.server.scheduling.text_jobs import TextJob
from qwen3cpu.server.scheduling.text_scheduler import TextScheduler


class TextCaller:
    """Submits jobs to a scheduler. Passes are counted, and run only while the gate is open."""

    def __init__(self, engine, pace=None, **limits):
        self.engine = engine
        blocks = limits.pop("blocks", 1000)
        limits = SchedulerLimits(kv_bytes=blocks * engine.kv_block_bytes, **limits)
        self.scheduler = TextScheduler(engine, limits, self.deliver, pace)
        self.gate = threading.Event()
        self.gate.set()
        self.passes = 0
        self.most_blocks = 0
        self.ended_in = {}
        """Job -> the pass after which it ended."""
        self._fill = self.scheduler._fill
        self.scheduler._fill = self._gated_fill
        self.scheduler.start()

    def _gated_fill(self):
        self.gate.wait()
        self.scheduler._take_in()  # take jobs that were submitted while the gate was closed
        batch, turns = self._fill()
        assert batch
        assert sum(len(item.ids) for item in batch) <= 256
        self.passes += 1
        return batch, turns

    def deliver(self, news):
        for job, outcome in news:
            self.ended_in[job] = self.passes
            job.sink(outcome)

    def submit(self, texts, *, timeout=600.0):
        """Submit a job."""
        outcomes = queue.Queue()
        texts = [array("i", text) for text in texts]
        job = TextJob(texts, outcomes.put, timeout, state_bytes=4 * 64 * len(texts))
        job.outcomes = outcomes
        self.scheduler.submit(job)
        return job

    def states(self, job):
        """The states of a job. Raises the job's error."""
        outcome = job.outcomes.get()
        if isinstance(outcome, Exception):
            raise outcome
        self.scheduler.release(job)
        return outcome

    def close(self):
        self.gate.set()
        self.scheduler.stop()
        self.scheduler.join()
        assert self.engine.kv_blocks_in_use == 0, "a sequence was left behind"
