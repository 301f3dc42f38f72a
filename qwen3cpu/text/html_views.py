"""HTML for notebooks. Text of a model or a user is escaped, or is Markdown that cannot contain HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from qwen3cpu.text.markdown_parser import FORMULA, markdown_parser

if TYPE_CHECKING:
    from markdown_it.token import Token

_NOT_TYPESET: Final = 'class="tex2jax_ignore mathjax_ignore"'
_MACROS: Final = re.compile(
    r"\\(?:href|url|html\w*|class|cssId|style|data|require|unicode|\w*def|newcommand|renewcommand|newenvironment|let|csname"
    r"|catcode|toggle|action|mathtip|texttip|includegraphics)(?![a-zA-Z])"
)
"""Macros of formulas that can make a link, an attribute or another macro in a notebook that typesets formulas."""


def view(*parts: str) -> str:
    """Join parts of a page. All formulas stay text if one of them has a macro of _MACROS."""
    body = "".join(parts)
    return f"<div {_NOT_TYPESET if _MACROS.search(html.unescape(body)) else ''}>{body}</div>"


def markdown(text: str) -> str:
    """Render Markdown. HTML in it is shown as text, links lead to web pages only, images are links."""
    parser = markdown_parser()
    tokens = parser.parse(text)
    for token in tokens:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type, child.tag = "hardbreak", "br"  # models end a line where they want a new one
            elif child.type == "link_open":
                child.attrSet("rel", "noopener noreferrer nofollow")
                child.attrSet("target", "_blank")
    return str(_renderer().render(tokens, parser.options, {}))


@cache
def _renderer() -> Any:
    from markdown_it.renderer import RendererHTML

    class Renderer(RendererHTML):
        """The renderer of HTML with formulas."""

        def formula(self, tokens: Sequence[Token], place: int, *_: Any) -> str:
            """A formula as text. A notebook with MathJax typesets it."""
            return html.escape(tokens[place].content)

    assert hasattr(Renderer, FORMULA)
    return Renderer()


def plain(text: str) -> str:
    """A plain text with its line breaks."""
    return f'<div {_NOT_TYPESET} style="white-space:pre-wrap">{html.escape(text)}</div>'


def folded(title: str, text: str) -> str:
    """A text that is shown when its title is clicked."""
    return (
        f'<details style="opacity:.7"><summary>{html.escape(title)}</summary>'
        f'<div {_NOT_TYPESET} style="white-space:pre-wrap;margin-left:1em">{html.escape(text)}</div></details>'
    )


def small(text: str) -> str:
    """A remark in small type."""
    return f'<div {_NOT_TYPESET} style="opacity:.6;font-size:85%">{html.escape(text)}</div>'


def heading(text: str) -> str:
    """A heading that names the speaker."""
    return f'<div style="font-weight:bold;margin-top:.6em">{html.escape(text)}</div>'


def table(title: str, rows: Mapping[str, str]) -> str:
    """A small table of facts."""
    cells = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in rows.items()
    )
    return view(heading(title), f"<table><tbody>{cells}</tbody></table>")
