"""A conversation: its messages, and the sequence with the KV cache of the processed ones."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from qwen3cpu.engine.sequence import common_prefix
from qwen3cpu.errors import ArgumentError, SessionError
from qwen3cpu.generation.answerer import AnsweringModel
from qwen3cpu.generation.preparation import Preparation
from qwen3cpu.generation.results import Chunk, Result
from qwen3cpu.text.messages import check_messages

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from qwen3cpu.generation.options import Options, Request
    from qwen3cpu.text.prompts import Message


class Conversation:
    """A conversation, made by `Model.chat`. One turn runs at a time. The beginning that turns share is processed once.

    Args:
        model: answers.
        system: the system message, if any.
        prepare: "idle" processes the history in the background after each answer while the model has nothing else to
            do, so that the next turn starts at once. Reasoning that the next prompt leaves out is not processed.
        options: for every answer, unless a turn overrides them.
    """

    def __init__(
        self,
        model: AnsweringModel,
        system: str | None = None,
        *,
        prepare: Literal["idle"] | None = None,
        **options: Unpack[Options],
    ) -> None:
        if prepare not in (None, "idle"):
            raise ArgumentError(f'prepare: expected "idle" or None, found {prepare!r}')
        self._model = model
        self._sequence = model.engine.new_sequence(model.answerer.request(**options).adapter)
        self.options: dict[str, Any] = dict(options)
        """Options of every answer."""
        self.messages: list[dict[str, Any]] = []
        """The history; may be read and edited between turns."""
        self.result: Result | None = None
        """The last complete answer."""
        self._prepare = prepare
        self._preparation: Preparation | None = None
        self._request: Request | None = None
        if system is not None:
            self.messages.append({"role": "system", "content": system})

    def __del__(self) -> None:
        # The attribute is missing when the constructor refused its arguments.
        preparation: Preparation | None = getattr(self, "_preparation", None)
        if preparation is not None:
            preparation.abandon()

    def _repr_html_(self) -> str:
        from qwen3cpu.generation.notebook_views import dialogue_view

        return dialogue_view(self.messages)

    def __reduce__(self) -> NoReturn:
        raise ArgumentError("a conversation cannot be pickled: use save(path), and model.resume(path) to continue it")

    @classmethod
    def resume(cls, model: AnsweringModel, path: str | os.PathLike[str], **options: Unpack[Options]) -> Conversation:
        """See `Model.resume`."""
        from qwen3cpu.generation.session_file import read_session

        model.answerer.request(**options)
        sequence = model.engine.new_sequence()
        try:
            saved = read_session(Path(path), model, sequence, options)
            messages = check_messages(saved["messages"]) if saved["messages"] else []
            chat = cls(model, prepare=saved["prepare"], **{**_options(saved["options"]), **options})
        except (LookupError, TypeError, ValueError) as error:
            sequence.release()
            raise SessionError(f"{path}: conversation: {error}") from error
        except BaseException:
            sequence.release()
            raise
        chat.messages = messages
        chat._sequence = sequence
        return chat

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save history, options and KV cache to a file, for `Model.resume` in this or another process.

        A temporary file in the same folder is written and renamed. Tools are saved as their JSON schemas, messages in
        plain text. The KV cache takes 112 KiB per token for the 1.7B in f16.

        Raises:
            ArgumentError: messages or options hold something that JSON cannot represent.
            SessionError: the file cannot be written.
        """
        from qwen3cpu.generation.session_file import write_session

        interrupted = self._preparation is not None
        self._stop_preparing()
        options = dict(self.options)
        if options.get("tools") is not None:
            options["tools"] = self._model.answerer.request(**options).tools
        saved = {"messages": self.messages, "options": options, "prepare": self._prepare}
        sequence = self._sequence.fork()
        # The next turn cannot use what another adapter has processed.
        sequence.belong_to(self._model.answerer.find_adapter(options.get("adapter")))
        write_session(Path(path), self._model, saved, sequence)
        if interrupted and self._request is not None:
            self._start_preparing(self._request)

    def stream(self, content: str | Sequence[Message], **options: Unpack[Options]) -> Generator[Chunk, None, None]:
        """Send a user message, or several messages (such as the results of calls), and stream the answer.

        When the generator is closed early or Ctrl-C is pressed, the unfinished answer stays in the history. If it has
        no text yet, the messages that were sent are removed too.
        """
        sent = [{"role": "user", "content": content}] if isinstance(content, str) else [dict(each) for each in content]
        return self._turn([*self.messages, *sent], options, sent=len(sent))

    def send(self, content: str | Sequence[Message], **options: Unpack[Options]) -> Result:
        """Send messages as `stream` does, and return the whole answer."""
        for _ in self.stream(content, **options):
            pass
        assert self.result is not None
        return self.result

    def astream(self, content: str, **options: Unpack[Options]) -> AsyncGenerator[Chunk, None]:
        """`stream` for `async for`. Breaking out of the loop or cancelling closes the stream early."""
        from qwen3cpu.system import asyncio_steps

        return asyncio_steps.steps(lambda: self.stream(content, **options))

    async def asend(self, content: str, **options: Unpack[Options]) -> Result:
        """`send` for asyncio."""
        from qwen3cpu.generation import asyncio_streams as asynchronous

        (result,) = await asynchronous.results(lambda: self.stream(content, **options))
        return result

    def retry(self, **options: Unpack[Options]) -> Generator[Chunk, None, None]:
        """Stream another answer to the last user message; it replaces the previous one in the history."""
        last = max((i for i, message in enumerate(self.messages) if message["role"] == "user"), default=None)
        if last is None:
            raise ArgumentError("retry: expected a user message in the history, found none")
        return self._turn(self.messages[: last + 1], options)

    def reset(self) -> None:
        """Forget everything but the system message."""
        self.messages = [message for message in self.messages if message["role"] == "system"]
        self.result = None

    @property
    def system(self) -> str | None:
        """The system message; may be set between turns. None removes it."""
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
        """Free the KV cache. The conversation may go on; its history is then processed again."""
        self._stop_preparing()
        self._sequence.truncate(0)

    def wait_prepared(self) -> None:
        """With prepare="idle": wait until the history is processed; return at once if nothing is being prepared."""
        if self._preparation is not None:
            self._preparation.wait()

    def _turn(self, messages: list[dict[str, Any]], options: Any, sent: int = 1) -> Generator[Chunk, None, None]:
        request = self._model.answerer.request(messages, **{**self.options, **options})
        if request.n is not None:
            raise ArgumentError(f"n: expected None, because a turn has one answer, found {request.n}")
        self._stop_preparing()
        chunks = self._model.answerer.stream(messages, request, self._sequence)
        return self._follow(messages, chunks, request, sent)

    def _follow(
        self, messages: list[dict[str, Any]], chunks: Generator[Chunk, None, None], request: Request, sent: int
    ) -> Generator[Chunk, None, None]:
        answer: dict[str, Any] = {"role": "assistant", "content": "", "reasoning_content": "", "tool_calls": []}
        result = None
        try:
            with closing(chunks):
                for chunk in chunks:
                    answer["content"] += chunk.text
                    answer["reasoning_content"] += chunk.reasoning
                    answer["tool_calls"] += [call.to_message() for call in chunk.tool_calls]
                    result = chunk.result
                    yield chunk
        finally:
            if result is not None or answer["content"] or answer["tool_calls"]:
                self.messages = [*messages, {key: value for key, value in answer.items() if value or key == "content"}]
                self.result = result
                if self._prepare is not None and result is not None and not result.tool_calls:
                    self._start_preparing(request)
            else:
                self.messages = messages[: len(messages) - sent]

    def _start_preparing(self, request: Request) -> None:
        self._request = request
        # The thread must not hold the conversation: when the conversation is deleted, its preparation stops.
        model, messages = self._model, self.messages

        def history() -> list[int]:
            # The part of the prompt that does not depend on the next user message.
            first, second = (
                model.answerer.encode([*messages, {"role": "user", "content": text}], request) for text in "ab"
            )
            return first[: common_prefix(first, second)]

        self._preparation = Preparation(self._model.engine, self._sequence, history)

    def _stop_preparing(self) -> None:
        if self._preparation is not None:
            self._preparation.cancel()
            self._preparation = None


def _options(saved: Any) -> dict[str, Any]:
    """Saved options with integer keys in logit_bias, because keys in JSON are strings."""
    options = dict(saved)
    if options.get("logit_bias") is not None:
        options["logit_bias"] = {int(token): value for token, value in dict(options["logit_bias"]).items()}
    return options
