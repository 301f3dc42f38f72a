"""The models that a request holds, from when it gets them until its response has been sent."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

_KEY = "qwen3cpu.loans"


class Loans:
    """The models that one request has borrowed."""

    def __init__(self) -> None:
        self._returns: list[Callable[[], None]] = []
        self.over = False
        """Whether the request is over, so that it must not get another model."""

    def add(self, give_back: Callable[[], None]) -> None:
        """Note what to do at the end."""
        self._returns.append(give_back)

    def end(self) -> None:
        """Give everything back."""
        self.over = True
        while self._returns:
            self._returns.pop()()


class LoansEnd:
    """ASGI middleware that gives back the models that a request has borrowed, however it ends.

    Args:
        app: the application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        loans = scope[_KEY] = Loans()
        try:
            await self._app(scope, receive, send)
        finally:
            loans.end()


def loans_of(scope: Scope) -> Loans:
    """The loans of a request."""
    found: Loans = scope[_KEY]
    return found
