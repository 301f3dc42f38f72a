"""A conversation: its messages, and the sequence with the KV cache of the processed ones."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from qwen3cpu.arguments import check_choice
from qwen3cpu.engine.sequence import common_prefix
from qwen3cpu.errors import ArgumentError, MessageError, SessionError
from qwen3cpu.generation.answerer import AnsweringModel
from qwen3cpu.generation.preparation import Preparation
from qwen3cpu.generation.results import Chunk, Result
from qwen3cpu.system.fork_guard import ForkLock
from qwen3cpu.system.paths import checked_path
from qwen3cpu.text.messages import check_messages

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from qwen3cpu.generation.options import Options, Request
    from qwen3cpu.text.prompts import Message


class Conversation:
    """A conversation, made by `Model.chat`. The beginning that turns share is processed once.

    One turn runs at a time. It begins with the first `next` of its stream. It ends with the last chunk, or when the
    stream is closed or deleted. Until then another turn, `retry`, `reset`, `save`, `close` and a new system message
    raise ArgumentError, also in other threads and tasks.

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
        if prepare is not None:
            check_choice("prepare", prepare, ("idle",))
        self._model = model
        self._sequence = model.engine.new_sequence(model.answerer.request(**options).adapter)
        self.options: dict[str, Any] = dict(options)
        """Options of every answer."""
        self.messages: list[dict[str, Any]] = []
        """The history; may be read and edited between turns."""
        self.result: Result | None = None
        """The result of the last turn that left an answer in the history; None if its stream was closed early."""
        self._lock = ForkLock()
        self._turn_runs: object = None
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

        path = checked_path("path", path)
        model.answerer.request(**options)
        sequence = model.engine.new_sequence()
        try:
            saved = read_session(path, model, sequence, options)
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
        plain text. The KV cache takes 112 KiB per token for the 1.7B in f16. An earlier saved conversation is replaced.

        Raises:
            ArgumentError: `path` is not a path, or something that is not a saved conversation is there; messages or
                options hold something that JSON cannot represent; a turn runs.
            SessionError: the file cannot be written.
        """
        from qwen3cpu.generation.session_file import check_replaceable, write_session

        path = checked_path("path", path)
        check_replaceable(path)
        with self._between_turns("save"):
            interrupted = self._preparation is not None
            self._stop_preparing()
            options = dict(self.options)
            if options.get("tools") is not None:
                options["tools"] = self._model.answerer.request(**options).tools
            saved = {"messages": self.messages, "options": options, "prepare": self._prepare}
            sequence = self._sequence.fork()
            # The next turn cannot use what another adapter has processed.
            sequence.belong_to(self._model.answerer.find_adapter(options.get("adapter")))
            write_session(path, self._model, saved, sequence)
            if interrupted and self._request is not None:
                self._start_preparing(self._request)

    def stream(self, content: str | Sequence[Message], **options: Unpack[Options]) -> Generator[Chunk, None, None]:
        """Send a user message, or several messages (such as the results of calls), and stream the answer.

        When the generator is closed early, Ctrl-C is pressed or an error ends the turn, the unfinished answer stays in
        the history. If it has no text yet, the history does not change.

        Raises:
            ArgumentError: an option that is not allowed; a turn runs.
            MessageError: malformed messages. ContextLengthError: they do not fit into the context.
        """
        if isinstance(content, str):
            sent = [{"role": "user", "content": content}]
        elif isinstance(content, Sequence) and all(isinstance(each, Mapping) for each in content):
            sent = [dict(each) for each in content if isinstance(each, Mapping)]
        else:
            raise MessageError(f"content: expected a text or a list of messages, found {type(content).__name__}")
        return self._turn("stream", lambda: [*self._history(), *sent], options)

    def send(self, content: str | Sequence[Message], **options: Unpack[Options]) -> Result:
        """Send messages as `stream` does, and return the whole answer."""
        result = None
        with closing(self.stream(content, **options)) as chunks:
            for chunk in chunks:
                result = chunk.result
        assert result is not None
        return result

    def astream(self, content: str, **options: Unpack[Options]) -> AsyncGenerator[Chunk, None]:
        """`stream` for `async for`. Breaking out of the loop or cancelling closes the stream early."""
        from qwen3cpu.system import asyncio_steps

        return asyncio_steps.steps(lambda: self.stream(content, **options))

    async def asend(self, content: str, **options: Unpack[Options]) -> Result:
        """`send` for asyncio. It does not wait for a turn that runs, but raises ArgumentError."""
        from qwen3cpu.generation import asyncio_streams as asynchronous

        (result,) = await asynchronous.results(lambda: self.stream(content, **options))
        return result

    def retry(self, **options: Unpack[Options]) -> Generator[Chunk, None, None]:
        """Stream another answer to the last user message; it replaces the previous one in the history.

        A retry that ends before its first text leaves the history unchanged.
        """

        def up_to_the_user() -> list[dict[str, Any]]:
            messages = self._history()
            last = max((i for i, message in enumerate(messages) if _role(message) == "user"), default=None)
            if last is None:
                raise ArgumentError("retry: expected a user message in the history, found none")
            return messages[: last + 1]

        return self._turn("retry", up_to_the_user, options)

    def reset(self) -> None:
        """Forget everything but the system message."""
        with self._between_turns("reset"):
            self.messages = [message for message in self._history() if _role(message) == "system"]
            self.result = None

    @property
    def system(self) -> str | None:
        """The system message; may be set between turns. None removes it."""
        messages = self._history()
        if messages and _role(messages[0]) == "system":
            text: str | None = messages[0].get("content")
            return text
        return None

    @system.setter
    def system(self, text: str | None) -> None:
        with self._between_turns("system"):
            rest = [message for message in self._history() if _role(message) != "system"]
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
        with self._between_turns("close"):
            self._stop_preparing()
            self._sequence.truncate(0)

    def wait_prepared(self) -> None:
        """With prepare="idle": wait until the history is processed; return at once if nothing is being prepared."""
        if self._preparation is not None:
            self._preparation.wait()

    def _history(self) -> list[dict[str, Any]]:
        """Return a copy of the list of messages. MessageError if a caller has put something else there."""
        if not isinstance(self.messages, (list, tuple)):
            raise MessageError(f"messages: expected a list of messages, found {type(self.messages).__name__}")
        return list(self.messages)

    @contextmanager
    def _between_turns(self, name: str) -> Iterator[None]:
        """Keep turns from beginning. Raises ArgumentError that begins with `name` if one runs."""
        mine = object()
        try:  # Ctrl-C may come after any of these lines
            with self._lock.held():
                if self._turn_runs is not None:
                    raise ArgumentError(
                        f"{name}: expected a conversation between two turns, found a turn that is running; finish or "
                        "close its stream first"
                    )
                self._turn_runs = mine
            yield
        finally:
            if self._turn_runs is mine:
                self._turn_runs = None

    def _turn(
        self, name: str, prompt: Callable[[], list[dict[str, Any]]], options: Any
    ) -> Generator[Chunk, None, None]:
        """Check a turn, and return its stream.

        Args:
            name: of the caller's method, for errors.
            prompt: returns the messages up to the answer.
            options: of this turn.
        """
        with self._between_turns(name):
            messages = prompt()
            request = self._model.answerer.request(messages, **{**self.options, **options})
            if request.n is not None:
                raise ArgumentError(f"n: expected None, because a turn has one answer, found {request.n}")
            self._stop_preparing()
            chunks = self._model.answerer.stream(messages, request, self._sequence)

        def stream() -> Generator[Chunk, None, None]:
            with self._between_turns(name):
                self._stop_preparing()
                self._sequence.belong_to(request.adapter)
                now = prompt()
                if list(map(id, now)) == list(map(id, messages)):
                    last = yield from self._follow(messages, chunks, request)
                else:  # other turns have come since the call
                    later = self._model.answerer.stream(now, request, self._sequence)
                    last = yield from self._follow(now, later, request)
            yield last

        return stream()

    def _follow(
        self, messages: list[dict[str, Any]], chunks: Generator[Chunk, None, None], request: Request
    ) -> Generator[Chunk, None, Chunk]:
        """Yield all chunks but the last, keep the answer in the history, and return the last chunk."""
        answer: dict[str, Any] = {"role": "assistant", "content": "", "reasoning_content": "", "tool_calls": []}
        last = None
        try:
            with closing(chunks):
                for chunk in chunks:
                    answer["content"] += chunk.text
                    answer["reasoning_content"] += chunk.reasoning
                    answer["tool_calls"] += [call.to_message() for call in chunk.tool_calls]
                    if chunk.result is None:
                        yield chunk
                    else:
                        last = chunk
        finally:
            result = None if last is None else last.result
            if result is not None or answer["content"] or answer["tool_calls"]:
                self.messages = [*messages, {key: value for key, value in answer.items() if value or key == "content"}]
                self.result = result
                if self._prepare is not None and result is not None and not result.tool_calls:
                    self._start_preparing(request)
        assert last is not None
        return last

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


def _role(message: object) -> object:
    """The role of a message that a caller may have edited; None if it has none."""
    return message.get("role") if isinstance(message, Mapping) else None


def _options(saved: Any) -> dict[str, Any]:
    """Saved options with integer keys in logit_bias, because keys in JSON are strings."""
    options = dict(saved)
    if options.get("logit_bias") is not None:
        options["logit_bias"] = {int(token): value for token, value in dict(options["logit_bias"]).items()}
    return options
