"""Asks a model: checks options and fills in their defaults, encodes prompts, starts answers.

`Model`, conversations, the tool loop and the server all use it.
"""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from typing import Any, Protocol

from qwen3cpu.arguments import shown, whole_number
from qwen3cpu.checkpoint.config import GenerationDefaults, ModelConfig
from qwen3cpu.engine.adapters import Adapter
from qwen3cpu.engine.engine import Engine
from qwen3cpu.engine.sequence import TokenSequence
from qwen3cpu.errors import ArgumentError, Qwen3CpuWarning
from qwen3cpu.generation.answer import Answer
from qwen3cpu.generation.batch import run, run_many
from qwen3cpu.generation.expected_texts import expected_texts
from qwen3cpu.generation.grammar import Grammar
from qwen3cpu.generation.options import Request, make_request
from qwen3cpu.generation.processors import raising
from qwen3cpu.generation.results import Chunk, Result
from qwen3cpu.generation.surroundings import Surroundings
from qwen3cpu.system.progress_bar import Progress, is_wanted
from qwen3cpu.text.prompts import Prompt, PromptEncoder, is_messages
from qwen3cpu.text.soft_switch import latest_switch

_CONSTANT = (bool, int, float, str, type(None))
_SEEDS = range(1 << 64)


class AnsweringModel(Protocol):
    """What conversations, saved sessions and the loop of tools need of a model. `qwen3cpu.Model` is one."""

    answerer: Answerer
    engine: Engine
    kv: str
    activations: str

    @property
    def config(self) -> ModelConfig: ...
    @property
    def context(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def quant(self) -> str: ...


class Answerer:
    """Asks one model.

    Args:
        surroundings: what answers are made from.
        prompts: makes ids of prompts.
        defaults: the checkpoint's generation_config.json.
        check_model: called before each request; raises ArgumentError if the model was not made to write text.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        prompts: PromptEncoder,
        defaults: GenerationDefaults,
        check_model: Callable[[], None] = lambda: None,
    ) -> None:
        self.surroundings = surroundings
        self._check_model = check_model
        self._prompts = prompts
        self._defaults = defaults
        self._has_template = prompts.has_template
        self._warned = False
        self._last: tuple[bool | None, dict[str, tuple[type, Any]], Request] | None = None
        """The last checked options, if all of their values are immutable, and their request."""

    def request(self, prompt: Prompt | None = None, **options: Any) -> Request:
        """Check options and fill in the defaults; a prompt may switch thinking on or off.

        Raises:
            ArgumentError: an option that is unknown or not allowed.
        """
        request = self._for_prompt(prompt, self._checked(self._switch(prompt, options), options))
        self._warn_of_greedy_thinking(prompt, request, options)
        return request

    def encode(self, prompt: Prompt, request: Request) -> list[int]:
        """The token ids of a prompt, at least one and fewer than the context. Errors as of `Model.generate`."""
        if request.token_healing:
            if not isinstance(prompt, str) or self._is_rendered(prompt, request):
                found = "messages" if is_messages(prompt) else "token ids"
                found = "a message" if isinstance(prompt, str) else found
                raise ArgumentError(f"token_healing: expected a text that is fed unchanged (raw=True), found {found}")
            # The first use builds the table, in some tenths of a second. Here no running answer waits for it.
            _ = self.surroundings.tokenizer.beginnings
        return self._prompts.encode(prompt, request)

    def stream(
        self, prompt: Prompt, request: Request, sequence: TokenSequence | None = None
    ) -> Generator[Chunk, None, None]:
        """Begin the answers that a request asks for.

        Args:
            prompt: encoded at the call.
            request: made by `request`.
            sequence: kept between calls. The beginning of the prompt that it holds, processed with the same adapter, is
                not processed again.
        """
        if sequence is not None:
            sequence.belong_to(request.adapter)
        ids = self.encode(prompt, request)
        if request.sampling.seed is None:
            # One seed for all answers, so that the seed in each result repeats it.
            request = replace(request, sampling=request.sampling.with_seed(secrets.randbits(53)))
        answers = [
            Answer(self.surroundings, ids, request, index=index, stream=index, sequence=sequence)
            for index in range(request.n or 1)
        ]
        chunks = run(self.surroundings.engine, answers, progress=request.progress)
        return raising(chunks) if request.processors and request.n is None else chunks

    def batch(self, prompts: Sequence[Prompt], options: Mapping[str, Any], most_running: int) -> list[Result]:
        """See `Model.generate_batch`."""
        if isinstance(prompts, (str, bytes)) or not isinstance(prompts, Sequence):
            raise ArgumentError(f"prompts: expected a list of prompts, found {type(prompts).__name__}")
        most_running = whole_number("most_running", most_running, 1)
        # Requests differ only in the prompts' switches of thinking.
        requests = {
            switch: self._checked(switch, options) for switch in {self._switch(each, options) for each in prompts}
        }
        if any(request.n is not None for request in requests.values()):
            raise ArgumentError("n: generate_batch gives one answer to each prompt; repeat a prompt for more")
        chosen = [self._for_prompt(prompt, requests[self._switch(prompt, options)]) for prompt in prompts]
        encoded = []
        for prompt, request in zip(prompts, chosen, strict=True):
            encoded.append(self.encode(prompt, request))
            self._warn_of_greedy_thinking(prompt, request, options)
        answers = (
            Answer(self.surroundings, ids, request, index=index)
            for index, (ids, request) in enumerate(zip(encoded, chosen, strict=True))
        )
        shows = options.get("progress")
        with Progress("Answering", len(chosen), unit="prompts") if is_wanted(shows) else nullcontext() as bar:
            advance = (lambda _: None) if bar is None else bar.advance
            chunks = run_many(self.surroundings.engine, answers, most_running=most_running, advance=advance)
            return results_of(chunks)

    def check_grammar(self, grammar: Grammar) -> None:
        """Compile a grammar, so that answers begin without a wait. ArgumentError if no answer could follow it."""
        assert self.surroundings.grammars is not None
        self.surroundings.grammars.prepare(grammar)

    def _switch(self, prompt: Prompt | None, options: Mapping[str, Any]) -> bool | None:
        return latest_switch(prompt) if self._has_template and options.get("raw") is not True else None

    def _checked(self, switch: bool | None, options: Mapping[str, Any]) -> Request:
        """The request for some options. The last one is kept, because lines of a job often differ in the seed only."""
        self._check_model()
        seed = options.get("seed")
        others = {name: (type(value), value) for name, value in options.items() if name != "seed"}
        last = self._last
        if last is not None and last[:2] == (switch, others) and type(seed) is int and seed in _SEEDS:
            request = replace(last[2], sampling=last[2].sampling.with_seed(seed))
        else:
            request = self._made(switch, options)
            if all(kind in _CONSTANT for kind, _ in others.values()):
                self._last = switch, others, request
        if request.grammar is not None:
            self.check_grammar(request.grammar)
        # The adapter is not kept with the request: its name may be given to another adapter.
        return replace(request, adapter=self.find_adapter(options.get("adapter")))

    def find_adapter(self, name: str | None) -> Adapter | None:
        """The adapter with this name; None for None. ArgumentError when no adapter has it."""
        if name is None:
            return None
        if self.surroundings.find_adapter is None:
            raise ArgumentError(f"adapter: expected None, because this model has no adapters, found {shown(name)}")
        return self.surroundings.find_adapter(name)

    def _made(self, switch: bool | None, options: Mapping[str, Any]) -> Request:
        tokenizer = self.surroundings.tokenizer
        opens, closes = tokenizer.tool_call, tokenizer.end_tool_call
        request = make_request(
            options,
            self._defaults,
            vocab_size=self.surroundings.engine.vocab_size,
            switch=switch,
            call_tokens=None if opens is None or closes is None else (opens, closes),
        )
        if request.max_new_tokens is None and self._defaults.max_new_tokens is not None:
            request = replace(request, max_new_tokens=self._defaults.max_new_tokens)
        schema = None if request.grammar is None else request.grammar.schema
        texts = expected_texts(schema, request.tools) if request.speculate else ()
        return replace(request, expected=tuple(tokenizer.encode(text, control_tokens=True) for text in texts))

    def _is_rendered(self, prompt: Prompt | None, request: Request) -> bool:
        """Whether the chat template makes the prompt's ids."""
        return is_messages(prompt) or (isinstance(prompt, str) and self._has_template and not request.raw)

    def _for_prompt(self, prompt: Prompt | None, request: Request) -> Request:
        """Add to a request what depends on the kind of prompt."""
        return replace(request, answer_loops=request.loop_detection and self._is_rendered(prompt, request))

    def _warn_of_greedy_thinking(self, prompt: Prompt | None, request: Request, options: Mapping[str, Any]) -> None:
        """Warn once of greedy thinking, unless the checkpoint's own generation_config.json asks for it."""
        asked = options.get("temperature") == 0 or options.get("do_sample") is False
        rendered = self._is_rendered(prompt, request)
        thinks = request.thinking and self.surroundings.tokenizer.think is not None
        if asked and thinks and rendered and not self._warned:
            self._warned = True
            warnings.warn(
                "greedy thinking (temperature 0) tends to repeat itself without end; Qwen's authors advise against it: "
                "leave temperature to its default, or give thinking=False",
                Qwen3CpuWarning,
                stacklevel=4,
            )


def results_of(chunks: Generator[Chunk, None, None]) -> list[Result]:
    """The results at the ends of streams, by index."""
    with closing(chunks):
        results = [chunk.result for chunk in chunks if chunk.result is not None]
    return sorted(results, key=lambda result: result.index)
