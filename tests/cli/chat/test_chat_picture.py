"""The recording of the terminal chat in README.md and docs/chat.md.

`pytest tests/cli/chat/test_chat_picture.py --pictures docs/pictures` takes it again.

The answer is dictated, so the lines with its speed are left out.
"""

import json
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from dictated_chat import PAUSE
from tmux import Tmux, needs_tmux

pytest.importorskip("prompt_toolkit", reason="the editor needs the extra [chat]")
pytestmark = needs_tmux
DICTATED = Path(__file__).parents[2] / "support" / "dictated_chat.py"
COLUMNS, LINES = 76, 60
QUESTION = "How do I list the largest files here?"
ANSWER = """<think>
The user wants the largest files. du and sort do that; ‖a table of the options helps.
</think>

Let `du` measure ‖and `sort` order:

```bash
du -ah . |‖ sort -rh | head -n 10   # 最大的十个文件
```

| option | does |
|:-------|:-----|
| `-a` | counts files, ‖not only folders |
| `-h` | writes 1.5G ‖instead of 1572864 |
| `-r` | the largest first 🐘 |

1. Run it in the folder that is full.
2. Look at the names ‖**before** you delete anything.
"""


def test_a_conversation(tmp_path, pictures):
    from terminal_recording import Frame, recording

    from qwen3cpu.cli.chat.multiline import HINT

    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps([ANSWER.replace("‖", PAUSE)]), "utf-8")
    frames = []
    with Tmux(tmp_path, DICTATED, answers, columns=COLUMNS, lines=LINES) as terminal:

        def show(seconds):
            rows = terminal.rows(colours=True)
            frames.append(Frame(seconds, [row for row in rows if not re.match(r"(\x1b\[[0-9;]*m)*prompt \d", row)]))

        def typed(text, hint):
            """Show a text as it is typed."""
            for at in range(0, len(text), 3):
                terminal.type("-l", text[at : at + 3])
                terminal.wait_for(hint + text[: at + 3].rstrip())
                show(0.15)

        terminal.wait_for(HINT)
        show(1.0)
        typed(QUESTION, "> ")
        terminal.type("Enter")
        for said in ("Thinking", "Let du measure", "du -ah", "counts files", "writes 1.5G", "the names"):
            terminal.wait_for(said)
            show(0.7)
            answers.with_suffix(".json.go").touch()
        terminal.wait_for("answer ")
        terminal.wait_for(HINT)
        show(2.5)
        typed("/thnik off", "> ")
        terminal.type("Enter")
        terminal.wait_for("did you mean")
        show(2.0)
        terminal.type("/th")
        terminal.wait_for("whether to think")
        show(4.0)
    assert all(before.rows != after.rows for before, after in pairwise(frames))
    picture = recording(frames, COLUMNS, "qwen3cpu chat")
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "").replace("https://www.textualize.io", "")
    root = ElementTree.fromstring(picture)
    assert len(re.findall(r"% \{ transform", picture)) == len(frames) + 1
    drawn = {each.get("id") for each in root.iter("{http://www.w3.org/2000/svg}g")}
    used = [each.get("href", "").removeprefix("#") for each in root.iter("{http://www.w3.org/2000/svg}use")]
    assert set(used) <= drawn
    assert "whether" in "".join(root.itertext())
    (pictures / "chat.svg").write_text("\n".join(line.rstrip() for line in picture.split("\n")), "utf-8")
