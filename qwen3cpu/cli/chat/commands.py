"""The commands of a chat, which can be typed besides messages. Each one reports what it has done."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from qwen3cpu.arguments import nearest
from qwen3cpu.cli.chat import attachments, clipboard, exports
from qwen3cpu.cli.chat.remarks import print_list
from qwen3cpu.cli.chat.state import Chat
from qwen3cpu.cli.chat.turns import answer
from qwen3cpu.cli.options import THINKING
from qwen3cpu.errors import ArgumentError
from qwen3cpu.system.paths import checked_path
from qwen3cpu.system.standard_streams import CONTROLS

_THINKS: Final = {True: "on", False: "off", "auto": "as the last /think or /no_think inside a message says, else on"}

_MOST_DIGITS: Final = 9


class Command(NamedTuple):
    """A command. names: the first is shown, the others do the same. takes: what may follow it, for completion."""

    names: tuple[str, ...]
    run: Callable[[Chat, str], None]
    usage: str
    help: str
    takes: str | tuple[str, ...] = ()


def _help(chat: Chat, _: str) -> None:
    print_list((f"{command.names[0]} {command.usage}".strip(), command.help) for command in COMMANDS)
    chat.confirm('Alt-Enter begins a new line, and so does Enter between """ and """. Ctrl-C stops an answer.')


def _bye(chat: Chat, _: str) -> None:
    chat.ended = True
    chat.confirm("bye")


def _clear(chat: Chat, _: str) -> None:
    chat.conversation.reset()
    files = "" if not chat.files else f" and {len(chat.files)} files"
    chat.files.clear()
    kept = "; the system message stays" if chat.conversation.system is not None else ""
    chat.confirm(f"forgot the conversation{files}{kept}")


def _retry(chat: Chat, _: str) -> None:
    answer(chat, chat.conversation.retry())


def _system(chat: Chat, text: str) -> None:
    if text:
        chat.conversation.system = text
        chat.confirm("the system message is set, from the next message on")
    else:
        print((chat.conversation.system or "(no system message)").translate(CONTROLS))


def _think(chat: Chat, text: str) -> None:
    if text in THINKING:
        _set_thinking(chat, THINKING[text])
    else:
        _set_thinking(chat, True, text)


def _no_think(chat: Chat, text: str) -> None:
    _set_thinking(chat, False, text)


def _auto(chat: Chat, text: str) -> None:
    _set_thinking(chat, "auto", text)


def _set_thinking(chat: Chat, thinking: bool | str, text: str = "") -> None:
    chat.conversation.options["thinking"] = thinking
    if text:
        send(chat, text)
    else:
        chat.confirm(f"thinking: {_THINKS[thinking]}")


def _reasoning(chat: Chat, _: str) -> None:
    said = [message for message in chat.conversation.messages if message["role"] == "assistant"]
    text = said[-1].get("reasoning_content") if said else None
    print((text or "(no answer, or one without thinking)").translate(CONTROLS))


def _budget(chat: Chat, text: str) -> None:
    if text and not (text.isascii() and text.isdigit()):
        raise ArgumentError(f"/budget: expected a whole number of tokens, found {text[:60]!r}")
    if len(text) > _MOST_DIGITS:
        raise ArgumentError(f"/budget: expected a number of at most {_MOST_DIGITS} digits, found {len(text)}")
    chat.conversation.options["thinking_budget"] = int(text) if text else None
    chat.confirm(f"at most {text} tokens of thinking" if text else "no limit of thinking")


def _tokens(chat: Chat, _: str) -> None:
    print(f"{chat.conversation.cached_tokens} of {chat.conversation.context} positions in use")


def _file(chat: Chat, text: str) -> None:
    if text:
        chat.files.append(attachments.attach(_path("/file", text), chat.model))
    total = sum(file.tokens for file in chat.files)
    for file in chat.files[-1:] if text else chat.files:
        print(f"{file.name}: {file.tokens:,} tokens".translate(CONTROLS))
    chat.confirm(
        f"{total:,} tokens of files go with the next message; the context has {chat.model.context:,}"
        if chat.files
        else "no files go with the next message"
    )


def _model(chat: Chat, name: str) -> None:
    if not name:
        print(chat.model.source.translate(CONTROLS))
        return
    before, conversation = chat.model, chat.conversation
    chat.model = chat.open_model(name)
    options = {key: value for key, value in conversation.options.items() if key != "adapter"}
    chat.conversation = chat.model.chat(prepare="idle" if chat.interactive else None, **options)
    chat.conversation.messages = conversation.messages
    conversation.close()
    before.close()
    model = chat.model
    chat.confirm(f"{model.source}, {model.quant}, {model.threads} threads, goes on with the conversation")


def _copy(chat: Chat, _: str) -> None:
    said = [message["content"] for message in chat.conversation.messages if message["role"] == "assistant"]
    if not said or not said[-1]:
        raise ArgumentError("/copy: expected an answer, found none")
    if not sys.stdout.isatty():
        raise ArgumentError("/copy: expected a terminal, found a pipe or file as stdout")
    by = clipboard.copy(said[-1], sys.stdout)
    chat.confirm(f"copied {len(said[-1])} characters with {by}")


def _export(chat: Chat, file: str) -> None:
    path = _path("/export", file)
    exports.export(chat.conversation.messages, path, chat.model.source)
    chat.confirm(f"wrote {len(chat.conversation.messages)} messages to {path}")


def _save(chat: Chat, file: str) -> None:
    path = _path("/save", file)
    chat.conversation.save(path)
    chat.confirm(f"saved to {path}; /load {path} goes on from here")


def _load(chat: Chat, file: str) -> None:
    path = _path("/load", file)
    loaded = chat.model.resume(path)
    chat.conversation.close()
    chat.conversation = loaded
    if chat.toolbox is not None:
        loaded.options["tools"] = chat.toolbox.descriptions
    for message in loaded.messages[-2:]:
        print(f"{message['role']}: {message.get('content') or ''}".translate(CONTROLS))
    chat.confirm(f"loaded {len(loaded.messages)} messages from {path}")


COMMANDS: Final = (
    Command(("/help", "/?"), _help, "", "this list"),
    Command(("/bye", "/exit", "/quit"), _bye, "", "end the conversation (also Ctrl-D)"),
    Command(("/clear", "/reset"), _clear, "", "forget everything but the system message"),
    Command(("/retry",), _retry, "", "answer the last message again"),
    Command(("/file",), _file, "PATH", "send a text, code or PDF file with the next message", "path"),
    Command(("/system",), _system, "TEXT", "change the system message; without TEXT, show it"),
    Command(("/think",), _think, "on|off|auto", "whether to think before an answer", tuple(THINKING)),
    Command(("/no_think", "/nothink"), _no_think, "TEXT", "thinking off; with TEXT, also send it"),
    Command(("/auto",), _auto, "", "follow the last /think or /no_think inside a message"),
    Command(("/budget",), _budget, "N", "at most N tokens of thinking; without N, no limit"),
    Command(("/reasoning",), _reasoning, "", "show the thinking of the last answer"),
    Command(("/copy",), _copy, "", "copy the last answer to the clipboard"),
    Command(("/export",), _export, "FILE", "write the conversation to a new .md, .txt or .json file", "path"),
    Command(("/save",), _save, "FILE", "keep the conversation, so that it can continue later", "path"),
    Command(("/load",), _load, "FILE", "continue a conversation that was kept", "path"),
    Command(("/model",), _model, "NAME", "continue with another model; without NAME, show which it is", "model"),
    Command(("/tokens",), _tokens, "", "how full the context is"),
)
NAMED: Final = {name: command for command in COMMANDS for name in command.names}


def send(chat: Chat, text: str) -> None:
    """Send a message, with the files that wait for one, and show the answer. Files of a refused message stay."""
    chunks = chat.conversation.stream(attachments.with_files(chat.files, text))
    chat.files.clear()
    answer(chat, chunks)


def handle(chat: Chat, line: str) -> None:
    """Run a command or send a message. A text that begins like a command but cannot be one, such as a path, is a
    message.
    """
    text = line.strip()
    word, _, rest = text.partition(" ")
    if word in NAMED:
        NAMED[word].run(chat, rest.strip())
    elif text:
        if word.startswith("/") and word.count("/") == 1 and "\n" not in text:
            _refuse(word, chat.interactive)
        send(chat, text)


def _refuse(word: str, interactive: bool) -> None:
    """Raise ArgumentError for a misspelt command. A user who types meant a command with any other word, too."""
    near = nearest(word, NAMED, least=0.7)
    if near is not None or interactive:
        hint = f"did you mean {near}?" if near else "/? lists them"
        raise ArgumentError(f"unknown command {word[:60]}; {hint}")


def _path(command: str, file: str) -> Path:
    if not file:
        raise ArgumentError(f"{command}: expected the name of a file, found none")
    if not os.path.exists(checked_path(command, file)):
        # A file that is dropped on a terminal arrives in quotes, or with its spaces escaped.
        with suppress(ValueError):
            words = shlex.split(file)
            file = words[0] if len(words) == 1 else file
    return checked_path(command, file)
