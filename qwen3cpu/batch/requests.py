"""Turns a line into jobs, and their answers into the reply, for OpenAI's bodies and for lines in this package's form.

Bodies and replies are those of the server (qwen3cpu/server/api). Everything runs on the calling thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from qwen3cpu.batch.ids import Ids
from qwen3cpu.batch.input_file import Line, LineError
from qwen3cpu.checkpoint.purpose import Task
from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.constraints import KINDS
from qwen3cpu.generation.line_seed import line_seed
from qwen3cpu.generation.options import ALIASES
from qwen3cpu.model import Model
from qwen3cpu.server.api.bodies import ChatBody, CompletionBody, ForeignBody, Generation
from qwen3cpu.server.api.chat_completions import ChatReply
from qwen3cpu.server.api.chat_input import chat_prompt, chat_request, following
from qwen3cpu.server.api.client_names import client_names
from qwen3cpu.server.api.common import check_model, check_task
from qwen3cpu.server.api.completions import CompletionReply, encoded_prompts
from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.reply import Reply
from qwen3cpu.server.api.responses import ResponsesReply
from qwen3cpu.server.api.responses_input import ResponsesBody, message_places, responses_request
from qwen3cpu.server.scheduling.service import Answers, Service
from qwen3cpu.text.prompts import Prompt

T = TypeVar("T")
B = TypeVar("B", bound=ForeignBody)

EMBEDDINGS: Final = "/v1/embeddings"
_FIELDS: Final = ("custom_id", "method", "url", "body")
_NOT_HERE: Final = {
    "deadline": "none in a job, because answers with a time limit differ from run to run",
    "stream": "none in a job, because every answer is written whole",
    "progress": "none in a line",
    "n": "none in a line of this form; repeat the line",
}
"""Option that a line cannot have -> what the error message expects."""
_FORMS: Final = frozenset(("schema", *KINDS))
"""Options of which only one may be given. One of a line replaces that of the job."""


@dataclass(frozen=True)
class Underway:
    """The answers to one line, handed to the scheduler.

    answers: the answers. every_chunk: whether the reply needs all chunks, not only the last of each answer. reply:
    makes the field of the output when the answers are complete.
    """

    answers: Answers
    every_chunk: bool
    reply: Callable[[Ids], Any]


def is_openai(line: Line) -> bool:
    """Whether a line has OpenAI's form."""
    return line.given is not None and any(name in line.given for name in ("method", "url", "body"))


def checked_body(line: Line) -> tuple[str, Mapping[str, Any]]:
    """(url, body) of a line in OpenAI's form. LineError for another form."""
    given = line.given or {}
    for name in given:
        if name not in _FIELDS:
            raise _wrong(
                str(name)[:80], f"only {', '.join(_FIELDS)}", "an unknown field", "unknown_parameter", LineError
            )
    if "custom_id" not in given:
        raise _wrong("custom_id", "a text", "none", "missing_required_parameter", LineError)
    if given.get("method", "POST") != "POST":
        raise _wrong("method", "POST", repr(given["method"])[:80], kind=LineError)
    url, body = given.get("url"), given.get("body")
    if url != EMBEDDINGS and url not in _ENDPOINTS:
        raise _wrong("url", f"one of {', '.join([*_ENDPOINTS, EMBEDDINGS])}", repr(url)[:80], "invalid_url", LineError)
    if not isinstance(body, dict):
        raise _wrong("body", "an object", type(body).__name__, kind=LineError)
    return url, body


def task_for(url: str) -> Task:
    """The task of the models that answer requests to an endpoint."""
    return "embedding" if url == EMBEDDINGS else "generation"


def read_body(service: Service, kind: type[B], given: Mapping[str, Any]) -> B:
    """Read and check a body like the server. Fields that seem to be misspelt are refused.

    Raises:
        ApiError, ValidationError: the body is invalid.
    """
    body = kind.read(given, service.model.context)
    check_model(service, body.model)
    for name, near in body.hints.items():
        message = f"unknown field {name[:80]!r}; did you mean {near!r}?"
        raise ApiError(400, message, code="unknown_parameter", param=name[:80])
    return body


def start(service: Service, line: Line, seed: int, options: Mapping[str, Any]) -> Underway:
    """Hand a line to the scheduler.

    Args:
        service: has the scheduler.
        line: a line with a JSON object.
        seed: the seed of the whole job.
        options: defaults of the options of lines in this package's form.

    Raises:
        ApiError, ValidationError, Qwen3CpuError: the line is invalid.
    """
    own = line_seed(seed, line.key)
    if not is_openai(line):
        return _start_plain(service, dict(line.given or {}), own, options)
    url, given = checked_body(line)
    check_task(service.settings.model_name, service.model.task, task_for(url))
    return _ENDPOINTS[url](_adapted(service, given.get("model")), given, own)


def _adapted(service: Service, name: object) -> Service:
    """The model, with the adapter if a body names one, by its name or as "model:adapter"."""
    if not isinstance(name, str):
        return service
    base, _, adapter = name.rpartition(":")
    known = adapter in service.model.adapters and base in ("", service.settings.model_name)
    return service.adapted(adapter, name) if known else service


