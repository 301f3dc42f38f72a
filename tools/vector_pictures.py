"""The parts of the SVG pictures in the documentation. Each picture has colours for light and for dark."""

from __future__ import annotations

from html import escape

STYLE = """<style>
.ground { fill: #fff } .ink { fill: #222 } .faint { fill: #666 } .line { stroke: #8a8a8a } .grid { stroke: #ddd }
.ours { fill: #1f5fa8 } .theirs { fill: #b35900 } .soft { fill: #9fc0e4 } .arrow { stroke: #555 }
.floor0 { fill: #f3e8d8 } .floor1 { fill: #e9eed9 } .floor2 { fill: #dcebe3 } .floor3 { fill: #d9e6ee }
.floor4 { fill: #dedff0 } .floor5 { fill: #eadfee } .floor6 { fill: #f1dfe4 }
@media (prefers-color-scheme: dark) {
.ground { fill: #1e2129 } .ink { fill: #e6e6e6 } .faint { fill: #a8adb8 } .line { stroke: #777 }
.grid { stroke: #3a3f4b }
.ours { fill: #6ea8ea } .theirs { fill: #e8964a } .soft { fill: #3d618c } .arrow { stroke: #aaa }
.floor0 { fill: #4a3f2c } .floor1 { fill: #3c4429 } .floor2 { fill: #2b4438 } .floor3 { fill: #2a3f4d }
.floor4 { fill: #363854 } .floor5 { fill: #473550 } .floor6 { fill: #4f343d }
}
</style>"""
FLOORS = 7
"""The number of colours for the boxes of floors."""


def svg(width: int, height: int, title: str, parts: list[str]) -> str:
    """A whole picture."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" font-family="Helvetica, Arial, sans-serif" font-size="13" role="img">',
            f"<title>{escape(title)}</title>",
            STYLE,
            f'<rect width="{width}" height="{height}" class="ground"/>',
            *parts,
            "</svg>\n",
        ]
    )


def box(x: float, y: float, width: float, height: float, kind: str) -> str:
    """A rounded rectangle with a border."""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" class="{kind} line"/>'


def bar(x: float, y: float, width: float, height: float, kind: str) -> str:
    """A bar of a chart."""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:.4g}" height="{height:g}" class="{kind}"/>'


def line(x: float, y: float, to_x: float, to_y: float, kind: str = "grid") -> str:
    """A straight line."""
    return f'<path d="M{x:.4g} {y:.4g}L{to_x:.4g} {to_y:.4g}" class="{kind}" fill="none"/>'


def text(x: float, y: float, words: str, *, bold: bool = False, anchor: str = "start", kind: str = "ink") -> str:
    """One line of text."""
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.4g}" y="{y:.4g}" text-anchor="{anchor}" class="{kind}"{weight}>{escape(words)}</text>'
