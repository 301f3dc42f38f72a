"""Markdown as plain data, block by block, by markdown-it-py.

While an answer is written, only its last block can change, because in CommonMark a block ends when another follows.
So the page sends only the text from the last block on, which begins at `open_line`. It also sends definitions of links
from earlier blocks.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

from qwen3cpu.server.page.bracket_formulas import bracket_formulas
from qwen3cpu.server.page.code_colours import coloured
from qwen3cpu.server.page.formulas import formula
from qwen3cpu.server.page.nodes import LINKS, Node, element, joined
from qwen3cpu.server.page.open_blocks import open_line

TAGS = {
    "blockquote": "blockquote",
    "bullet_list": "ul",
    "em": "em",
    "hardbreak": "br",
    "hr": "hr",
    "list_item": "li",
    "paragraph": "p",
    "s": "s",
    "strong": "strong",
    "table": "table",
    "tbody": "tbody",
    "thead": "thead",
    "tr": "tr",
}
"""Kind of node -> tag of its element, for elements without attributes."""
HEADINGS = {"h1": "h3", "h2": "h4", "h3": "h5", "h4": "h6", "h5": "h6", "h6": "h6"}
"""Heading of an answer -> heading on the page, where two levels are above it."""
FORMULAS = {
    "amsmath": True,
    "math_block": True,
    "math_block_label": True,
    "math_inline": False,
    "math_inline_double": True,
}
"""Kind of node -> whether the formula is a block on its own lines."""
_TASK = re.compile(r"\[([ xX])\] ")


class Block(NamedTuple):
    """A block of a text. line: its first line, counted from 0."""

    line: int
    nodes: list[Node]


class Rendered(NamedTuple):
    """A rendered text.

    Attributes:
        blocks: the blocks in order.
        open_line: the first line of the block that more text may change; the blocks before it are final.
        definitions: source of the definitions of links before that line.
    """

    blocks: list[Block]
    open_line: int
    definitions: str


def _parser() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "linkify": True})
    made.enable(["table", "strikethrough", "linkify"])
    # Only addresses with a scheme become links, because "main.py" is a file, not a host in Paraguay.
    assert made.linkify is not None
    made.linkify.set({"fuzzy_link": False, "fuzzy_email": False})
    made.use(dollarmath_plugin, allow_space=False, allow_digits=False, double_inline=True)
    made.use(bracket_formulas)
    made.use(amsmath_plugin)
    return made


_PARSER = _parser()


def render(text: str, definitions: str = "") -> Rendered:
    r"""A text in Markdown, rendered.

    Args:
        text: the text, with "\\n" at the ends of lines.
        definitions: definitions of links, which the text may use.
    """
    env: dict[str, Any] = {}
    if definitions:
        _PARSER.parse(definitions, env)
    before = set(env.get("references", ()))
    root = SyntaxTreeNode(_PARSER.parse(text, env))
    blocks = [Block(child.map[0] if child.map else 0, _nodes(child)) for child in root.children]
    lines = text.split("\n")
    end = open_line(lines, [block.line for block in blocks])
    found = [about["map"] for name, about in env.get("references", {}).items() if name not in before]
    defined = "\n".join("\n".join(lines[start:stop]) for start, stop in found if stop <= end)
    return Rendered(blocks, end, defined)


def _nodes(node: SyntaxTreeNode) -> list[Node]:
    """The nodes of the page for a node of the syntax tree."""
    kind = node.type
    if kind in ("text", "html_inline", "html_block", "text_special"):
        return [node.content]
    if kind == "softbreak":
        return ["\n"]
    if kind == "code_inline":
        return [element("code", node.content)]
    if kind in ("fence", "code_block"):
        return [_code(node)]
    if kind in FORMULAS:
        return [formula(node.content, block=FORMULAS[kind])]
    if kind == "image":
        return _image(node)
    inside = joined([each for child in node.children for each in _nodes(child)])
    if kind == "link":
        return _link(str(node.attrs.get("href", "")), inside)
    if kind == "heading":
        return [element(HEADINGS[node.tag], *inside)]
    if kind.endswith("_list") and inside == [element("li")]:
        return [element("p", f"{node.attrs.get('start', 1) if kind == 'ordered_list' else ''}{node.markup}")]  # "42."
    if kind == "ordered_list":
        start = node.attrs.get("start")
        return [element("ol", *inside) if start is None else element("ol", *inside, start=str(start))]
    if kind in ("th", "td"):
        return [_cell(node, inside)]
    if kind == "list_item":
        return [element("li", *_with_box(inside))]
    if kind in TAGS and not (kind == "paragraph" and node.hidden):
        return [element(TAGS[kind], *inside)]
    return inside  # a paragraph of a tight list, or the texts of a block


def _code(node: SyntaxTreeNode) -> Node:
    language = node.info.split()[0] if node.type == "fence" and node.info.strip() else ""
    code = node.content.removesuffix("\n")
    return element("pre", *coloured(code, language), language=language[:40])


def _link(address: str, inside: list[Node]) -> list[Node]:
    """A link to http, https or mailto; for any other address, only the text."""
    return [element("a", *inside, href=address)] if address.lower().startswith(LINKS) else inside


def _image(node: SyntaxTreeNode) -> list[Node]:
    """A link to the image, because the page must not fetch anything from other servers."""
    address = str(node.attrs.get("src", ""))
    return _link(address, [node.content or "image"])


def _cell(node: SyntaxTreeNode, inside: list[Node]) -> Node:
    style = str(node.attrs.get("style", ""))
    side = style.removeprefix("text-align:")
    return element(node.type, *inside, class_=side) if side in ("center", "right") else element(node.type, *inside)


def _with_box(inside: list[Node]) -> list[Node]:
    """The contents of a list item. "[ ]" or "[x]" at its start becomes a box."""
    if inside and isinstance(inside[0], list) and inside[0][0] == "p" and len(inside[0]) > 2:
        return [[*inside[0][:2], *_with_box(inside[0][2:])], *inside[1:]]
    if inside and isinstance(inside[0], str) and (match := _TASK.match(inside[0])):
        return [("☐ " if match[1] == " " else "☑ ") + inside[0][match.end() :], *inside[1:]]
    return inside
