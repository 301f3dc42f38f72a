"""Renders messages to a prompt with the checkpoint's own chat template, as `transformers` does.

Templates come with a checkpoint and are foreign code: they run in Jinja's sandbox and see plain data only. The form of
messages is in messages.py. How control tokens are distinguished from their spellings is in template_provenance.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import ext, nodes, parser, runtime, utils

from qwen3cpu.arguments import check_flag
from qwen3cpu.errors import CheckpointError, MessageError
from qwen3cpu.text.messages import check_messages, check_tools
from qwen3cpu.text.template_limits import LimitedEnvironment, counted
from qwen3cpu.text.template_provenance import SpellingBreaker, mark_literals, strings, unused_characters
from qwen3cpu.text.tokenizer import Tokenizer

Inputs = dict[str, Any]
"""The variables of a template, by name: messages, tools, named tokens and switches."""


class ChatTemplate:
    """The chat template of one checkpoint.

    Args:
        template: Jinja source; None if the checkpoint has no template, which is an error only when one is needed.
        tokenizer: for the control tokens, and the names that the template may use for them.
        source: names the checkpoint in errors.

    Raises:
        CheckpointError: the template is not valid Jinja.
    """

    def __init__(self, template: str | None, tokenizer: Tokenizer, *, source: str) -> None:
        self._tokenizer = tokenizer
        self._source = source
        self._text = template
        self._environment = _environment()
        self._breaker = SpellingBreaker(tokenizer.control_pattern, tokenizer.control_tokens)
        self._template = None if template is None else self._compile(template)
        self._last_twin: tuple[str, jinja2.Template] | None = None

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool = True,
        add_generation_prompt: bool = True,
    ) -> str:
        """Render the prompt as text.

        Args:
            messages: as `check_messages` describes them.
            tools: JSON schemas of functions that the model may call.
            thinking: `enable_thinking` of the template.
            add_generation_prompt: end with the beginning of an assistant's message.

        Raises:
            MessageError: the messages or tools are malformed, or the template refuses them.
            CheckpointError: the checkpoint has no chat template.
        """
        return self._render(self._inputs(messages, tools, thinking, add_generation_prompt))[0]

    def encode(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool = True,
        add_generation_prompt: bool = True,
        rendered: Callable[[str], None] | None = None,
        watch: Callable[[int], None] | None = None,
    ) -> list[int]:
        """Render the prompt as token ids, which decode to the text of `render` (in the tokenizer's normal form).

        Control tokens that the template writes become tokens. Their spellings in messages and tools stay plain text.

        Args:
            messages: as for `render`.
            tools: as for `render`.
            thinking: as for `render`.
            add_generation_prompt: as for `render`.
            rendered: called with the text before it is encoded. An exception of it ends the work.
            watch: as for `Tokenizer.encode`.

        Raises:
            MessageError, CheckpointError: as `render`. Also MessageError if a message contains a control token's
                spelling and it is unclear whether the template wrote it.
        """
        text, inputs = self._render(self._inputs(messages, tools, thinking, add_generation_prompt))
        if rendered is not None:
            rendered(text)
        if any(self._breaker.found(string) for name in ("messages", "tools") for string in strings(inputs[name])):
            pieces = self._attribute(text, inputs)
        else:
            pieces = self._tokenizer.split_control_tokens(text)
        return self._tokenizer.encode_split(pieces, watch)

    def _compile(self, template: str) -> jinja2.Template:
        if not isinstance(template, str):
            raise CheckpointError(f"{self._source}: chat template: expected a str, found {type(template).__name__}")
        try:
            with self._environment.limited(0):
                return self._environment.from_string(counted(self._environment.parse(template)))
        except RecursionError:
            raise CheckpointError(
                f"{self._source}: chat template: expected a Jinja template, found one nested too deeply"
            ) from None
        except jinja2.TemplateSyntaxError as bad:
            raise CheckpointError(
                f"{self._source}: chat template: expected a Jinja template, found in line {bad.lineno}: {bad.message}"
            ) from bad

    def _inputs(self, messages: object, tools: object, thinking: bool, add_generation_prompt: bool) -> Inputs:
        for name, value in (("thinking", thinking), ("add_generation_prompt", add_generation_prompt)):
            check_flag(name, value)
        now = datetime.now()
        return {
            **self._tokenizer.named_tokens,
            "messages": check_messages(messages),
            "tools": check_tools(tools),
            "documents": None,
            "enable_thinking": thinking,
            "add_generation_prompt": add_generation_prompt,
            # All renderings of one call use the same time, because they are compared.
            "strftime_now": now.strftime,
        }

    def _render(self, inputs: Inputs) -> tuple[str, Inputs]:
        """Render; return the text and the inputs that were used."""
        template = self._template
        if template is None:
            raise CheckpointError(
                f"{self._source}: this checkpoint has no chat template: expected `chat_template` in "
                "tokenizer_config.json or a file chat_template.jinja, found neither; give a prompt as text instead"
            )
        try:
            return self._run(template, inputs), inputs
        except _MissingValueError:
            # As in transformers, a call without text has no content key. Templates that need one get an empty text.
            filled = [{"content": "", **message} for message in inputs["messages"]]
            if filled == inputs["messages"]:
                raise
            inputs = inputs | {"messages": filled}
            return self._run(template, inputs), inputs

    def _run(self, template: jinja2.Template, inputs: Inputs) -> str:
        try:
            characters = sum(map(len, strings([inputs["messages"], inputs["tools"]])))
            with self._environment.limited(characters):
                return template.render(inputs)
        except _RefusalError as refusal:
            raise MessageError(
                f"{self._source}: the chat template refuses the messages: {refusal.message}"
            ) from refusal
        except jinja2.UndefinedError as bad:
            raise _MissingValueError(f"{self._source}: the chat template fails on the messages: {bad.message}") from bad
        except Exception as bad:  # whatever foreign code may raise
            raise MessageError(
                f"{self._source}: the chat template fails on the messages: {type(bad).__name__}: {bad}"
            ) from bad

    def _attribute(self, text: str, inputs: Inputs) -> list[tuple[str, int | None]]:
        """Split a rendered text at the control tokens that the template wrote. See template_provenance.py."""
        given = {name: inputs[name] for name in ("messages", "tools")}
        marks = unused_characters([text, self._text or "", *strings(given)])
        template_mark, message_mark = next(marks), next(marks)
        twin = self._twin(template_mark)
        broken = inputs | self._breaker.broken(given, message_mark)
        marked_text = self._try(twin, self._mark_names(inputs, template_mark))
        if marked_text is not None and marked_text.replace(template_mark, "") == text:
            probe = self._try(twin, self._mark_names(broken, template_mark))
            if probe is not None and not self._has_unmarked(probe, template_mark):
                pieces = self._tokenizer.split_control_tokens(marked_text, mark=template_mark)
                return [(piece.replace(template_mark, ""), control) for piece, control in pieces]
        broken_text = self._try(self._template, broken)
        if broken_text is not None and broken_text.replace(message_mark, "") == text:
            pieces = self._tokenizer.split_control_tokens(broken_text)
            return [(piece.replace(message_mark, ""), control) for piece, control in pieces]
        pattern = self._tokenizer.control_pattern
        found = sorted({match[0] for string in strings(given) for match in pattern.finditer(string)})
        raise MessageError(
            f"{self._source}: messages: expected no spelling of a control token that the chat template itself looks "
            f"for, found {', '.join(found) or 'a piece of one at an end of a text'}"
        )

    def _twin(self, mark: str) -> jinja2.Template:
        last = self._last_twin
        if last is None or last[0] != mark:
            parsed = self._environment.parse(self._text or "")
            marked = mark_literals(parsed, self._tokenizer.control_pattern, mark)
            with self._environment.limited(0):
                last = self._last_twin = (mark, self._environment.from_string(counted(marked)))
        return last[1]

    def _mark_names(self, inputs: Inputs, mark: str) -> Inputs:
        """Mark the named tokens, because the template writes them like its literals."""
        pattern = self._tokenizer.control_pattern
        return inputs | {name: pattern.sub(rf"{mark}\g<0>", inputs[name]) for name in self._tokenizer.named_tokens}

    def _try(self, template: jinja2.Template | None, inputs: Inputs) -> str | None:
        if template is None:
            return None
        try:
            return self._run(template, inputs)
        except MessageError:
            return None

    def _has_unmarked(self, probe: str, mark: str) -> bool:
        """Whether some control spellings come neither from the messages, which are broken, nor from a literal."""
        marked = sum(control is not None for _, control in self._tokenizer.split_control_tokens(probe, mark=mark))
        return marked != sum(control is not None for _, control in self._tokenizer.split_control_tokens(probe))


class _RefusalError(jinja2.TemplateError):
    """The error that a template raises with raise_exception()."""


class _MissingValueError(MessageError):
    """A template used a value that the messages do not have."""


class _Namespace(utils.Namespace):
    """Jinja's namespace() without underscore attributes, through which a template could leave the sandbox."""

    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        attributes = dict(*args, **kwargs)
        for name in attributes:
            _check_attribute(name)
        super().__init__(attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_attribute(name)
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        return "<Namespace>"  # Jinja's shows its contents, which may include itself


def _check_attribute(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"namespace attributes may not begin with an underscore: {name}")


class _GenerationTag(ext.Extension):
    """`{% generation %}...{% endgeneration %}`, which marks the assistant's text for training."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: parser.Parser) -> nodes.CallBlock:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        block = nodes.CallBlock(self.call_method("_body"), [], [], body)
        block.set_lineno(line)
        return block

    def _body(self, caller: runtime.Macro) -> str:
        return caller()


def _environment() -> LimitedEnvironment:
    """An environment in which templates behave as in transformers' `apply_chat_template`."""
    environment = LimitedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, ext.loopcontrols]
    )
    environment.add_filter("tojson", _to_json)
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["namespace"] = _Namespace
    return environment


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without the escapes for HTML that Jinja's own filter makes."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise _RefusalError(message)
