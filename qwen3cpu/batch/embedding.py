"""Vectors for lines. Texts of several lines share forward passes."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

from qwen3cpu.batch.answering import Note
from qwen3cpu.batch.input_file import Line
from qwen3cpu.batch.requests import checked_body, is_openai, read_body, task_for
from qwen3cpu.retrieval.passes import last_states
from qwen3cpu.retrieval.window import WINDOW, State
from qwen3cpu.server.api.client_names import client_names
from qwen3cpu.server.api.common import check_task
from qwen3cpu.server.api.embeddings import OpenAIVectors
from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.search_bodies import EmbeddingsBody
from qwen3cpu.server.api.vectors_reply import VectorsReply, encoded_texts
from qwen3cpu.server.scheduling.service import Service


@dataclass(frozen=True)
class _Texts:
    """A line whose texts wait for their pass. ids: the token ids of each text."""

    place: int
    line: Line
    ids: list[array[int]]
    reply: Callable[[list[State]], bytes]


def embed_lines(service: Service, lines: Iterator[tuple[int, Line]], note: Note) -> None:
    """Answer lines; `note` gets the JSON of each reply.

    Args:
        service: a service that is not open.
        lines: (place, line), read on demand.
        note: called for every line.
    """
    waiting: list[_Texts] = []
    for place, line in lines:
        try:
            if line.problem is not None:
                raise line.problem
            waiting.append(_prepared(service, place, line))
        except (MemoryError, OSError):
            raise
        except Exception as error:
            note(place, line, error)
        if sum(len(each.ids) for each in waiting) >= WINDOW:
            _embed(service, waiting, note)
            waiting = []
    _embed(service, waiting, note)


def _prepared(service: Service, place: int, line: Line) -> _Texts:
    if not is_openai(line):
        raise ApiError(400, "url: expected a request for vectors", code="missing_required_parameter", param="url")
    url, given = checked_body(line)
    check_task(service.settings.model_name, service.model.task, task_for(url))
    body = read_body(service, EmbeddingsBody, given)
    with client_names("input", places=body.places):
        form, ids = encoded_texts(service, body)

    def reply(states: list[State]) -> bytes:
        return VectorsReply(service, OpenAIVectors(service, body), form, states, sum(map(len, ids))).whole()

    return _Texts(place, line, ids, reply)


def _embed(service: Service, waiting: list[_Texts], note: Note) -> None:
    texts = (ids for each in waiting for ids in each.ids)
    states = chain.from_iterable(last_states(service.model.engine, texts))
    for each in waiting:
        note(each.place, each.line, each.reply(list(islice(states, len(each.ids)))))
