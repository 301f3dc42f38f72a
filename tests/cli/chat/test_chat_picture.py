"""The picture of the terminal chat in docs/chat.md.

`pytest tests/cli/chat/test_chat_picture.py --pictures docs/pictures` takes it again.

The answer is dictated, so the lines with its speed are left out.
"""

import copy
import io
import json
import re
from pathlib import Path

import pytest
from tmux import Tmux, needs_tmux

pytest.importorskip("prompt_toolkit", reason="the editor needs the extra [chat]")
pytestmark = needs_tmux
DICTATED = Path(__file__).parents[2] / "support" / "dictated_chat.py"
COLUMNS, LINES = 76, 60
QUESTION = "How do I list the largest files here?"
ANSWER = """<think>
The user wants the largest files. du and sort do that; a table of the options helps.
</think>

Let `du` measure and `sort` order:

```bash
du -ah . | sort -rh | head -n 10   # 最大的十个文件
```

| option | does |
|:-------|:-----|
| `-a` | counts files, not only folders |
| `-h` | writes 1.5G in place of 1572864 |
| `-r` | the largest first 🐘 |

1. Run it in the folder that is full.
2. Look at the names **before** you delete anything.
"""


def for_light_and_dark(light: str, dark: str) -> str:
    """The light picture, with the colours of the dark one for readers who prefer dark."""
    rule, ground, title = r"\.chat-r\d+ \{.*?\}", r'<rect fill="(#\w+)"', r'class="chat-title" fill="(#\w+)"'
    assert re.sub(r"#\w{6}", "", "".join(re.findall(rule, light))) == re.sub(
        r"#\w{6}", "", "".join(re.findall(rule, dark))
    )
    colours = [*re.findall(rule, dark), f".chat-ground {{ fill: {re.search(ground, dark)[1]} }}"]
    colours.append(f".chat-title {{ fill: {re.search(title, dark)[1]} }}")
    style = "@media (prefers-color-scheme: dark) {\n" + "\n".join(colours) + "\n}\n    </style>"
    light = light.replace("</style>", style, 1)
    return re.sub(ground, r'<rect class="chat-ground" fill="\1"', light, count=1)


def test_a_conversation(tmp_path, pictures):
    from rich.color_triplet import ColorTriplet
    from rich.console import Console
    from rich.terminal_theme import DEFAULT_TERMINAL_THEME, SVG_EXPORT_THEME
    from rich.text import Text

    from qwen3cpu.cli.chat.multiline import HINT

    (tmp_path / "answers.json").write_text(json.dumps([ANSWER]), "utf-8")
    with Tmux(tmp_path, DICTATED, tmp_path / "answers.json", columns=COLUMNS, lines=LINES) as terminal:
        terminal.wait_for(HINT)
        terminal.type(QUESTION, "Enter")
        terminal.wait_for("answer ")
        terminal.wait_for(HINT)
        terminal.type("/thnik off", "Enter")
        terminal.wait_for("did you mean")
        terminal.type("/th")
        terminal.wait_for("whether to think")
        rows = terminal.rows(colours=True)
    shown = [row for row in rows if not re.match(r"(\x1b\[[0-9;]*m)*prompt \d", row)]
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi("\n".join(shown)))
    light = copy.copy(DEFAULT_TERMINAL_THEME)
    light.foreground_color = ColorTriplet(34, 34, 34)  # pure black is one of the 16 colours on the picture
    picture = for_light_and_dark(
        console.export_svg(title="qwen3cpu chat", unique_id="chat", theme=light, clear=False),
        console.export_svg(title="qwen3cpu chat", unique_id="chat", theme=SVG_EXPORT_THEME),
    )
    # Remove its fonts, which would be loaded from another site.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL).replace("Fira Code", "DejaVu Sans Mono")
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "").replace("https://www.textualize.io", "")
    (pictures / "chat.svg").write_text("\n".join(line.rstrip() for line in picture.split("\n")), "utf-8")
