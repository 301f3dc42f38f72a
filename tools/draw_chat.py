"""Draws a conversation of `qwen3cpu chat` for the documentation, as tmux shows it.

    python tools/draw_chat.py    # writes docs/pictures/chat.svg

The answer is dictated (tests/support/dictated_chat.py), so the lines with its speed are left out.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
SUPPORT = ROOT / "tests" / "support"
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


def main() -> None:
    """Talk, and write the picture."""
    sys.path.insert(0, str(SUPPORT))
    from tmux import Tmux

    from qwen3cpu.cli.chat.multiline import HINT

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "answers.json").write_text(json.dumps([ANSWER]), "utf-8")
        chat = [SUPPORT / "dictated_chat.py", folder / "answers.json"]
        with Tmux(folder, *chat, columns=COLUMNS, lines=LINES) as terminal:
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
    picture = console.export_svg(title="qwen3cpu chat", unique_id="chat")
    # Its fonts would come from another site.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    picture = picture.replace("Fira Code", "DejaVu Sans Mono")
    picture = "\n".join(line.rstrip() for line in picture.split("\n"))
    (ROOT / "docs" / "pictures" / "chat.svg").write_text(picture, "utf-8")


if __name__ == "__main__":
    main()
