"""A conversation: its messages, and the sequence that holds what has been processed of them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from qwen3cpu.errors import ArgumentError
from qwen3cpu.results import Chunk, Result

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from qwen3cpu.model import Model
    from qwen3cpu.options import Options


class Conversation:
    """Made by `Model.chat`. One turn at a time; the longest beginning that turns have in common is processed once.

    Args:
        model: answers.
        system: the system message, if any.
        options: for every answer, unless a turn overrides them.
    """

    def __init__(self, model: Model, system: str | None = None, **options: Unpack[Options]) -> None:
        self._model = model
        self._sequence = model.engine.new_sequence()
        self.options: dict[str, Any] = dict(options)
        """Used for every answer."""
        self.messages: list[dict[str, Any]] = []
        """The history; may be read and edited between turns."""
        self.result: Result | None = None
        """The last answer that came to its end."""
        model.request(**options)
        if system is not None:
            self.messages.append({"role": "system", "content": system})

    def stream(self, content: str, **options: Unpack[Options]) -> Generator[Chunk, None, None]:
        """Send a user message and stream the answer.

        When the generator is closed early, or Ctrl-C strikes, what has been said of the answer stays in the history; if
        nothing was said yet, the user message is taken back too.
        """
        return self._turn([*self.messages, {"role": "user", "content": content}], options)

    def send(self, content: str, **options: Unpack[Options]) -> Result:
        """Send a user message and return the whole answer."""
        for _ in self.stream(content, **options):
            pass
        assert self.result is not None
        return self.result

    def retry(self, **options: Unpack[Options]) -> Generator[Chunk, None, None]:
        """Stream another answer to the last user message; the old one is forgotten."""
        last = max((i for i, message in enumerate(self.messages) if message["role"] == "user"), default=None)
        if last is None:
            raise ArgumentError("there is no user message to answer again")
        return self._turn(self.messages[: last + 1], options)

    def reset(self) -> None:
        """Forget everything but the system message."""
        self.messages = [message for message in self.messages if message["role"] == "system"]
        self.result = None

    @property
    def system(self) -> str | None:
        """The system message; may be set between turns, None removes it."""
        if self.messages and self.messages[0]["role"] == "system":
            text: str = self.messages[0]["content"]
            return text
        return None

    @system.setter
    def system(self, text: str | None) -> None:
        rest = [message for message in self.messages if message["role"] != "system"]
        self.messages = rest if text is None else [{"role": "system", "content": text}, *rest]

    @property
    def context(self) -> int:
        """Positions that the conversation may grow to."""
        return self._model.context

    @property
    def cached_tokens(self) -> int:
        """Positions that the kept sequence holds."""
        return self._sequence.length

    def close(self) -> None:
        """Give the KV cache back. The conversation may go on; it is processed anew then."""
        self._sequence.truncate(0)

    def _turn(self, messages: list[dict[str, Any]], options: Any) -> Generator[Chunk, None, None]:
        request = self._model.request(**{**self.options, **options})
        if request.n is not None:
            raise ArgumentError("n: a conversation has one answer to a message")
        return self._follow(messages, self._model.continue_sequence(self._sequence, messages, request))

    def _follow(
        self, messages: list[dict[str, Any]], chunks: Generator[Chunk, None, None]
    ) -> Generator[Chunk, None, None]:
        answer = {"role": "assistant", "content": "", "reasoning_content": ""}
        result = None
        try:
            with closing(chunks):
                for chunk in chunks:
                    answer["content"] += chunk.text
                    answer["reasoning_content"] += chunk.reasoning
                    result = chunk.result
                    yield chunk
        finally:
            if result is not None or answer["content"]:
                self.messages = [*messages, {key: text for key, text in answer.items() if text or key == "content"}]
                self.result = result
            else:
                self.messages = messages[:-1]