def _generation(service: Service, kind: type[G], given: Mapping[str, Any], seed: int) -> G:
    body = read_body(service, kind, given)
    for name in ("deadline", "stream"):
        if getattr(body, name):
            raise _wrong(name, _NOT_HERE[name], repr(getattr(body, name)))
    if body.seed is None:
        body.seed = seed
    return body


def _chat(service: Service, given: Mapping[str, Any], seed: int) -> Underway:
    body = _generation(service, ChatBody, given, seed)
    with client_names("messages", body.names(), places=body.places):
        asked = chat_request(service, body)
        prompt = chat_prompt(service, body, asked.messages, asked.request)
        answers = service.start([prompt], following(service, asked))
    return _replied(answers, ChatReply(service, body, prompt, answers), every_chunk=False)


def _completions(service: Service, given: Mapping[str, Any], seed: int) -> Underway:
    body = _generation(service, CompletionBody, given, seed)
    with client_names("prompt", body.names(), places=body.places):
        asked, prompts = encoded_prompts(service, body)
        request = following(service, asked)
        scored = body.echo and body.logprobs is not None
        answers = service.start(prompts, request, score_prompt=scored, sample=body.max_tokens != 0)
    return _replied(answers, CompletionReply(service, body, request, prompts, answers), every_chunk=True)


def _responses(service: Service, given: Mapping[str, Any], seed: int) -> Underway:
    body = _generation(service, ResponsesBody, given, seed)
    names = {"max_new_tokens": "max_output_tokens", "schema": "text.format.schema"}
    with client_names("input", names, {**body.places, **message_places(body)}):
        asked = responses_request(service, body)
        prompt = service.encode(asked.messages, asked.request)
        request = following(service, asked)
        answers = service.start([prompt], request)
    return _replied(answers, ResponsesReply(service, body, request, answers), every_chunk=True)


G = TypeVar("G", bound=Generation)
_ENDPOINTS: Final[dict[str, Callable[[Service, Mapping[str, Any], int], Underway]]] = {
    "/v1/chat/completions": _chat,
    "/v1/completions": _completions,
    "/v1/responses": _responses,
}


def _replied(answers: Answers, reply: Reply, *, every_chunk: bool) -> Underway:
    def body(ids: Ids) -> dict[str, Any]:
        whole = at_once(reply.whole())
        ids.settle(whole)
        return whole

    return Underway(answers, every_chunk, body)


def _start_plain(service: Service, given: dict[str, Any], seed: int, options: Mapping[str, Any]) -> Underway:
    given.pop("custom_id", None)
    prompts = [name for name in ("prompt", "messages") if name in given]
    if len(prompts) != 1:
        found = "both" if prompts else f"neither in {', '.join(map(repr, given))[:80] or 'an empty object'}"
        raise _wrong("prompt", "a prompt or messages", found, "missing_required_parameter")
    prompt: Prompt = given.pop(prompts[0])
    request = service.model.answerer.request(prompt, **{"seed": seed, **_joined(given, options)})
    answers = service.start([service.encode(prompt, request)], replace(request, check_answer=False))
    return Underway(answers, False, lambda ids: ids.result(at_once(answers.results())[0]))


def line_options(model: Model, options: Mapping[str, Any]) -> dict[str, Any]:
    """Check the options of a job for lines in this package's form, and convert them to JSON types. ArgumentError."""
    try:
        given: dict[str, Any] = json.loads(json.dumps(options, allow_nan=False))
        checked = _joined(given, {})
    except (ValueError, TypeError) as reason:
        raise ArgumentError(f"options: expected what JSON can carry: {reason}") from None
    except ApiError as wrong:
        raise ArgumentError(str(wrong)) from None
    if model.task == "generation":
        model.answerer.request(None, **checked)
    elif given:
        raise ArgumentError(f"options: expected none for an embedding model, found {', '.join(given)}")
    return given


def _joined(given: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """A line's options, and those options of the job that the line does not have, under any of their names."""
    own = {name: value for name, value in given.items() if value is not None}
    for name in own:
        if (canonical := ALIASES.get(name, name)) in _NOT_HERE:
            raise _wrong(name, _NOT_HERE[canonical], repr(own[name])[:80])
    names = {ALIASES.get(name, name) for name in own}
    if names & _FORMS:
        names |= _FORMS
    joined = {name: value for name, value in options.items() if ALIASES.get(name, name) not in names} | own
    if isinstance(bias := joined.get("logit_bias"), dict):
        # Keys of JSON are texts. A key that is not an id stays a text, and is refused like any other wrong key.
        joined["logit_bias"] = {int(key) if key.isdecimal() else key: value for key, value in bias.items()}
    return joined


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that does not wait."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise RuntimeError("a reply waits for something although its answers are complete")


def _wrong(
    place: str, expected: str, found: str, code: str = "invalid_value", kind: type[ApiError] = ApiError
) -> ApiError:
    return kind(400, f"{place}: expected {expected}; found {found}", code=code, param=place)
