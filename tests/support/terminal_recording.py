"""What happened on a terminal as an SVG that moves: light and dark, without scripts, still for who wants no motion."""

import copy
import io
import re
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree

from rich.color_triplet import ColorTriplet
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, SVG_EXPORT_THEME, TerminalTheme
from rich.text import Text

NAMESPACE = ' xmlns="http://www.w3.org/2000/svg"'
ROW = 24.4
"""Height of a row in the pictures of rich."""


class Frame(NamedTuple):
    """What is shown for a time.

    Args:
        seconds: how long.
        rows: from the top, with the escape sequences of their colours.
    """

    seconds: float
    rows: list[str]


def recording(frames: Sequence[Frame], columns: int, title: str) -> str:
    """The SVG. Its frames lie below each other like those of a film, which is pulled up behind the window.

    Each different row is drawn once, and frames refer to it. Without animations the last frame is seen.
    """
    drawn = list(dict.fromkeys(row for frame in frames for row in frame.rows))
    numbers = {row: at for at, row in enumerate(drawn)}
    light = copy.copy(DEFAULT_TERMINAL_THEME)
    light.foreground_color = ColorTriplet(34, 34, 34)  # black is a colour of its own on the picture
    picture = for_light_and_dark(*(rendered(drawn, columns, title, theme) for theme in (light, SVG_EXPORT_THEME)))
    height = max(len(frame.rows) for frame in frames)
    root = ElementTree.fromstring(picture.replace(NAMESPACE, "", 1))  # so that its pieces are written without it
    pieces: list[list[str]] = [[] for _ in drawn]
    for each in [*root.iter("rect"), *root.iter("text")]:
        at, is_text = float(each.get("y", 0)), each.tag == "text"
        if each.get("class") in ("chat-ground", "chat-title") or not (each.get("class") or each.get("shape-rendering")):
            continue
        row = round((at - (20 if is_text else 1.5)) / ROW)
        if is_text and not (each.text or "").strip("\n"):
            continue
        each.attrib.pop("clip-path", None)
        each.set("y", f"{at - row * ROW:g}")
        each.tail = None
        pieces[row].append(ElementTree.tostring(each, "unicode"))
    rows = [f'<g id="row{at}">{"".join(piece)}</g>' for at, piece in enumerate(pieces)]
    film = [
        f'<use href="#row{numbers[row]}" y="{(number * height + at) * ROW:g}"/>'
        for number, frame in enumerate(frames)
        for at, row in enumerate(frame.rows)
        if pieces[numbers[row]]
    ]
    less = (len(drawn) - height) * ROW
    head, _, rest = picture.partition("<defs>")
    head = re.sub(
        r'viewBox="0 0 (\d+) ([\d.]+)"', lambda found: f'viewBox="0 0 {found[1]} {float(found[2]) - less:g}"', head
    )
    head = head.replace("</style>", moving(frames, height) + "    </style>")
    chrome = rest[rest.index('<rect class="chat-ground"') : rest.index('<g transform="translate(9, 41)"')]
    chrome = re.sub(
        r'(class="chat-ground".*? height=)"([\d.]+)"', lambda found: f'{found[1]}"{float(found[2]) - less:g}"', chrome
    )
    window = (
        f'<clipPath id="window"><rect x="0" y="0" width="{columns * 12.2:g}" height="{height * ROW:g}"/></clipPath>'
    )
    return "\n".join(
        [
            f"{head}<defs>{window}",
            *rows,
            f"</defs>{chrome.rstrip()}",
            '<g transform="translate(9, 41)" clip-path="url(#window)"><g class="chat-matrix"><g class="film">',
            *film,
            "</g></g></g></svg>\n",
        ]
    )


def rendered(rows: Sequence[str], columns: int, title: str, theme: TerminalTheme) -> str:
    """What rich draws of rows, without the fonts, which would come from another site."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi("\n".join(rows)), no_wrap=True, overflow="ignore", crop=False)
    picture = console.export_svg(title=title, unique_id="chat", theme=theme)
    return re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL).replace("Fira Code", "DejaVu Sans Mono")


def for_light_and_dark(light: str, dark: str) -> str:
    """The light picture, which takes the colours of the dark one where the reader prefers dark."""
    rule, ground, title = r"\.chat-r\d+ \{.*?\}", r'<rect fill="(#\w+)"', r'class="chat-title" fill="(#\w+)"'
    bare = [re.sub(r"#\w{6}", "", "".join(re.findall(rule, each))) for each in (light, dark)]
    assert bare[0] == bare[1]
    found = [re.search(pattern, dark) for pattern in (ground, title)]
    assert all(found)
    colours = [
        *re.findall(rule, dark),
        *(f".chat-{name} {{ fill: {each[1]} }}" for name, each in zip(("ground", "title"), found, strict=True) if each),
    ]
    style = "@media (prefers-color-scheme: dark) {\n" + "\n".join(colours) + "\n}\n    </style>"
    light = light.replace("</style>", style, 1)
    light = light.replace('stroke="rgba(255,255,255,0.35)"', 'stroke="rgba(128,128,128,0.5)"', 1)  # seen on both
    return re.sub(ground, r'<rect class="chat-ground" fill="\1"', light, count=1)


def moving(frames: Sequence[Frame], height: int) -> str:
    """The rules that pull the film up, frame by frame."""
    whole = sum(frame.seconds for frame in frames)
    stops, passed = [], 0.0
    for number, frame in enumerate(frames):
        stops.append(f"{100 * passed / whole:.2f}% {{ transform: translateY({-number * height * ROW:g}px) }}")
        passed += frame.seconds
    last = f"translateY({-(len(frames) - 1) * height * ROW:g}px)"
    return "\n".join(
        [
            f".film {{ transform: {last}; animation: film {whole:g}s step-end infinite }}",
            "@keyframes film {",
            *stops,
            f"100% {{ transform: {last} }}",
            "}",
            "@media (prefers-reduced-motion: reduce) { .film { animation: none } }\n",
        ]
    )
