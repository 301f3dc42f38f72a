"""The start of every endpoint that uses a model: reads and checks the body, and waits for the model that it names."""

from __future__ import annotations

from typing import Protocol, TypeVar

from starlette.requests import Request as HttpRequest
from typing_extensions import Self

from qwen3cpu.checkpoint.purpose import Task
from qwen3cpu.loading.describe import Description
from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.bodies import ChatBody, ForeignBody
from qwen3cpu.server.api.common import check_task
from qwen3cpu.server.api.errors import moved
from qwen3cpu.server.api.ignored import note_ignored
from qwen3cpu.server.api.message_forms import unread_fields
from qwen3cpu.server.api.notes import note_body
from qwen3cpu.server.models.lender import Lender
from qwen3cpu.server.models.offers import Offer
from qwen3cpu.server.scheduling.service import Service

B = TypeVar("B", bound=ForeignBody)


class PlainBody(Protocol):
    """A body that accepts only this server's names of fields."""

    model: str | None

    @classmethod
    def model_validate(cls, obj: object) -> Self:
        """The body of a JSON object."""


P = TypeVar("P", bound=PlainBody)


async def read_model_body(
    http: HttpRequest, arrival: Arrival, kind: type[B], task: Task | None
) -> tuple[B, Offer, Description]:
    """Read the body of a request, and find its model, which need not be in memory.

    Args:
        http: the request.
        arrival: the request's arrival.
        kind: the class of the body.
        task: the task that the model must be made for; None: any.

    Raises:
        ApiError: the body is too large, not JSON, malformed, or for a model that was made for another task.
        UnknownModelError: the server does not have the model.
    """
    lender: Lender = http.app.state.lender

    def read(given: dict[str, object]) -> tuple[B, Offer, Description]:
        offer, adapter = lender.catalog.find_adapted(kind.named(given), task)
        about = offer.describe()
        if task is not None:
            check_task(offer.name, about.task, task)
        body = kind.read(given, about.context)
        body.adapter = adapter
        if body.keep_seconds is not None and body.keep_seconds >= 0 and lender.keeps:
            body.ignored.append("keep_alive")
        if isinstance(body, ChatBody):
            unread = unread_fields(body.messages, about.chat_template)
            body.ignored.extend(moved(place, body.places) for place in unread)
        return body, offer, about

    body, offer, about = await arrival.body(read)
    note_ignored(http, body)
    note_body(http.scope, body, offer.name)
    return body, offer, about


async def ask_model(http: HttpRequest, arrival: Arrival, kind: type[B], task: Task | None) -> tuple[Service, B]:
    """The model of a request, in memory until the request is over, and its body.

    Args, Raises: see `read_model_body` and `Arrival.service`.
    """
    body, offer, _ = await read_model_body(http, arrival, kind, task)
    return await lent(http, arrival, offer, body), body


async def lent(http: HttpRequest, arrival: Arrival, offer: Offer, body: ForeignBody) -> Service:
    """The model of a request, in memory until the request is over, and then for the `keep_alive` of the body.

    Raises: see `Arrival.service`.
    """
    lender: Lender = http.app.state.lender
    service = await arrival.service(offer)
    if body.keep_seconds is not None:
        lender.keep(offer, body.keep_seconds)
    return service if body.adapter is None else service.adapted(body.adapter, body.model or body.adapter)


async def ask_plainly(http: HttpRequest, arrival: Arrival, kind: type[P]) -> tuple[Service, P]:
    """The model of a request, in memory until the request is over, and its body. The model may be of any task.

    Raises: see `ask_model`.
    """
    lender: Lender = http.app.state.lender

    def read(given: dict[str, object]) -> tuple[P, Offer]:
        body = kind.model_validate(given)
        return body, lender.catalog.find_adapted(body.model)[0]

    body, offer = await arrival.body(read)
    return await arrival.service(offer), body
