"""A sandbox for chat templates that limits their work: a template that loops or doubles a string ends with an error.

Templates come with a checkpoint and are foreign code. Jinja's sandbox gives them access to plain data only. This
sandbox also counts their work: loops, macros, calls, and the characters and items that an operation reads or makes. It
counts them before the operation runs. The limit grows with the messages. template_costs.py has the costs.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final

from jinja2 import nodes, sandbox
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.utils import Cycler, Joiner

from qwen3cpu.text.template_costs import STEP, Meter, length

BASE: Final = 50_000_000
"""Units for any template: about a second. The released template takes about 4,000 for a message."""
PER_CHARACTER: Final = 100
"""Additional units for each character of messages and tools."""
NODE: Final = 4
"""Units of a node of the template's tree, each time that a loop or macro runs it."""

_OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gteq": operator.ge,
    "lt": operator.lt,
    "lteq": operator.le,
    "in": lambda left, right: left in right,
    "notin": lambda left, right: left not in right,
}
_OF_JINJA: Final = (Macro, LoopContext, Cycler, Joiner, type)
"""Callables that do not read their arguments."""


class LimitedEnvironment(sandbox.ImmutableSandboxedEnvironment):
    """Jinja's immutable sandbox with a limit. Templates are compiled from `counted` trees, and run inside `limited`."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, finalize=self._shown, **kwargs)
        self._running = threading.local()
        del self.globals["lipsum"]  # makes text by the megabyte
        for name, function in list(self.filters.items()):
            self.add_filter(name, function)
        test: Any
        for name, test in list(self.tests.items()):
            self.tests[name] = self._counted_test(name, test)

    def add_filter(self, name: str, function: Callable[..., Any]) -> None:
        """Add a filter whose work is counted."""

        @wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            given = [list(each) if isinstance(each, Iterator) else each for each in args]
            self._meter.call(name, given, kwargs)
            return function(*given, **kwargs)

        self.filters[name] = counted

    def _counted_test(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            given = [list(each) if isinstance(each, Iterator) else each for each in args] if name == "in" else args
            self._meter.test(name, [*given, *kwargs.values()])
            return function(*given, **kwargs)

        return counted

    @contextmanager
    def limited(self, characters: int) -> Iterator[None]:
        """Inside, templates can be compiled and run in this thread, for messages and tools of this many characters."""
        self._running.meter = Meter(BASE + PER_CHARACTER * characters)
        try:
            yield
        finally:
            del self._running.meter

    @property
    def _meter(self) -> Meter:
        meter = getattr(self._running, "meter", None)
        return Meter(BASE) if meter is None else meter

    # Methods that compiled templates call

    def step(self, units: int = 0) -> bool:
        """Count one round of a loop or one call of a macro, and `units` for the nodes inside."""
        self._meter.charge(STEP + units)
        return True

    def cut(self, value: Any) -> Any:
        """Return a value of which a slice is about to be copied."""
        self._meter.charge(length(value) // 8)
        return value

    def key(self, value: Any) -> Any:
        """Return a value that is about to become a key of an object."""
        self._meter.hashed(value)
        return value

    def compared(self, left: Any, *comparisons: Any) -> Any:
        """Compute a chain such as `left == a < b`; `comparisons` alternates names of operators and operands."""
        result: Any = True
        for name, right in zip(comparisons[::2], comparisons[1::2], strict=True):
            if name in ("in", "notin") and isinstance(right, Iterator):
                right = list(right)
            self._meter.compare(name, left, right)
            result = _OPERATORS[name](left, right)
            if not result:
                break
            left = right
        return result

    def concatenate(self, *values: Any) -> str:
        """Compute `~`."""
        for value in values:
            self._meter.deep(value)
        return "".join(map(str, values))

    def _shown(self, value: Any) -> Any:
        self._meter.deep(value)
        return value

    # Jinja's own hooks

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Call a macro, a function or a method."""
        owner = getattr(__obj, "__self__", None)
        name = getattr(__obj, "__name__", "")
        if owner is __self:
            __self._meter.charge(STEP)  # the methods above count their own work
        elif owner is not None and name:
            __self._meter.call(name, [owner, *args], kwargs)
        elif isinstance(__obj, _OF_JINJA):
            __self._meter.charge(STEP + sum(map(length, args)))
        else:
            __self._meter.call(name, args, kwargs)
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute +, -, *, /, //, ** and %."""
        self._meter.binary(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Look up `obj[argument]`."""
        self._meter.hashed(argument)
        return super().getitem(obj, argument)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Count str.format and str.format_map."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        def counted(*args: Any, **kwargs: Any) -> str:
            self._meter.formatted(value.__self__, [*args, *kwargs.values()])
            return wrapped(*args, **kwargs)

        return counted


def counted(template: nodes.Template) -> nodes.Template:
    """Insert counting calls of LimitedEnvironment into a tree, in place, and return it."""
    # One walk over the tree finds all nodes; the inserted ones contain none of these kinds.
    kinds = (nodes.For, nodes.Macro, nodes.CallBlock, nodes.Pair, nodes.Getitem)
    found: list[Any] = list(template.find_all(kinds))
    units = {id(node): _units(node) for node in found if isinstance(node, (nodes.For, nodes.Macro, nodes.CallBlock))}
    for node in found:
        if isinstance(node, nodes.Pair):
            node.key = _call("key", node.key)
        elif isinstance(node, nodes.Getitem):
            if isinstance(node.arg, nodes.Slice):
                node.node = _call("cut", node.node)
        else:
            node.body.insert(0, nodes.ExprStmt(_call("step", nodes.Const(units[id(node)]))))
            if isinstance(node, nodes.For) and node.test is not None:
                node.test = nodes.And(_call("step"), node.test)
    _replace_operators(template)
    return template


def _units(loop: nodes.Node) -> int:
    """Units of the literal text and of the nodes inside a loop or macro."""
    return sum(
        NODE + (len(node.data) if isinstance(node, nodes.TemplateData) else 0) for node in loop.find_all(nodes.Node)
    )


def _call(name: str, *args: nodes.Expr) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name), list(args), [], None, None)


def _replace_operators(node: nodes.Node) -> None:
    """Replace comparisons and `~` by calls, because Jinja has no hook for them."""
    for field, value in node.iter_fields():
        if isinstance(value, nodes.Node):
            setattr(node, field, _counting(value))
        elif isinstance(value, list):
            value[:] = [_counting(each) if isinstance(each, nodes.Node) else each for each in value]
    for child in node.iter_child_nodes():
        _replace_operators(child)


def _counting(node: nodes.Node) -> nodes.Node:
    if isinstance(node, nodes.Concat):
        return _call("concatenate", *node.nodes)
    if isinstance(node, nodes.Compare):
        operands = [part for each in node.ops for part in (nodes.Const(each.op), each.expr)]
        return _call("compared", node.expr, *operands)
    return node
