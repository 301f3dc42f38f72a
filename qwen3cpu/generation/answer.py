"""One running answer: the tokens that it still has to feed, and the effects of each new token.

token_log.py has its tokens, transcript.py its visible parts. thinking.py closes the thinking, ending.py ends the
answer, meter.py measures times and counts. The loop over answers is in batch.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.engine.sampling import Sampler
from qwen3cpu.engine.sequence import TokenSequence
from qwen3cpu.errors import ClosedModelError, Qwen3CpuError
from qwen3cpu.generation.deadline import Deadline
from qwen3cpu.generation.ending import Ending, finish_reason
from qwen3cpu.generation.healing import Healing
from qwen3cpu.generation.logprobs import Scorer
from qwen3cpu.generation.meter import Meter
from qwen3cpu.generation.options import Request
from qwen3cpu.generation.processors import Processing, ProcessorError
from qwen3cpu.generation.results import Chunk, Result, StoppedBy
from qwen3cpu.generation.surroundings import Surroundings
from qwen3cpu.generation.thinking import EMPTY_BLOCK, ClosedBy, Thinking
from qwen3cpu.generation.token_log import TokenLog
from qwen3cpu.generation.token_masks import DeadEndError
from qwen3cpu.generation.transcript import Shown, Transcript
from qwen3cpu.text.output_splitter import starts_thinking


class Answer:
    """A running answer.

    Args:
        model: engine, tokenizer and end tokens.
        prompt: token ids, at least one, shorter than the context.
        request: the options.
        index: reported in chunks and result.
        stream: which of several answers with the same seed; the sampler draws different numbers for each.
        sequence: a sequence of the request's adapter to continue. The beginning that it shares with the prompt is not
            processed again, and it is not released at the end. None: the answer makes its own. Either may take a longer
            beginning from the prefix cache.
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
        engine, tokenizer = model.engine, model.tokenizer
        self._model = model
        self._healing = Healing(tokenizer, prompt, request.token_healing)
        self.prompt = prompt = self._healing.prompt
        """The ids of the prompt, without those that token healing takes back."""
        self.index = index
        self._keeps_sequence = sequence is not None
        self.sequence = engine.new_sequence(request.adapter) if sequence is None else sequence
        self.pending: list[int] = list(prompt)
        """Tokens that its sequence does not hold yet (all of them before `start`), followed by those of a draft."""
        self._draft: list[int] = []
        """The drafted ones among the pending or fed tokens, until `receive` finds out which of them are right."""
        self.chances: Sequence[float] = ()
        """For each drafted token, the chance that it is right if all before it are."""
        self.in_prompt = True
        """Whether no token has been chosen yet."""
        self.catching_up = True
        """Whether its pending tokens are a prompt, or a prompt and an answer so far that are processed again."""
        self.result: Result | None = None
        self._sampler = Sampler(
            request.sampling,
            vocab_size=engine.vocab_size,
            token_limit=min(tokenizer.size, engine.vocab_size),
            prompt=prompt,
            stream=stream,
            texts=tokenizer,
        )
        self.scorer = Scorer(self._sampler, tokenizer, request.logprobs or 0)
        """Computes the log-probabilities that the request asks for."""
        self._said = TokenLog(None if request.logprobs is None else self.scorer)
        in_thinking = not request.plain and starts_thinking(prompt, tokenizer)
        left_out = len(self._healing.taken)
        self._transcript = Transcript(tokenizer, request, in_thinking=in_thinking, left_out=left_out)
        may_think = request.thinking and not request.plain and not self._transcript.in_thinking
        think = tokenizer.think if may_think else None
        grammar, grammars = request.grammar, model.grammars
        self._constraint = None if grammar is None or grammars is None else grammars.constraint(grammar, think)
        self._grammar = request.grammar
        self._check_answer = request.check_answer
        self._schema_errors: tuple[str, ...] = ()
        self._processing = Processing(request.processors) if request.processors else None
        self.top = request.top
        """How many of the largest logits it needs; None: all logits."""
        self._error: Exception | None = None
        self._speculation = model.speculation(self.prompt, request)
        self._meter = Meter(model.clock, len(self.prompt), self._speculation)
        self._deadline = None if request.deadline is None else Deadline(request.deadline, model.clock)
        self._thinking = Thinking(
            request.thinking_budget, loop_detection=request.loop_detection, deadline=self._deadline
        )
        self._ending = Ending(
            request,
            eos_token_ids=model.eos_token_ids,
            positions=engine.context - len(self.prompt),
            deadline=self._deadline,
        )
        if self._transcript.in_thinking and request.thinking_budget == 0 and not self._healing.owed:
            # The template has already opened the block and its first line.
            self._feed_in(EMPTY_BLOCK[1:], "budget")

    # Tokens to feed

    @property
    def tokens(self) -> list[int]:
        """The prompt and the answer so far."""
        return [*self.prompt, *self._said.ids]

    def start(self) -> None:
        """Skip the tokens that are processed already: by its sequence, or more of them by the prefix cache.

        Called again between steps, it takes what other answers have processed in the meantime.
        """
        tokens = self.tokens
        self._draft, self.chances = [], ()
        self.pending = tokens[self._model.engine.start(self.sequence, tokens) :]

    def follows(self, other: Answer) -> bool:
        """Whether the other answer will process positions that this one should wait for and share."""
        cache = self._model.engine.prefix_cache
        if not cache.limit or self.sequence.adapter != other.sequence.adapter:
            return False
        return cache.in_common(self.tokens[:-1], other.tokens) > self.sequence.length

    def wanted(self, count: int) -> Sequence[int]:
        """After which of the next `count` pending tokens logits are needed: the last known one, and each drafted one.

        No logits are needed unless all pending tokens are fed.
        """
        return list(range(count - 1 - len(self._draft), count)) if count == len(self.pending) else []

    def fed(self, count: int, logits: NDArray[np.float32]) -> None:
        """Record that the sequence holds the first `count` pending tokens; logits [wanted, vocab_size]."""
        length = self.sequence.length
        self._meter.processed(length - count, length)
        del self.pending[:count]

    def preempt(self) -> None:
        """Free the sequence's memory for a while. All tokens are pending again until `start`; no answer changes."""
        self.release()
        self.sequence = self._model.engine.new_sequence(self.sequence.adapter)
        self._draft, self.chances = [], ()
        self.pending = self.tokens
        self.catching_up = True

    def share_prompt(self, leader: Answer) -> None:
        """Take the processed prompt of another answer to the same prompt. The blocks are shared, not copied."""
        self.sequence.take(leader.sequence.fork())
        self._meter.share_prompt()
        self.pending = []

    def release(self) -> None:
        """Free the sequence's memory, unless it is the caller's; the prefix cache may keep what it holds."""
        with suppress(ClosedModelError):
            self._model.engine.prefix_cache.store(self.sequence)
        if not self._keeps_sequence:
            self.sequence.release()

    # Tokens of the answer

    def receive(self, rows: NDArray[np.float32]) -> Chunk:
        """Choose the next token, and one more for each drafted token that turns out right. Return what they add.

        Must be called when nothing is pending. Sets `result` with the last token, otherwise `pending`.

        Args:
            rows: float32 [n, vocab_size]: the logits after the last known token, and after each drafted one.
        """
        draft, self._draft, self.chances = self._draft, [], ()
        try:
            token = self._choose(rows[0])
        except DeadEndError as problem:
            self._schema_errors = (f"the answer ended early: {problem}",)
            return self._end_early("schema")
        except ProcessorError as problem:
            self._error = problem.error
            return self._end_early("error")
        shown = self._say(token, rows[0])
        if draft:
            shown = self._confirm(draft, rows, shown)
        self._propose()
        return self._chunk(shown)

    @property
    def overdue(self) -> bool:
        """Whether its deadline has passed."""
        return self._ending.overdue

    def cut_off(self) -> Chunk:
        """End the answer at its deadline, before its prompt has been processed."""
        return self.end_with_prompt("deadline")

    def end_with_prompt(self, stopped_by: StoppedBy) -> Chunk:
        """End the answer before its first token."""
        self.in_prompt = False
        self.pending = []
        self._meter.end_with_prompt()
        self.result = self._make_result(stopped_by, None)
        return Chunk(index=self.index, finish_reason=self.result.finish_reason, result=self.result)

    def _end_early(self, stopped_by: StoppedBy) -> Chunk:
        """End the answer because no next token can be chosen."""
        if self.in_prompt:
            return self.end_with_prompt(stopped_by)
        self.pending = []
        shown = self._transcript.show(at_end=True)
        self.result = self._make_result(stopped_by, None)
        return self._chunk(shown)

    def _choose(self, logits: NDArray[np.float32]) -> int:
        """The next token, given the logits [vocab_size] after the last one."""
        if self.in_prompt:
            self._meter.prompt_done()
        if self._processing is None:
            token = self._sampled(logits)
        else:
            token = self._processing.choose(self.tokens, logits, self._sampled)
        self.catching_up = False
        if self.in_prompt:
            self.in_prompt = False
            self._meter.first_token()
            if self._deadline is not None:
                self._deadline.prompt_done()
            self._model.engine.prefix_cache.store(self.sequence)
        if self._deadline is not None:
            self._deadline.step()
        return token

    def _sampled(self, logits: NDArray[np.float32]) -> int:
        if self._constraint is not None and not self._transcript.in_thinking:
            logits = self._constraint.mask(logits)
        if self._healing.owed:
            return self._healing.choose(logits, self._sampler.sample)
        return self._sampler.sample(logits)

    def _confirm(self, draft: Sequence[int], rows: NDArray[np.float32], shown: Shown) -> Shown:
        """Continue while the chosen tokens are the drafted ones, and take the others out of the sequence.

        The answer may end or text may be fed in after any of them. The pending token is then not the drafted one.

        Args:
            draft: the drafted tokens, which the sequence holds.
            rows: float32 [1 + len(draft), vocab_size].
            shown: what the first chosen token, for rows[0], has shown.

        Returns:
            What all chosen tokens have shown.
        """
        known = self.sequence.length - len(draft)
        confirmed = 0
        assert self._speculation is not None
        self._speculation.drafted += len(draft)
        while confirmed < len(draft) and self.pending == [draft[confirmed]] and self._fits_in_chunk(shown):
            try:
                token = self._choose(rows[confirmed + 1])
            except Qwen3CpuError:
                # Report the tokens before it first. The next step meets the same logits, and so the error, again.
                break
            confirmed += 1
            self._speculation.accepted += 1
            shown = shown.joined(self._say(token, rows[confirmed]))
        self.sequence.truncate(known + confirmed)
        self._speculation.judge(len(draft), confirmed)
        return shown

    def _fits_in_chunk(self, shown: Shown) -> bool:
        """Whether what follows may share a chunk with `shown`: a chunk has reasoning, text and calls in this order."""
        after_text = bool(shown.text) and self._transcript.in_thinking
        return not shown.tool_calls and not shown.malformed_calls and not after_text

    def _propose(self) -> None:
        """Append a draft to the pending tokens."""
        if self._speculation is None or self.result is not None:
            return
        free = self._transcript.in_thinking or self._healing.owed
        room = self._ending.room(len(self._said)) - 1
        draft = self._speculation.propose(self._said.ids, room, None if free else self._constraint)
        self._draft, self.chances = list(draft.ids), draft.chances
        self.pending += self._draft

    def keep_drafted(self, count: int) -> None:
        """Keep only the first `count` drafted tokens."""
        if count < len(self._draft):
            del self.pending[len(self.pending) - len(self._draft) + count :]
            del self._draft[count:]
        self.chances = self.chances[:count]

    def _say(self, token: int, logits: NDArray[np.float32]) -> Shown:
        """Apply a chosen token: it is shown, may close the thinking, and may end the answer."""
        stopped_by = self._ending.by_token(token)
        stop: str | int | None = None if stopped_by is None else token
        self._note(token, logits, visible=stopped_by is None)
        self.pending = [token]
        if stopped_by is None:
            if self._transcript.in_thinking and not self._healing.owed:
                closed_by = self._thinking.due()
                if closed_by is not None:
                    self._feed_in(self._thinking.closing_text, closed_by)
            stopped_by = self._ending.by_limit(len(self._said))
        shown = self._transcript.show(at_end=stopped_by is not None)
        if self._transcript.stop_string is not None:
            stopped_by, stop = "stop_string", self._transcript.stop_string
        if stopped_by is not None:
            self.pending = []
            self.result = self._make_result(stopped_by, stop)
        return shown

    def _note(self, token: int, logits: NDArray[np.float32] | None, *, visible: bool = True) -> None:
        """Add a token to the answer. logits None: it was not sampled. visible False: it ends the answer."""
        self._said.add(token, logits)
        transcript = self._transcript
        before = transcript.in_thinking
        if visible:
            transcript.push(token)
        after = transcript.in_thinking
        thinks = before or after
        if thinks:
            self._thinking.note(token, inside=before and after)
        elif visible:
            self._ending.note(token)
        if self._constraint is not None and visible:
            if thinks:
                self._constraint.thinks()
            else:
                self._constraint.push(token)

    def _feed_in(self, text: str, closed_by: ClosedBy) -> None:
        """Add text that the model did not write to the answer, if that leaves room for more tokens."""
        tokens = self._model.tokenizer.encode(text, control_tokens=True)
        if len(tokens) < self._ending.room(len(self._said)):
            self._thinking.closed_by = closed_by
            for token in tokens:
                self._sampler.accept(token)
                self._note(token, None)
                self.pending.append(token)

    def _chunk(self, shown: Shown) -> Chunk:
        """What is new since the last chunk."""
        token_ids, logprobs = self._said.news()
        return Chunk(
            text=shown.text,
            reasoning=shown.reasoning,
            tool_calls=shown.tool_calls,
            malformed_calls=shown.malformed_calls,
            token_ids=token_ids,
            logprobs=logprobs,
            index=self.index,
            finish_reason=None if self.result is None else self.result.finish_reason,
            result=self.result,
        )

    def _make_result(self, stopped_by: StoppedBy, stop: str | int | None) -> Result:
        count = len(self._said)
        unenforced, errors = self._by_schema()
        return Result(
            text=self._transcript.text,
            reasoning=self._transcript.reasoning,
            tool_calls=tuple(self._transcript.tool_calls),
            malformed_calls=tuple(self._transcript.malformed_calls),
            token_ids=tuple(self._said.ids),
            finish_reason=finish_reason(stopped_by),
            stopped_by=stopped_by,
            stop=stop,
            usage=self._meter.usage(count, self._thinking.tokens),
            timings=self._meter.timings(count),
            seed=self._sampler.seed,
            logprobs=self._said.logprobs,
            index=self.index,
            thinking_closed_by=self._thinking.closed_by,
            unenforced=unenforced,
            schema_errors=errors,
            error=self._error,
        )

    def _by_schema(self) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
        """The keywords of the schema that are not enforced, and what is wrong with the answer."""
        if self._grammar is None:
            return (), None
        errors = self._schema_errors
        if not errors and self._check_answer and not self._transcript.tool_calls:
            errors = self._grammar.errors(self._transcript.text)
        return self._grammar.unenforced, None if self._grammar.schema is None and not errors else errors
