"""Submits jobs to a scheduler and waits for them, like the threads of a server."""

import queue
import threading

from qwen3cpu.server.scheduling.jobs import Job
from qwen3cpu.server.scheduling.scheduler import Scheduler, SchedulerLimits


class Caller:
    """Submits jobs to a scheduler and waits for them, like another thread."""

    def __init__(self, model, **limits):
        self.model = model
        self.most_blocks = 0
        blocks = limits.pop("blocks", 1000)
        limits = SchedulerLimits(kv_bytes=blocks * model.engine.native.kv_block_bytes(), **limits)
        self.scheduler = Scheduler(model.answerer.surroundings, limits, self.deliver)
        self.gate = threading.Event()
        """No step is made while it is cleared."""
        self.gate.set()
        self.steps = 0
        self.chunk_steps = {}
        """Job -> the steps in which it got its chunks."""
        self._advance = self.scheduler._batch.advance
        self.scheduler._batch.advance = self._step
        self.scheduler.start()

    def _step(self):
        self.gate.wait()
        self.steps += 1
        return self._advance()

    def deliver(self, news):
        self.most_blocks = max(self.most_blocks, self.scheduler.kv_blocks_in_use)
        for job, outcome in news:
            self.chunk_steps.setdefault(job, []).append(self.steps)
            job.sink(outcome)

    def submit(self, prompt, *, timeout=600.0, score_prompt=False, sample=True, **options):
        """Submit a job, whose outcomes go into `job.outcomes`."""
        (job,) = self.submit_all([prompt], timeout=timeout, score_prompt=score_prompt, sample=sample, **options)
        return job

    def submit_all(self, prompts, *, timeout=600.0, score_prompt=False, sample=True, **options):
        """Submit the jobs of one request."""
        request = self.model.answerer.request(seed=options.pop("seed", 1), **options)
        jobs = []
        for prompt in prompts:
            outcomes = queue.Queue()
            job = Job(list(prompt), request, outcomes.put, timeout, score_prompt=score_prompt, sample=sample)
            job.outcomes = outcomes
            jobs.append(job)
        self.scheduler.submit(*jobs)
        return jobs

    def chunks(self, job):
        """The chunks of a job up to its end. Raises the job's error."""
        results = 0
        while results < job.answers:
            outcome = job.outcomes.get()
            if isinstance(outcome, Exception):
                raise outcome
            results += outcome.result is not None
            yield outcome

    def results(self, job):
        """The results of a job, by index."""
        found = [chunk.result for chunk in self.chunks(job) if chunk.result is not None]
        return sorted(found, key=lambda result: result.index)

    def close(self):
        self.gate.set()
        self.scheduler.stop()
        self.scheduler.join()
        self.model.engine.prefix_cache.clear()
        assert self.model.engine.native.kv_blocks_in_use() == 0, "a sequence was left behind"
