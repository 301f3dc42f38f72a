"""A model for the endpoints: passes prompts to the scheduler, and chunks back to the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import secrets
import weakref
from array import array
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from qwen3cpu._version import VERSION
from qwen3cpu.engine.adapters import Adapter
from qwen3cpu.engine.formats import DEFAULT_ACTIVATIONS
from qwen3cpu.generation.options import Request
from qwen3cpu.generation.results import Chunk, Result, TokenLogprob
from qwen3cpu.model import Model
from qwen3cpu.server.scheduling.jobs import Job, Outcome
from qwen3cpu.server.scheduling.memory import default_kv_bytes
from qwen3cpu.server.scheduling.records import AnswersRecord
from qwen3cpu.server.scheduling.scheduler import Scheduler, SchedulerLimits
from qwen3cpu.server.scheduling.text_scheduler import TextScheduler
from qwen3cpu.server.scheduling.text_states import TextStates
from qwen3cpu.server.scheduling.turns import Turns
from qwen3cpu.server.scheduling.workshop import Workshop
from qwen3cpu.server.settings import Settings
from qwen3cpu.text.prompts import Prompt

FIRST_MEAN: Final = 256
"""Expected tokens of an answer before the first one has ended."""


class Answers:
    """The chunks of one or several jobs, as they arrive. Made by Service.start.

    A finished answer is checked by its schema here, not on the scheduler's thread.

    Choices are numbered across the prompts: first the choices of the first prompt, then those of the second, and so on.
    """

    def __init__(self, scheduler: Scheduler, workshop: Workshop) -> None:
        self._scheduler = scheduler
        self._workshop = workshop
        self.jobs: list[Job] = []
        self.record = AnswersRecord()
        """The record of the outcomes so far."""
        self._arrived: deque[tuple[int, Outcome]] = deque()
        self._news = asyncio.Event()
        self._left = 0

    def submit(self, jobs: list[Job]) -> None:
        """Submit the jobs of the request, whose sinks pass their outcomes to `sink`."""
        self._scheduler.submit(*jobs)
        self.jobs = jobs
        self._left = sum(job.answers for job in jobs)

    def sink(self, first: int, outcome: Outcome) -> None:
        """Take an outcome of a job. Called on the event loop."""
        self.record.note(first, outcome)
        self._arrived.append((first, outcome))
        self._news.set()

    async def chunks(self) -> AsyncGenerator[tuple[int, Chunk], None]:
        """(choice, chunk) until all choices are complete. Raises the error that ended a job early."""
        while self._left:
            while not self._arrived:
                self._news.clear()
                await self._news.wait()
            first, outcome = self._arrived.popleft()
            if isinstance(outcome, Exception):
                raise outcome
            if outcome.result is not None:
                self._left -= 1
                outcome = replace(outcome, result=await self._checked(outcome.result))
            yield first + outcome.index, outcome

    async def _checked(self, result: Result) -> Result:
        grammar = self.jobs[0].request.grammar
        if grammar is None or grammar.schema is None or result.tool_calls or result.schema_errors:
            return result
        errors = await self._workshop.run("grammar", partial(grammar.errors, result.text))
        return replace(result, schema_errors=errors)

    async def results(self) -> list[Result]:
        """The results of all choices."""
        found: dict[int, Result] = {}
        async for choice, chunk in self.chunks():
            if chunk.result is not None:
                found[choice] = chunk.result
        return [found[choice] for choice in sorted(found)]

    def prompt_scores(self, choice: int) -> list[TokenLogprob]:
        """The scores of the prompt of a choice."""
        return self.job_of(choice).prompt_scores

    def job_of(self, choice: int) -> Job:
        """The job that a choice belongs to."""
        return self.jobs[choice // self.jobs[0].answers]

    def tokens_left(self, mean: int) -> int:
        """Tokens of prompts that wait and of answers that are not complete. mean: the expected tokens of an answer."""
        left = [job for job in self.jobs if job.unfinished and not job.cancelled]
        return sum(mean * job.unfinished + (0 if job.begun else len(job.prompt)) for job in left)

    def close(self) -> None:
        """Cancel the jobs that have not ended."""
        for job in self.jobs:
            if job.unfinished:
                self._scheduler.cancel(job)


class Service:
    """A model with its scheduler.

    Args:
        model: the loaded model, which only the scheduler may use afterwards.
        settings: the server's settings, with the name of the model.
        workshop: the server's workshop; None: a new one.
        turns: shares the processor among models; None: no other model uses it.
    """

    def __init__(
        self, model: Model, settings: Settings, workshop: Workshop | None = None, turns: Turns | None = None
    ) -> None:
        self.model = model
        self.settings = settings
        self.adapter: Adapter | None = None
        """The adapter, in a view for one request."""
        self._delivery = _Delivery()
        kv_bytes = settings.kv_bytes if settings.kv_bytes is not None else default_kv_bytes(model)
        limits = SchedulerLimits(parallel=settings.parallel, queue=settings.queue, kv_bytes=kv_bytes)
        self.scheduler: Scheduler | TextScheduler
        """It generates answers, or processes texts if the model makes vectors or scores."""
        if model.task == "generation":
            self.scheduler = Scheduler(model.answerer.surroundings, limits, self._delivery, turns=turns)
        else:
            self.scheduler = TextScheduler(model.engine, limits, self._delivery, turns=turns)
        self.workshop = workshop or Workshop()
        self._under_way: weakref.WeakSet[Answers | TextStates] = weakref.WeakSet()

    def open(self) -> None:
        """Start the scheduler. Call it on the event loop that the endpoints run on."""
        self._delivery.loop = asyncio.get_running_loop()
        self.scheduler.start()

    def close(self) -> None:
        """End all jobs and wait for the scheduler. Do not call it on the event loop's thread."""
        if not self.scheduler.stopping:
            self.scheduler.stop()
        self.scheduler.join()

    def adapted(self, adapter: str, shown: str) -> Service:
        """The same model with an adapter, for one request.

        Args:
            adapter: its name.
            shown: the name that clients see in replies.

        Raises:
            ArgumentError: there is no adapter of this name.
        """
        view = copy.copy(self)
        view.adapter = self.model.answerer.find_adapter(adapter)
        view.settings = replace(self.settings, model_name=shown)
        return view

    @property
    def tokens_left(self) -> int:
        """An estimate of the tokens that the running requests still need. Answers count as long as the mean so far."""
        answers = sum(self.scheduler.stats.answers.values())
        mean = self.scheduler.stats.completion_tokens // answers if answers else FIRST_MEAN
        return sum(each.tokens_left(mean) for each in list(self._under_way))

    @property
    def fingerprint(self) -> str:
        """A text of all that an answer depends on besides its request: version, formats and adapter."""
        adapter = "" if self.adapter is None else f"-{self.adapter.identity[:16]}"
        activations = "" if self.model.activations == DEFAULT_ACTIVATIONS else f"-{self.model.activations}"
        return f"qwen3cpu-{VERSION}-{self.model.quant}-{self.model.kv}{activations}{adapter}"

    def request(self, prompt: Prompt | None = None, **options: Any) -> Request:
        """Checked options, with the adapter; see `Answerer.request`."""
        return replace(self.model.answerer.request(prompt, **options), adapter=self.adapter)

    def encode(self, prompt: Prompt, request: Request) -> list[int]:
        """The ids of a prompt. Call it on a thread of the workshop, because a long prompt takes a while."""
        return self.model.answerer.encode(prompt, request)

    def start(
        self, prompts: Sequence[list[int]], request: Request, *, arrived: float | None = None, **job_options: Any
    ) -> Answers:
        """Hand prompts to the scheduler; `request.n` answers to each.

        Args:
            prompts: token ids of each.
            request: checked options.
            arrived: the request's arrival on the clock of perf_counter, when its time limit starts. None: this call.
            job_options: more arguments of the jobs.

        Raises:
            QueueFullError, ShuttingDownError, ArgumentError: no job has started.
        """
        if request.sampling.seed is None:
            request = replace(request, sampling=request.sampling.with_seed(secrets.randbits(53)))
        if arrived is not None:
            job_options["created"] = arrived
        assert isinstance(self.scheduler, Scheduler)
        answers = Answers(self.scheduler, self.workshop)
        self._under_way.add(answers)
        jobs = []
        for place, prompt in enumerate(prompts):
            sink = _Sink(answers, place * (request.n or 1))
            jobs.append(Job(prompt, request, sink, self.settings.timeout, **job_options))
        answers.submit(jobs)
        return answers

    def start_texts(self, texts: Sequence[array[int]], *, arrived: float) -> TextStates:
        """Hand texts to the scheduler, whose hidden states are wanted.

        Args:
            texts: token ids of each, at least one and no more than the context.
            arrived: the request's arrival on the clock of perf_counter.

        Raises:
            QueueFullError, ShuttingDownError: no job is left running.
        """
        assert isinstance(self.scheduler, TextScheduler)
        state_bytes = 4 * self.model.config.hidden_size * len(texts)
        states = TextStates(self.scheduler, texts, state_bytes, timeout=self.settings.timeout, created=arrived)
        self._under_way.add(states)
        return states


class _Delivery:
    """Passes outcomes from the scheduler's thread to the event loop. Has no reference that would keep a model alive."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None

    def __call__(self, news: Sequence[tuple[Any, Any]]) -> None:
        assert self.loop is not None
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self.loop.call_soon_threadsafe(_pass_on, news)


class _Sink:
    """Holds the answers by a weak reference, because they hold the job, which holds this sink."""

    def __init__(self, answers: Answers, first: int) -> None:
        self._answers = weakref.ref(answers)
        self._first = first

    def __call__(self, outcome: Outcome) -> None:
        answers = self._answers()
        if answers is not None:  # otherwise the request is over
            answers.sink(self._first, outcome)


def _pass_on(news: Sequence[tuple[Any, Any]]) -> None:
    for job, outcome in news:
        job.sink(outcome)
