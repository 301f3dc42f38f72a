"""`qwen3cpu chat` as a user sees it, on a terminal that tmux emulates."""

import json
from pathlib import Path

import pytest
from dictated_chat import PAUSE
from scripted_models import script, write_scripted
from tmux import Tmux, needs_tmux

pytest.importorskip("prompt_toolkit", reason="the editor needs the extra [chat]")
pytestmark = needs_tmux
DICTATED = Path(__file__).parents[2] / "support" / "dictated_chat.py"
ANSWER = f"""<think>
Hm, let me see.
</think>

# Ein Titel

The quick brown fox jumps over the lazy dog, again and again, until it is tired.{PAUSE}

| name | 数 |
|---|--:|
| 猫 🐈 | 1 |
| dog | 22 |

```python
def f(x):
    return x  # 你好
```

1. eins
2. zwei 🎉

The end."""
AT_40 = """Ein Titel

The quick brown fox jumps over the lazy
dog, again and again, until it is tired.

"""


def dictated(folder, answers, *flags, **options):
    """A terminal with a chat whose answers are these."""
    file = folder / "answers.json"
    file.write_text(json.dumps(answers), "utf-8")
    return Tmux(folder, DICTATED, file, *flags, **options)


def shown(rows, first):
    """The rows from the one that begins with a text."""
    return rows[next(number for number, row in enumerate(rows) if row.startswith(first)) :]


def test_an_answer_while_the_terminal_becomes_narrow(tmp_path):
    with dictated(tmp_path, [ANSWER], columns=100, lines=30) as terminal:
        terminal.wait_for("> ")
        terminal.type("hello", "Enter")
        rows = terminal.wait_for("until it is tired.")
        assert "The quick brown fox jumps over the lazy dog, again and again, until it is tired." in rows
        terminal.resize(40, 30)
        (tmp_path / "answers.json.go").touch()
        rows = terminal.wait_for("answer ")
        terminal.wait_for("> ", times=2)
        found = shown(rows, "Ein Titel")
        text = "\n".join(found)
        assert text.startswith(AT_40)
        assert text.count("The quick") == text.count("Ein Titel") == 1
        assert [row for row in found if "猫" in row] == [" 猫 🐈   1"]
        assert [row for row in found if "dog  " in row] == [" dog    22"]
        assert "  def f(x):\n      return x  # 你好\n\n 1 eins\n 2 zwei 🎉\n\nThe end.\n" in text
        assert "Hm, let me see." not in text
        assert any(row.startswith("Thought for ") for row in rows)
        colours = "\n".join(terminal.rows(colours=True))
        assert "\x1b[2mThought for" in colours
        terminal.type("C-d")
        assert terminal.status == 0


def test_keys_of_the_editor(tmp_path):
    with dictated(tmp_path, [f"{PAUSE}One.", "Two.", "Three."], "--thinking", "off", columns=40, lines=40) as terminal:
        terminal.wait_for("> ")
        terminal.paste("a\nb\nc\nd\ne")
        terminal.type("Enter")
        terminal.wait_for("> a\n. b\n. c\n. d\n. e")
        # Text that is typed and pasted during the answer is one message for the next prompt, and is not shown in the
        # answer.
        terminal.paste("x\ny")
        (tmp_path / "answers.json.go").touch()
        rows = terminal.wait_for("> x")
        assert "One." in rows
        assert not any(row.startswith("x") for row in rows)
        terminal.type("M-Enter", "z", "Enter")
        terminal.wait_for("Two.")
        terminal.type("/exp")
        terminal.wait_for(" /export  write the conv")
        terminal.type("Tab")
        terminal.wait_for("> /export")
        terminal.type("C-c", "/think of")
        terminal.wait_until(lambda rows: rows[-1].strip() == "off")
        terminal.type("Tab")
        terminal.wait_for("> /think off")
        terminal.type("Enter")
        terminal.wait_for("thinking: off")
        terminal.type(f"/export {tmp_path}/kept.json", "Enter")
        terminal.wait_for("wrote 4 messages")
        messages = json.loads((tmp_path / "kept.json").read_text())["messages"]
        assert [message["content"] for message in messages] == ["a\nb\nc\nd\ne", "One.", "x\ny\nz", "Two."]
        terminal.type("/thnik", "Enter")
        rows = terminal.wait_for("/think?")
        assert rows[rows.index("> /thnik") + 1 :][:2] == ["unknown command /thnik; did you mean", "/think?"]
        terminal.type("/?", "Enter")
        rows = terminal.wait_for("an answer.")
        assert "  /think on|off|auto\n    whether to think before an answer\n" in "\n".join(rows)
        terminal.type("Up", "Up", "Up", "Up")
        terminal.wait_for("> /think off", times=2)
        terminal.type("C-c", "/bye", "Enter")
        assert terminal.status == 0


def test_ctrl_c_in_an_answer_keeps_the_conversation(tmp_path, tmp_path_factory):
    folder = write_scripted(
        tmp_path_factory.mktemp("endless"), script(["\n", "A", "B", " ", "A"]), max_position_embeddings=1 << 20
    )
    with Tmux(tmp_path, "-m", "qwen3cpu", "chat", "-m", folder, "--temp", "0", columns=40, lines=10) as terminal:
        terminal.wait_for("> ")
        for times in (1, 2):
            terminal.type("hello", "Enter")
            terminal.wait_for("> hello\n", times=times)  # otherwise the last answer would still be the previous one
            terminal.wait_until(lambda rows: "AB AB" in "\n".join(rows).rpartition("> hello\n")[2])
            terminal.type("C-c")
            rows = terminal.wait_for("stopped; Ctrl-C again", times=times)
        full = "AB " * 12 + "AB"
        said = [row for row in rows if row.startswith("AB")]
        assert full in said
        assert [row for row in said if not f"{full} A".startswith(row.rstrip())] == []
        terminal.type("/tokens", "Enter")
        terminal.wait_for("positions in use")
        terminal.type("C-d")
        assert terminal.status == 0
