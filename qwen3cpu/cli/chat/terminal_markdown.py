"""Markdown as rows of a terminal, rendered by rich. No control character of a text reaches the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable
from io import StringIO
from typing import ClassVar, Final, Literal, NamedTuple

from markdown_it.token import Token
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.padding import Padding
from rich.style import Style
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme

from qwen3cpu.system.standard_streams import CONTROLS
from qwen3cpu.text.markdown_parser import FORMULA, markdown_parser

LEAST_COLUMNS: Final = 10
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_SPACES_AT_END: Final = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$")
_THEME: Final = Theme({"markdown.code": Style(color="cyan"), "markdown.code_block": Style()})
"""The terminal's own colours, which suit light and dark backgrounds."""


class Row(NamedTuple):
    """A row of the screen: its text with escape sequences, and the cells that it takes."""

    text: str
    cells: int


class _Code(CodeBlock):
    """A block of code in the terminal's own colours, indented by two cells."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = Syntax(
            str(self.text).rstrip(), self.lexer_name, theme="ansi_dark", word_wrap=True, background_color="default"
        )
        yield Padding(code, (0, 0, 0, 2))


class _Heading(Heading):
    """A heading that is aligned at the left."""

    LEVEL_ALIGN: ClassVar = {f"h{level}": "left" for level in range(1, 7)}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text.assemble(self.text, style="bold underline" if self.tag in ("h1", "h2") else "bold")


class _Markdown(Markdown):
    """Markdown as our parser reads it."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "fence": _Code,
        "code_block": _Code,
        "heading_open": _Heading,
    }

    def __init__(self, source: str) -> None:
        # Links are written out, because the text of a link could hide where it leads.
        super().__init__("", hyperlinks=False)
        self.parsed = markdown_parser().parse(source)
        _prepare(self.parsed)


def _prepare(tokens: Iterable[Token]) -> None:
    """Keep the model's line breaks, turn formulas into text, and replace control characters."""
    for token in tokens:
        token.content = token.content.translate(CONTROLS)
        token.attrs = {
            name: value.translate(CONTROLS) if isinstance(value, str) else value for name, value in token.attrs.items()
        }
        if token.type == "softbreak":
            token.type = "hardbreak"
        elif token.type == FORMULA:
            token.type = "text"
        _prepare(token.children or ())


class Screen:
    """Renders to rows.

    Args:
        colours: of the terminal; "auto": what its environment variables say.
    """

    def __init__(self, colours: Literal["auto", "standard", "256", "truecolor"] = "auto") -> None:
        self._console = Console(
            file=StringIO(),
            force_terminal=True,
            color_system=colours,
            theme=_THEME,
            highlight=False,
            emoji=False,
            legacy_windows=False,
        )

    def markdown(self, source: str, columns: int) -> list[Row]:
        """The rows of a block of Markdown, without empty rows around it."""
        return self._rows(_Markdown(source.translate(CONTROLS)), columns)

    def dimmed(self, text: str, columns: int) -> list[Row]:
        """The rows of a plain text, dimmed and with words wrapped."""
        return self._rows(Text(text.translate(CONTROLS), style="dim"), columns)

    def _rows(self, thing: RenderableType, columns: int) -> list[Row]:
        self._console.width = max(columns, LEAST_COLUMNS)
        with self._console.capture() as captured:
            self._console.print(thing)
        rows = [_SPACES_AT_END.sub(r"\1", row) for row in captured.get().split("\n")]
        found = [Row(row, cell_len(_COLOURS.sub("", row))) for row in rows]
        while found and not found[-1].cells:
            found.pop()
        while found and not found[0].cells:
            del found[0]
        return found
