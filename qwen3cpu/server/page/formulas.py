"""Formulas in LaTeX as MathML, by latex2mathml."""

from __future__ import annotations

from html import unescape
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element

from qwen3cpu.server.page.nodes import Node, element

MOST_DEPTH = 64
"""The largest depth of nested elements in a formula."""
TAGS = frozenset(
    (
        *("math", "merror", "mfenced", "mfrac", "mi", "mlabeledtr", "mmultiscripts", "mn", "mo", "mover", "mpadded"),
        *("mphantom", "mprescripts", "mroot", "mrow", "ms", "mspace", "msqrt", "mstyle", "msub", "msubsup", "msup"),
        *("mtable", "mtd", "mtext", "mtr", "munder", "munderover", "none"),
    )
)
"""Elements of a formula. A formula with another one is shown as its source."""
ATTRIBUTES = frozenset(
    (
        *("accent", "accentunder", "align", "columnalign", "columnlines", "columnspacing", "columnspan", "depth"),
        *("display", "displaystyle", "fence", "form", "frame", "height", "largeop", "linebreak", "linethickness"),
        *("lspace", "mathvariant", "maxsize", "minsize", "movablelimits", "rowlines", "rowspacing", "rspace"),
        *("scriptlevel", "separator", "stretchy", "symmetric", "voffset", "width"),
    )
)
"""Attributes that are sent to the page; others are left out."""


class _UnknownFormulaError(Exception):
    """A formula that cannot be shown."""


def formula(latex: str, *, block: bool) -> Node:
    """A formula as MathML, or its source if it cannot be read.

    Args:
        latex: the source without delimiters.
        block: whether it is a block on its own lines.
    """
    try:
        made = convert_to_element(latex, display="block" if block else "inline")
        return _node(made, 0)
    except MemoryError:
        raise
    except Exception:  # the library raises any error for an invalid formula
        source = element("code", latex.strip(), class_="formula")
        return element("p", source) if block else source


def _node(found: Element, depth: int) -> Node:
    tag = found.tag.rpartition("}")[2]
    if tag not in TAGS or depth > MOST_DEPTH:
        raise _UnknownFormulaError
    attributes = {name: value for name, value in found.items() if name in ATTRIBUTES}
    children: list[Node] = [unescape(found.text)] if found.text else []
    for child in found:
        children.append(_node(child, depth + 1))
        if child.tail and child.tail.strip():
            children.append(unescape(child.tail))
    return [tag, attributes, *children]
