"""Files that go with a message, in a real browser."""

import pytest
from small_pdf import pdf

CODE = "def f(x):\n    return x + 1\n"


def add(page, name, data):
    page.set_input_files("#attach-file", {"name": name, "mimeType": "application/octet-stream", "buffer": data})


def test_text_code_and_pdf(server, open_page):
    page = open_page(server, phone=True)
    page.click("#think")
    add(page, "f.py", CODE.encode())
    count = server.ok("/tokenize", prompt=CODE)["count"]
    page.locator("#files .file-tokens", has_text=f"{count} tokens").wait_for()
    add(page, "paper.pdf", pdf(["the first page", "the second"]))
    page.locator("#files .file", has_text="paper.pdf").locator(".file-tokens", has_text="tokens").wait_for()
    add(page, "gone.txt", b"gone")
    page.locator("#files .file-tokens").nth(2).wait_for()
    page.button("Remove gone.txt").click()
    page.ask("What is this?")
    assert page.locator("#files").is_hidden()
    assert page.locator(".user .file-name").all_inner_texts() == ["f.py", "paper.pdf"]
    (kept,) = page.stored()
    (message,) = (node for node in kept["nodes"].values() if node["role"] == "user")
    assert [(file["name"], file["text"]) for file in message["files"]] == [
        ("f.py", CODE),
        ("paper.pdf", "the first page\n\nthe second"),
    ]


def test_what_the_model_gets(server, open_page):
    page = open_page(server)
    sent = []
    page.on("request", lambda asked: sent.append(asked.post_data_json) if "completions" in asked.url else None)
    add(page, "a.md", b"has ``` in it\r\n")
    page.locator("#files .file-tokens", has_text="tokens").wait_for()
    page.ask("hello")
    assert sent[0]["messages"] == [{"role": "user", "content": "a.md:\n````\nhas ``` in it\n\n````\n\nhello"}]


@pytest.mark.parametrize("way", ["paste", "drop"])
def test_files_that_are_pasted_or_dropped(server, open_page, way):
    page = open_page(server)
    page.evaluate(
        """(way) => {
          const data = new DataTransfer();
          data.items.add(new File(["hello"], "dropped.txt"));
          const event = way === "drop" ? new DragEvent("drop", { dataTransfer: data, bubbles: true })
            : new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
          document.getElementById("prompt").dispatchEvent(event);
        }""",
        way,
    )
    page.locator("#files .file", has_text="dropped.txt").locator(".file-tokens", has_text="tokens").wait_for()
    page.ask("")
    assert page.locator(".user .file-name").all_inner_texts() == ["dropped.txt"], "a file is a message"


def test_what_is_refused(server, open_page):
    page = open_page(server)
    for name, data, expected in (
        ("a.png", b"\x89PNG\r\n\x1a\n\0\0", "expected text"),
        ("b.txt", b"a\0b", "found a binary file"),
        ("c.pdf", b"%PDF-1.7 broken", "pypdf cannot read it"),
        ("d.txt", b"x" * ((4 << 20) + 1), "larger than 4 MB"),
    ):
        add(page, name, data)
        page.locator("#toast", has_text=expected).wait_for()
        assert page.inner_text("#toast").startswith(name)
    assert page.locator("#files li").count() == 0
