"""POST /v1/completions: prompts without the chat template, with `echo` and `logprobs` for evaluation harnesses."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.healing import BESIDE_A_FORM, taken_back
from qwen3cpu.generation.options import Request
from qwen3cpu.generation.results import Chunk
from qwen3cpu.generation.tool_choice import ToolUse
from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.asked_model import ask_model
from qwen3cpu.server.api.bodies import CompletionBody
from qwen3cpu.server.api.chat_input import Asked, answer_schema, checked_forms, grammar_maker, with_grammar
from qwen3cpu.server.api.client_names import client_names
from qwen3cpu.server.api.common import details, head, usage
from qwen3cpu.server.api.errors import ApiError, as_api_error
from qwen3cpu.server.api.json_output import json_bytes
from qwen3cpu.server.api.logprobs import CompletionLogprobs
from qwen3cpu.server.api.reply import respond
from qwen3cpu.server.scheduling.service import Answers, Service


async def completions(http: HttpRequest) -> Response:
    """Serve a request."""
    arrival = Arrival(http)
    await arrival.read()
    with arrival.place():
        service, body = await ask_model(http, arrival, CompletionBody, "generation")
        with client_names("prompt", body.names(), places=body.places):
            asked, prompts = await arrival.work(partial(encoded_prompts, service, body, arrival.watch))
            request = await with_grammar(service, arrival, asked)
            answers = service.start(
                prompts,
                request,
                arrived=arrival.at,
                score_prompt=body.echo and body.logprobs is not None,
                sample=body.max_tokens != 0,
            )
    reply = CompletionReply(service, body, request, prompts, answers)
    return await respond(http, reply, answers, stream=bool(body.stream))


def encoded_prompts(
    service: Service, body: CompletionBody, watch: Callable[[int], None] = lambda place: None
) -> tuple[Asked, list[list[int]]]:
    """The checked request, and the ids of the prompts. `watch` gets the place of each before it is encoded."""
    schema = answer_schema(service, body.response_format)
    make_grammar = grammar_maker(service, ToolUse(), schema, checked_forms(service, body, schema), thinking=False)
    if body.token_healing and (schema is not None or body.forms()):
        raise ArgumentError(BESIDE_A_FORM)
    request = replace(service.request(**body.options()), plain=True)
    prompts: list[list[int]] = []
    given = _prompts(body, service.settings.max_prompts)
    for place, prompt in enumerate(given):
        watch(place)
        with client_names("prompt" if prompt is body.prompt else f"prompt[{place}]"):
            prompts.append(service.encode(prompt, request))
    return Asked([], request, make_grammar), prompts


def _prompts(body: CompletionBody, most: int) -> Sequence[str | list[int]]:
    prompt = body.prompt
    if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)):
        return [prompt]
    if not prompt:
        raise ApiError(400, "prompt: expected at least one prompt, found an empty list", param="prompt")
    if len(prompt) > most:
        raise ApiError(400, f"prompt: expected at most {most} prompts, found {len(prompt)}", param="prompt")
    return prompt  # type: ignore[return-value]  # pydantic has checked that all are of one kind


class CompletionReply:
    """Writes the answers to one request."""

    def __init__(
        self, service: Service, body: CompletionBody, request: Request, prompts: Sequence[list[int]], answers: Answers
    ) -> None:
        self._service = service
        self._body = body
        self._prompts = prompts
        self._answers = answers
        self._per_prompt = request.n or 1
        self._head = head(service, "cmpl", "text_completion")
        self._echoed: set[int] = set()
        tokenizer = service.model.tokenizer
        self._taken = [taken_back(tokenizer, each) if request.token_healing else (0, b"") for each in prompts]
        """For each prompt, the number of tokens at its end that answers generate again, and the bytes of these."""
        self._logprobs = [
            CompletionLogprobs(tokenizer, left_out=0 if body.echo else len(taken))
            for _, taken in self._taken
            for _ in range(self._per_prompt)
        ]

    @property
    def id(self) -> str:
        """The id of the response."""
        return str(self._head["id"])

    async def whole(self) -> dict[str, Any]:
        """The whole reply."""
        chunks = [each async for each in self._answers.chunks()]
        # Beside an echoed prompt there may be hundreds of thousands of log-probabilities.
        return await self._service.workshop.run("reply", lambda: self._all(chunks))

    def _all(self, chunks: Sequence[tuple[int, Chunk]]) -> dict[str, Any]:
        """The reply with the answers of these chunks."""
        parts: dict[int, list[dict[str, Any]]] = {}
        counts = []
        for choice, chunk in chunks:
            parts.setdefault(choice, []).append(self._choice(choice, chunk))
            if chunk.result is not None:
                counts.append((chunk.result.usage, choice // self._per_prompt))
        choices = [_joined(parts[choice]) for choice in sorted(parts)]
        return {**self._head, "choices": choices, "usage": usage(counts)}

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The reply as server-sent events."""
        counts = []
        try:
            async for choice, chunk in self._answers.chunks():
                if self._body.echo and choice not in self._echoed:
                    # The first event has the prompt, perhaps with the log-probabilities of all its tokens.
                    event = await self._service.workshop.run("reply", partial(self._event_of, choice, chunk))
                else:
                    event = self._event_of(choice, chunk)
                if event:
                    yield event
                if chunk.result is not None:
                    counts.append((chunk.result.usage, choice // self._per_prompt))
            if self._body.include_usage:
                yield _event({**self._head, "choices": [], "usage": usage(counts)})
            yield b"data: [DONE]\n\n"
        except Exception as error:
            yield _event(as_api_error(error).body())

    def _event_of(self, choice: int, chunk: Chunk) -> bytes:
        """The event of a chunk; empty when the chunk adds nothing."""
        part = self._choice(choice, chunk)
        told = part["text"] or part["finish_reason"] or part["logprobs"]
        return _event({**self._head, "choices": [part]}) if told else b""

    def _choice(self, choice: int, chunk: Chunk) -> dict[str, Any]:
        """The part of a choice that a chunk adds. With `echo`, the first part begins with the prompt."""
        text = chunk.text
        echoed = None
        if self._body.echo and choice not in self._echoed:
            self._echoed.add(choice)
            text = self._prompt_text(choice) + text
            if self._body.logprobs is not None:
                prompt = self._prompts[choice // self._per_prompt]
                count, taken = self._taken[choice // self._per_prompt]
                kept = prompt[: len(prompt) - count]
                echoed = self._logprobs[choice].echo(kept, self._answers.prompt_scores(choice), taken)
        logprobs = None if self._body.logprobs is None else self._logprobs[choice].answer(chunk)
        if echoed and logprobs:
            logprobs = {name: echoed[name] + entries for name, entries in logprobs.items()}
        about = {} if chunk.result is None else details(chunk.result)
        return {"index": choice, "text": text, "logprobs": logprobs, "finish_reason": chunk.finish_reason, **about}

    def _prompt_text(self, choice: int) -> str:
        tokenizer = self._service.model.tokenizer
        known = (token for token in self._prompts[choice // self._per_prompt] if token < tokenizer.size)
        return tokenizer.decode(known, skip_special_tokens=False)


def _joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Join the parts of one choice."""
    logprobs = [part["logprobs"] for part in parts]
    joined = None
    if logprobs[0] is not None:
        joined = {name: [entry for part in logprobs for entry in part[name]] for name in logprobs[0]}
    return {**parts[-1], "text": "".join(part["text"] for part in parts), "logprobs": joined}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json_bytes(value) + b"\n\n"
