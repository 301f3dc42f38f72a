"""One running answer: what it still has to feed, and what each new token does to it.

Sampling, splitting into reasoning and text, stop conditions, limits and the thinking budget meet here. The forward pass
is in engine.py, the loop over several answers in generate.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.engine.engine import Engine
from qwen3cpu.engine.sampling import Sampler
from qwen3cpu.engine.sequence import TokenSequence
from qwen3cpu.generation.grammar import Constraint, Grammars
from qwen3cpu.generation.options import Request
from qwen3cpu.generation.results import Chunk, FinishReason, Result, StoppedBy, Timings, TokenLogprob, TopLogprob, Usage
from qwen3cpu.generation.thinking import ClosedBy, Deadline, LoopDetector
from qwen3cpu.text.output_splitter import OutputSplitter, Part, PlainOutput, starts_thinking
from qwen3cpu.text.stop_strings import StopMatcher
from qwen3cpu.text.tokenizer import Tokenizer
from qwen3cpu.text.tool_calls import CallReader, MalformedCall, ToolCall

BUDGET_SPENT = (
    "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now."
    "\n</think>\n\n"
)
"""What the authors feed in when a thinking budget is spent (Qwen3 technical report, section 4.4)."""
EMPTY_BLOCK = "\n\n</think>\n\n"
"""The rest of an empty think block, for a budget of 0."""
LIMITS = ("max_new_tokens", "context", "deadline")
"""What cuts an answer off."""


@dataclass(frozen=True)
class Surroundings:
    """What all answers of one model share."""

    engine: Engine
    tokenizer: Tokenizer
    eos_token_ids: frozenset[int]
    grammars: Grammars | None = None
    """For answers with a grammar."""
    clock: Callable[[], float] = perf_counter
    """Seconds, for deadlines and timings."""


class Answer:
    """An answer on its way.

    Args:
        model: engine, tokenizer and end tokens.
        prompt: token ids, at least one, shorter than the context.
        request: the options.
        index: reported in chunks and result.
        stream: which of several answers with the same seed; the sampler draws different numbers for each.
        sequence: a sequence to go on with: what it has in common with the prompt is not processed again, and it is not
            released at the end. None: one of its own. Either may take a longer beginning from the prefix cache.
    """

    def __init__(
        self,
        model: Surroundings,
        prompt: Sequence[int],
        request: Request,
        *,
        index: int = 0,
        stream: int = 0,
        sequence: TokenSequence | None = None,
    ) -> None:
        self._model = model
        self._request = request
        self._prompt = tuple(prompt)
        self._keeps_sequence = sequence is not None
        self.index = index
        self.sequence = model.engine.new_sequence() if sequence is None else sequence
        self._processed = 0
        """Tokens of the prompt that went through the model for this answer."""
        self.pending: list[int] = list(prompt)
        """Tokens that its sequence does not hold yet; before `start` all."""
        self.in_prompt = True
        self.catching_up = True
        """Whether its pending tokens are a prompt, or an answer up to here that is processed again."""
        self.result: Result | None = None
        self._sampler = Sampler(
            request.sampling,
            vocab_size=model.engine.vocab_size,
            token_limit=min(model.tokenizer.size, model.engine.vocab_size),
            prompt=prompt,
            stream=stream,
        )
        self._splitter: OutputSplitter | PlainOutput = (
            PlainOutput(model.tokenizer)
            if request.plain
            else OutputSplitter(model.tokenizer, in_thinking=starts_thinking(prompt, model.tokenizer))
        )
        self._constraint = self._make_constraint()
        self._stops = StopMatcher(request.stop)
        self._token_ids: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[ToolCall] = []
        self._malformed: list[MalformedCall] = []
        self._call_reader = CallReader(request.call_schemas)
        self._thought = 0
        self._reasoning_tokens = 0
        self._closed_by: ClosedBy | None = None
        self._loops = LoopDetector() if request.loop_detection else None
        self._in_loop = False
        self._unseen: list[Part] = []
        self._told = 0
        self._started = self._prompt_done = self._first_token = model.clock()
        self._deadline = None if request.deadline is None else Deadline(request.deadline, model.clock)
        self._shared = False
        if self._splitter.in_thinking and request.thinking_budget == 0:
            # The template has opened the block, and its first line, already.
            self._unseen = self._force(EMPTY_BLOCK[1:], "budget")

    @property
    def tokens(self) -> list[int]:
        """The prompt and what has been said so far."""
        return [*self._prompt, *self._token_ids]

    def start(self) -> None:
        """Find out what of its tokens is known: its sequence may hold a beginning, or the prefix cache a longer one.

        Done again between steps, it takes what others have processed meanwhile.
        """
        tokens = self.tokens
        self.pending = tokens[self._model.engine.start(self.sequence, tokens) :]

    def follows(self, other: Answer) -> bool:
        """Whether the other one will process positions which this one had better wait for, and share."""
        cache = self._model.engine.prefix_cache
        return cache.limit > 0 and cache.in_common(self.tokens[:-1], other.tokens) > self.sequence.length

    def wanted(self, count: int) -> Sequence[int]:
        """At which of the next `count` pending tokens logits are needed: after the last one, if that is among them."""
        return [count - 1] if count == len(self.pending) else []

    def fed(self, count: int, logits: NDArray[np.float32]) -> None:
        """Note that the first `count` pending tokens are in the sequence now; logits [wanted, vocab_size]."""
        length = self.sequence.length
        self._processed += max(0, min(length, len(self._prompt)) - (length - count))
        del self.pending[:count]

    def preempt(self) -> None:
        """Give the sequence's memory back for now. All tokens are pending, to be started again; no answer changes."""
        self.release()
        self.sequence = self._model.engine.new_sequence()
        self.pending = self.tokens
        self.catching_up = True

    def share_prompt(self, leader: Answer) -> None:
        """Take the processed prompt of another answer to the same prompt: the blocks are shared, not copied."""
        self.sequence.take(leader.sequence.fork())
        self._shared = True
        self.pending = []

    def receive(self, logits: NDArray[np.float32]) -> Chunk:
        """Choose the next token from the logits [vocab_size] after the last one, and say what that adds.

        To be called when nothing is pending any more. Sets `result` with the last token, else `pending`.
        """
        now = self._model.clock()
        bound = self._constraint is not None and not self._splitter.in_thinking
        token = self._sampler.sample(self._constraint.mask(logits) if self._constraint and bound else logits)
        self.catching_up = False
        if self.in_prompt:
            self.in_prompt = False
            self._prompt_done, self._first_token = now, self._model.clock()
            if self._deadline is not None:
                self._deadline.prompt_done()
            self._model.engine.prefix_cache.store(self.sequence)
        if self._deadline is not None:
            self._deadline.step()
        stop: str | int | None
        stopped_by, stop = self._ended_by(token)
        parts = self._unseen + self._take(token, logits, visible=stopped_by is None)
        self._unseen = []
        self.pending = [token]
        if stopped_by is None:
            parts += self._close_thinking()
            stopped_by = self._limit_reached()
        shown = self._show(parts, at_end=stopped_by is not None)
        if self._stops.matched is not None:
            stopped_by, stop = "stop_string", self._stops.matched
        if stopped_by is not None:
            self.pending = []
            self.result = self._make_result(stopped_by, stop)
        first, self._told = self._told, len(self._token_ids)
        return Chunk(
            **shown,
            token_ids=tuple(self._token_ids[first:]),
            logprobs=tuple(self._logprobs[first:]) if self._request.logprobs is not None else None,
            index=self.index,
            finish_reason=self.result.finish_reason if self.result else None,
            result=self.result,
        )

    @property
    def overdue(self) -> bool:
        """Whether its deadline has passed."""
        return self._deadline is not None and self._deadline.passed

    def cut_off(self) -> Chunk:
        """End it at its deadline, before its prompt has been processed."""
        self._prompt_done = self._first_token = self._model.clock()
        self.pending = []
        self.result = self._make_result("deadline", None)
        return Chunk(index=self.index, finish_reason="length", result=self.result)

    def release(self) -> None:
        """Give the sequence's memory back, unless it is the caller's; the prefix cache may keep what it holds."""
        self._model.engine.prefix_cache.store(self.sequence)
        if not self._keeps_sequence:
            self.sequence.release()

    def _make_constraint(self) -> Constraint | None:
        grammars, grammar = self._model.grammars, self._request.grammar
        if grammar is None or grammars is None:
            return None
        may_think = self._request.thinking and not self._splitter.in_thinking
        return Constraint(grammars.matcher(grammar), self._model.tokenizer.think if may_think else None)

    def _room(self) -> int:
        """Tokens that may still follow."""
        room = self._model.engine.context - len(self._prompt)
        if self._request.max_new_tokens is not None:
            room = min(room, self._request.max_new_tokens)
        return room - len(self._token_ids)

    def _limit_reached(self) -> StoppedBy | None:
        if self.overdue:
            return "deadline"
        if self._room() > 0:
            return None
        limit = self._request.max_new_tokens
        return "context" if limit is None or len(self._token_ids) < limit else "max_new_tokens"

    def _ended_by(self, token: int) -> tuple[StoppedBy | None, int | None]:
        if token in self._request.stop_token_ids:
            return "stop_token", token
        if token in self._model.eos_token_ids and not self._request.ignore_eos:
            return "eos", token
        return None, None

    def _take(self, token: int, logits: NDArray[np.float32] | None, visible: bool = True) -> list[Part]:
        """Note one token after the prompt; logits None: it was not sampled. Returns what can be shown of it."""
        self._token_ids.append(token)
        if self._request.logprobs is not None:
            self._logprobs.append(self._logprob(token, logits, self._request.logprobs))
        before = self._splitter.in_thinking
        parts = self._splitter.push(token) if visible else []
        after = self._splitter.in_thinking
        if self._constraint is not None and visible:
            if before or after:
                self._constraint.thinks()
            else:
                self._constraint.push(token)
        self._reasoning_tokens += before or after
        self._thought += before and after
        if before and after and self._loops is not None:
            self._in_loop = self._loops.push(token)
        return parts

    def _force(self, text: str, closed_by: ClosedBy) -> list[Part]:
        """Put text that the model did not write into the answer, when that leaves room for more."""
        parts: list[Part] = []
        tokens = self._model.tokenizer.encode(text, control_tokens=True)
        if len(tokens) < self._room():
            self._closed_by = closed_by
            for token in tokens:
                self._sampler.accept(token)
                parts += self._take(token, None)
                self.pending.append(token)
        return parts

    def _close_thinking(self) -> list[Part]:
        """Feed in the closing sentence when the budget is spent, the deadline is near, or the thinking is in a loop."""
        if not self._splitter.in_thinking:
            return []
        closed_by: ClosedBy | None = None
        budget = self._request.thinking_budget
        if budget is not None and self._thought >= budget:
            closed_by = "budget"
        elif self._in_loop:
            closed_by = "loop"
        elif self._deadline is not None and self._deadline.answer_due:
            closed_by = "deadline"
        return self._force(BUDGET_SPENT if self._thought else EMPTY_BLOCK, closed_by) if closed_by else []

    def _show(self, parts: Sequence[Part], *, at_end: bool) -> dict[str, Any]:
        """Sort parts into the fields of a chunk and hold back what may become a stop string."""
        text = reasoning = ""
        calls: dict[str, ToolCall | MalformedCall] = {}
        for part in [*parts, *(self._splitter.finish() if at_end else [])]:
            if self._stops.matched is not None:
                break
            if part.kind == "text":
                text += self._stops.push(part.text)
            elif part.kind == "reasoning":
                text += self._stops.flush()
                reasoning += part.text
            else:
                # Of calls a token completes one at most.
                call = self._call_reader.read(part.text)
                if isinstance(call, ToolCall):
                    text += self._stops.flush()
                    self._calls.append(call)
                    calls["tool_call"] = call
                else:
                    text += self._stops.push(call.text)
                    self._malformed.append(call)
                    calls["malformed_call"] = call
        if self._stops.matched is None:
            if at_end:
                text += self._stops.flush()
            elif self._stops.would_match(self._splitter.held):
                # Newlines that wait for what comes next are a stop string already.
                text += self._stops.push(self._splitter.held)
        self._text.append(text)
        self._reasoning.append(reasoning)
        return {"text": text, "reasoning": reasoning, **calls}

    def _logprob(self, token: int, logits: NDArray[np.float32] | None, top: int) -> TokenLogprob:
        text = token_text(self._model.tokenizer, token)
        if logits is None:
            return TokenLogprob(token, text, None)
        value, alternatives = self._sampler.logprobs(logits, token, top)
        return TokenLogprob(
            token,
            text,
            value,
            tuple(TopLogprob(other, token_text(self._model.tokenizer, other), each) for other, each in alternatives),
        )

    def _make_result(self, stopped_by: StoppedBy, stop: str | int | None) -> Result:
        reason: FinishReason = "length" if stopped_by in LIMITS else "stop"
        return Result(
            text="".join(self._text),
            reasoning="".join(self._reasoning),
            tool_calls=tuple(self._calls),
            malformed_calls=tuple(self._malformed),
            token_ids=tuple(self._token_ids),
            finish_reason=reason,
            stopped_by=stopped_by,
            stop=stop,
            usage=Usage(
                prompt_tokens=len(self._prompt),
                completion_tokens=len(self._token_ids),
                reasoning_tokens=self._reasoning_tokens,
                cached_tokens=max(0, len(self._prompt) - self._processed),
            ),
            timings=self._timings(),
            seed=self._sampler.seed,
            logprobs=tuple(self._logprobs) if self._request.logprobs is not None else None,
            index=self.index,
            thinking_closed_by=self._closed_by,
        )

    def _timings(self) -> Timings:
        now = self._model.clock()
        prompt = 0.0 if self._shared else self._prompt_done - self._started
        decode = now - self._first_token
        return Timings(
            prompt_seconds=prompt,
            first_token_seconds=self._first_token - self._started,
            decode_seconds=decode,
            total_seconds=now - self._started,
            prompt_tokens_per_second=self._processed / prompt if prompt > 0 else 0.0,
            tokens_per_second=max(len(self._token_ids) - 1, 0) / decode if decode > 0 else 0.0,
        )


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """The bytes of one token as text. Ids that the tokenizer does not have are empty."""
    return tokenizer.token_bytes(token).decode("utf-8", "replace") if token < tokenizer.size else ""
