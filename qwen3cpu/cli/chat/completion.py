"""Completes commands and their arguments: words, paths and names of models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from qwen3cpu.cli.chat.commands import COMMANDS, NAMED
from qwen3cpu.cli.chat.model_names import model_names


class ChatCompleter(Completer):
    """Knows the commands of a chat. Messages are not completed."""

    def __init__(self) -> None:
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """See Completer."""
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return ()
        word, space, rest = text.partition(" ")
        return self._behind(word, rest.lstrip(), complete_event) if space else _commands(word)

    def _behind(self, word: str, rest: str, event: CompleteEvent) -> Iterable[Completion]:
        takes = NAMED[word].takes if word in NAMED else ()
        if takes == "path":
            return self._paths.get_completions(Document(rest, len(rest)), event)
        if takes == "model":
            takes = tuple(model_names())
            # A path may stand there too.
            paths = self._paths.get_completions(Document(rest, len(rest)), event) if "/" in rest else ()
            return (*_beginning_with(rest, takes), *paths)
        return _beginning_with(rest, takes)


def _commands(word: str) -> Iterator[Completion]:
    for command in COMMANDS:
        for name in command.names:
            if name.startswith(word):
                yield Completion(name, -len(word), display_meta=command.help)
                break  # the other names do the same


def _beginning_with(begun: str, known: Iterable[str]) -> Iterator[Completion]:
    return (Completion(each, -len(begun)) for each in known if each.lower().startswith(begun.lower()))
