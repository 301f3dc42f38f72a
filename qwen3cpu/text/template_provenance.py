"""Finds out which control tokens in a rendered prompt the chat template wrote, and which came with the messages.

A template writes `<|im_end|>` after a message; a message may contain `<|im_end|>` too. In the rendered text the two
look alike, but only the first may become a token. So when a message contains such a spelling, the conversation is
rendered again with a *twin* of the template. The twin has a mark before every control token that the template itself
may write: a character that occurs nowhere else. Literals with which a template only inspects the messages, as in
`content.split('</think>')`, get no mark. If the twin's text without the marks equals the template's, the marks show
what the template wrote. This also works where a template cuts a spelling out of a message and writes the token instead.

The twin does not work for some templates: they build control tokens from pieces, or compare what they are going to
write. The second way is to render *broken* messages, with a mark inside their spellings, with the unchanged template.

This file makes marks, twins and broken messages; chat_template.py renders and decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from jinja2 import nodes

# Methods and filters that compare a string with their arguments, and do not return any part of the arguments.
_INSPECTING = frozenset(
    {"split", "rsplit", "startswith", "endswith", "strip", "lstrip", "rstrip", "find", "rfind", "index", "rindex"}
    | {"count", "removeprefix", "removesuffix", "select", "reject", "selectattr", "rejectattr", "attr"}
)
# Methods and filters that do so with their first argument only.
_INSPECTING_FIRST = frozenset({"replace", "get"})


def unused_characters(texts: Iterable[str]) -> Iterator[str]:
    """Characters that occur in none of the texts, from the ranges that Unicode reserves for private use."""
    used = set().union(*texts)
    candidates = map(chr, chain(range(0xFDD0, 0xFDF0), range(0xF0000, 0xFFFFE)))
    return (character for character in candidates if character not in used)


def strings(value: object) -> Iterator[str]:
    """Every str in messages or tools: values and keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def mark_literals(template: nodes.Template, spelling: re.Pattern[str], mark: str) -> nodes.Template:
    """Make the twin: put `mark` before every control spelling that literals can write. Changes its argument."""
    _mark_node(template, spelling, rf"{mark}\g<0>")
    return template


def _mark_node(node: nodes.Node, spelling: re.Pattern[str], replacement: str) -> None:
    if isinstance(node, nodes.TemplateData):
        node.data = spelling.sub(replacement, node.data)
    elif isinstance(node, nodes.Const) and isinstance(node.value, str):
        node.value = spelling.sub(replacement, node.value)
    else:
        looked_at = {id(child) for child in _looked_at(node)}
        for child in node.iter_child_nodes():
            if id(child) not in looked_at:
                _mark_node(child, spelling, replacement)


def _looked_at(node: nodes.Node) -> Iterable[nodes.Node]:
    """The children of a node whose values it uses only to decide something."""
    if isinstance(node, (nodes.Compare, nodes.Test)):
        return node.iter_child_nodes()
    if isinstance(node, (nodes.If, nodes.CondExpr)):
        return [node.test]
    if isinstance(node, nodes.For):
        return [] if node.test is None else [node.test]
    if isinstance(node, nodes.Getitem):
        return [node.arg]
    if isinstance(node, nodes.Pair):
        return [node.key]
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
        return _looked_at_arguments(node.node.attr, node)
    if isinstance(node, nodes.Filter):
        return _looked_at_arguments(node.name, node)
    return []


def _looked_at_arguments(name: str, call: nodes.Call | nodes.Filter) -> list[nodes.Node]:
    if name in _INSPECTING:
        return [*call.args, *call.kwargs]
    return [*call.args[:1]] if name in _INSPECTING_FIRST else []


class SpellingBreaker:
    """Finds control spellings in messages, and breaks them.

    A text that begins or ends with a piece of a spelling counts too, because the text that the template writes next to
    it may complete the spelling.

    Args:
        spelling: the tokenizer's `control_pattern`.
        spellings: all texts that it matches.
    """

    def __init__(self, spelling: re.Pattern[str], spellings: Iterable[str]) -> None:
        self._spelling = spelling
        cuts = [(text[:cut], text[cut:]) for text in spellings for cut in range(1, len(text))]
        self._beginnings = tuple({beginning for beginning, _ in cuts})
        self._endings = tuple({ending for _, ending in cuts})

    def found(self, text: str) -> bool:
        """Whether the text has a control spelling, or a piece of one at an end."""
        return (
            self._spelling.search(text) is not None or text.endswith(self._beginnings) or text.startswith(self._endings)
        )

    def broken(self, value: Any, mark: str) -> Any:
        """Copy messages or tools with `mark` in every control spelling; other texts are unchanged."""
        if isinstance(value, str):
            return self._broken_text(value, mark)
        if isinstance(value, list):
            return [self.broken(item, mark) for item in value]
        if isinstance(value, Mapping):
            return {self._broken_text(key, mark): self.broken(item, mark) for key, item in value.items()}
        return value

    def _broken_text(self, text: str, mark: str) -> str:
        before = mark if text.startswith(self._endings) else ""
        after = mark if text.endswith(self._beginnings) else ""
        return before + self._spelling.sub(lambda match: match[0][0] + mark + match[0][1:], text) + after
