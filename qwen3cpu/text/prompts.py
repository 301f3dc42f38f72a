"""Encodes the prompts of callers (text, messages or ids) as token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.errors import ArgumentError, ContextLengthError
from qwen3cpu.text.token_ids import check_ids
from qwen3cpu.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from qwen3cpu.text.chat_template import ChatTemplate

Message: TypeAlias = Mapping[str, Any]
Prompt: TypeAlias = "str | Sequence[Message] | Sequence[int] | NDArray[np.integer[Any]]"


class PromptOptions(Protocol):
    """The options of a call that encoding depends on. `generation.options.Request` is one."""

    @property
    def raw(self) -> bool:
        """Whether text is fed unchanged, not as a user message."""
        ...

    @property
    def thinking(self) -> bool:
        """Whether messages are rendered for a model that thinks."""
        ...

    @property
    def tools(self) -> Sequence[Mapping[str, Any]] | None:
        """Descriptions of the tools that messages are rendered with."""
        ...


class PromptEncoder:
    """Turns prompts into ids.

    Args:
        tokenizer: the checkpoint's.
        template: the checkpoint's chat template, or None when it has none.
        vocab_size: ids must lie below it.
        context: positions that a sequence may hold.
        source: names the checkpoint in errors.
    """

    def __init__(
        self, tokenizer: Tokenizer, template: ChatTemplate | None, *, vocab_size: int, context: int, source: str
    ) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._vocab_size = vocab_size
        self._context = context
        self._source = source

    @property
    def has_template(self) -> bool:
        """Whether the checkpoint has a chat template."""
        return self._template is not None

    @property
    def template(self) -> ChatTemplate:
        """The chat template. ArgumentError when the checkpoint has none."""
        if self._template is None:
            raise ArgumentError(
                f"{self._source} has no chat template, so messages cannot be rendered; give text or ids"
            )
        return self._template

    def encode(self, prompt: Prompt, options: PromptOptions) -> list[int]:
        """The ids of a prompt that leaves room for at least one token of an answer.

        Raises:
            ArgumentError: not a prompt, or a prompt without any token; tools together with text or ids.
            MessageError: malformed messages.
            ContextLengthError: the prompt does not fit; the message has both counts. A text that is far too long is not
                encoded to its end, and the message has a lower bound of its tokens.
        """
        ids = self._ids(prompt, options)
        if not ids:
            raise ArgumentError("the prompt is empty: expected at least one token")
        if len(ids) >= self._context:
            raise ContextLengthError(
                f"the prompt has {len(ids)} tokens, the context holds {self._context} positions; expected a prompt of "
                f"at most {self._context - 1} tokens, so that an answer has room"
            )
        return ids

    def text_ids(self, text: Any, name: str = "ids") -> list[int]:
        """The ids of unchanged text, in which spellings of control tokens become control tokens; or ids, checked."""
        if isinstance(text, str):
            return self._tokenizer.encode(text, control_tokens=True)
        return check_ids(text, self._vocab_size, name)

    def _ids(self, prompt: Prompt, options: PromptOptions) -> list[int]:
        if isinstance(prompt, str) and not options.raw and self._template is not None:
            prompt = [{"role": "user", "content": prompt}]
        if is_messages(prompt):
            if options.raw:
                raise ArgumentError("raw=True: expected text or token ids, found messages")
            return self.template.encode(
                prompt,
                tools=options.tools,
                thinking=options.thinking,
                rendered=self._check_length,
                watch=self._check_count,
            )
        if options.tools is not None:
            raise ArgumentError("tools are rendered by the chat template: expected messages, found text or ids")
        if not isinstance(prompt, str) and not hasattr(prompt, "__iter__"):
            raise ArgumentError(f"prompt: expected text, messages or token ids, found {type(prompt).__name__}")
        if isinstance(prompt, str):
            self._check_length(prompt)
            return self._tokenizer.encode(prompt, control_tokens=True, watch=self._check_count)
        return self.text_ids(prompt, "prompt")

    def _check_length(self, text: str) -> None:
        """Refuse a text that cannot fit before it is encoded, because encoding would take long."""
        if len(text) < self._context:
            return
        least = self._tokenizer.least_tokens(text)
        if least >= self._context:
            raise ContextLengthError(
                f"the prompt has {len(text)} characters, which are at least {least} tokens (no token has more than "
                f"{self._tokenizer.longest_token} bytes); the context holds {self._context} positions"
            )

    def _check_count(self, count: int) -> None:
        """Refuse a text whose first pieces already fill the context."""
        if count >= self._context:
            raise ContextLengthError(
                f"the prompt has more than {count} tokens, the context holds {self._context} positions; expected a "
                f"prompt of at most {self._context - 1} tokens, so that an answer has room"
            )


def is_messages(prompt: Any) -> TypeGuard[Sequence[Message]]:
    """Whether a prompt is a list of messages (rather than of ids)."""
    return isinstance(prompt, (list, tuple)) and any(isinstance(item, Mapping) for item in prompt)
