"""A sandbox for chat templates that limits their work: a template that loops or doubles a string ends with an error.

Templates come with a checkpoint and are foreign code. Jinja's sandbox keeps them from everything but plain data; this
one counts what they do with it as well. Loops, macros and calls count as steps, and so do the characters and items that
an operation reads or makes, which are counted before it makes them. The limit grows with the messages.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final

from jinja2 import nodes, sandbox
from jinja2.runtime import Context, Undefined

BASE: Final = 50_000_000
"""Units for any template: about a second. The released template takes about 4,000 for a message."""
PER_CHARACTER: Final = 100
"""More units for each character of messages and tools."""
STEP: Final = 200
"""Units of a step, beside those of the characters that it handles."""
ITEM: Final = 16
"""Units of an item of a list or object: of copying it, and of looking into it."""

_NUMBERS: Final = re.compile(r"\d+")
_DEEP: Final = {"tojson", "string", "pprint", "join", "format", "xmlattr", "urlencode", "sum", "escape", "e", "safe"}
"""Filters that read all of a nested value."""
_FREE: Final = {"length", "count", "first", "last", "default", "d", "get"}
"""Filters and methods that take no longer for a longer value."""


class TemplateLimitError(Exception):
    """A template would do more work than any template needs."""


class LimitedEnvironment(sandbox.ImmutableSandboxedEnvironment):
    """Jinja's immutable sandbox with a limit. Templates compiled from `counted` trees run inside `limited` only."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, finalize=self._shown, **kwargs)
        self._budget = threading.local()
        del self.globals["lipsum"]  # makes text by the megabyte
        for name, function in list(self.filters.items()):
            self.add_filter(name, function)

    def add_filter(self, name: str, function: Callable[..., Any]) -> None:
        """Add a filter whose work is counted."""

        @wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            given = [list(each) if isinstance(each, Iterator) else each for each in args]
            self._charge_call(name, given, kwargs.values())
            return function(*given, **kwargs)

        self.filters[name] = counted

    @contextmanager
    def limited(self, characters: int) -> Iterator[None]:
        """Let templates run in this thread, for messages and tools of so many characters."""
        self._budget.left = BASE + PER_CHARACTER * characters
        try:
            yield
        finally:
            del self._budget.left

    def charge(self, units: int) -> None:
        """Count work. Raises TemplateLimitError when the limit is reached."""
        left = getattr(self._budget, "left", BASE) - units
        if left < 0:
            raise TemplateLimitError("it loops or grows without end: it does more work than any template needs")
        self._budget.left = left

    # What compiled templates call

    def step(self, characters: int = 0) -> bool:
        """Count one round of a loop or one call of a macro that may write so many characters."""
        self.charge(STEP + characters)
        return True

    def looked_at(self, value: Any) -> Any:
        """The value, whose characters or items are about to be compared or copied."""
        self.charge(_length(value) // 8)
        return value

    def concatenate(self, *values: Any) -> str:
        """What `~` does."""
        for value in values:
            self._charge_deep(value)
        return "".join(map(str, values))

    def _shown(self, value: Any) -> Any:
        self._charge_deep(value)
        return value

    # Jinja's own hooks

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Call a macro, a function or a method."""
        __self.charge(STEP)
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, (str, list, tuple, dict)):
            __self._charge_call(__obj.__name__, [owner, *args], kwargs.values())
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute +, *, ** and %."""
        if operator == "+":
            self.charge(_length(left) + _length(right))
        elif operator == "*":
            for value, count in ((left, right), (right, left)):
                if isinstance(count, int):
                    self.charge(_length(value) * max(count, 0))
            self.charge(_bits(left) * _bits(right) // 1000)
        elif operator == "**":
            self.charge((_bits(left) * abs(right)) ** 2 // 1000 if isinstance(right, int) else STEP)
        elif isinstance(left, str):
            self._charge_format(left, list(right) if isinstance(right, tuple) else [right])
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """str.format and str.format_map."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        def counted(*args: Any, **kwargs: Any) -> str:
            self._charge_format(value.__self__, [*args, *kwargs.values()])
            return wrapped(*args, **kwargs)

        return counted

    # Counting

    def _charge_call(self, name: str, args: list[Any], more: Any) -> None:
        """Count a filter, or a method with its object first."""
        self.charge(STEP)
        if name in _FREE:
            return
        texts = [each for each in args if isinstance(each, str)]
        if name == "replace" and len(texts) > 2:
            self.charge((texts[0].count(texts[1]) + 1) * len(texts[2]))
        if name == "join" and len(args) > 1:
            self.charge(max(map(len, texts), default=0) * max(map(_length, args)))
        if name == "format" and texts:
            self._charge_format(texts[0], [*args, *more])
        lines = 1 + sum(text.count("\n") for text in texts)
        for value in (*args, *more):
            if name in _DEEP:
                self._charge_deep(value)
            # A number may be a width, for each line.
            self.charge(abs(value) * lines if isinstance(value, int) else _length(value))

    def _charge_format(self, text: str, values: list[Any]) -> None:
        """Count a text that is formatted. Numbers in it may be widths; with * or nested {} numbers among values too."""
        self.charge(len(text) + sum(int(digits[:18]) for digits in _NUMBERS.findall(text)))
        for value in values:
            self._charge_deep(value)
            if isinstance(value, int) and ("*" in text or text.count("{") > text.count("}{") + 1):
                self.charge(abs(value))

    def _charge_deep(self, value: Any) -> None:
        """Count every character and item of a nested value, as often as it appears."""
        if isinstance(value, (str, Undefined)) or value is None:
            self.charge(_length(value))
            return
        open_values = [value]
        while open_values:
            value = open_values.pop()
            self.charge(ITEM + _length(value) + _bits(value))
            if isinstance(value, Mapping):
                open_values += [*value.keys(), *value.values()]
            elif isinstance(value, (list, tuple, set, frozenset)):
                open_values += value


def _length(value: Any) -> int:
    """Units of the characters or items of a value itself."""
    if isinstance(value, (str, bytes)):
        return len(value)
    return ITEM * len(value) if isinstance(value, (list, tuple, dict, set, frozenset, range)) else 0


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 0


def counted(template: nodes.Template) -> nodes.Template:
    """The tree with calls of LimitedEnvironment in it that count; it is changed in place."""
    # One walk over the tree finds them all; what is put in has none of them.
    kinds = (nodes.For, nodes.Macro, nodes.CallBlock, nodes.Compare, nodes.Getitem)
    found: list[Any] = list(template.find_all(kinds))
    for node in found:
        if isinstance(node, nodes.Compare):
            node.expr = _call("looked_at", node.expr)
            for operand in node.ops:
                operand.expr = _call("looked_at", operand.expr)
        elif isinstance(node, nodes.Getitem):
            if isinstance(node.arg, nodes.Slice):
                node.node = _call("looked_at", node.node)
        else:
            node.body.insert(0, nodes.ExprStmt(_call("step", nodes.Const(_written(node)))))
            if isinstance(node, nodes.For) and node.test is not None:
                node.test = nodes.And(_call("step"), node.test)
    _replace_concatenations(template)
    return template


def _written(loop: nodes.Node) -> int:
    """Characters of literal text inside a loop or macro."""
    return sum(len(data.data) for data in loop.find_all(nodes.TemplateData))


def _call(name: str, *args: nodes.Expr) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name), list(args), [], None, None)


def _replace_concatenations(node: nodes.Node) -> None:
    for field, value in node.iter_fields():
        if isinstance(value, nodes.Concat):
            setattr(node, field, _call("concatenate", *value.nodes))
        elif isinstance(value, list):
            value[:] = [_call("concatenate", *each.nodes) if isinstance(each, nodes.Concat) else each for each in value]
    for child in node.iter_child_nodes():
        _replace_concatenations(child)
