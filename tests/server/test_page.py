"""The chat page, in a real browser (Debian's Chromium through Playwright). Skipped where either is missing."""

import os
import re
import shutil
import threading
from pathlib import Path

import pytest
from scripted_models import script, write_scripted

import qwen3cpu

PAGE = Path(qwen3cpu.__file__).parent / "server" / "page.html"


def test_the_page_asks_nobody_else(server):
    text = PAGE.read_text(encoding="utf-8")
    assert not re.search(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]", text), "an address of somewhere else"
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser", "srcdoc"):
        assert sink not in text
    response = server.http.get("/")
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [clients])")
    chromium = os.environ.get("QWEN3CPU_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, timeout=0, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens the page of a server; at the end nothing must have gone wrong in it, and nobody else been asked."""
    contexts, problems = [], []

    def start(server, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(0)  # however slow the machine
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if "Content Security" in line.text else None)
        page.on("request", lambda asked: None if asked.url.startswith(server.url) else problems.append(asked.url))
        page.goto(server.url)
        page.locator("#model", has_text="tokens").wait_for()
        return page

    yield start
    for context in contexts:
        context.close()
    assert [each for each in problems if not each.startswith("data:")] == []


def ask(page, text):
    page.fill("#prompt", text)
    page.press("#prompt", "Enter")


def wait_for_the_end(page):
    page.locator("#send", has_text="Send").wait_for()


def set_option(page, name, value):
    if page.locator("#settings").is_hidden():
        page.click("#toggle")
    page.fill(f"#{name}", value)
    page.locator(f"#{name}").dispatch_event("change")


def test_a_conversation(server, tiny, open_page, tmp_path):
    page = open_page(server, color_scheme="light")
    assert page.inner_text("#model") == "tiny · q4 · 4,096 tokens"
    set_option(page, "seed", "1")
    ask(page, "What is 17 + 25?")
    wait_for_the_end(page)
    expected = tiny.generate("What is 17 + 25?", seed=1)
    assert page.inner_text(".assistant .body") == expected.text
    assert page.locator("details.thinking").get_attribute("open") is None, "thinking is folded"
    page.click("details.thinking summary")
    assert page.inner_text("details.thinking .text") == expected.reasoning
    foot = page.inner_text(".assistant .foot")
    assert f"{expected.usage.completion_tokens} tokens" in foot
    ask(page, "What is 5 + 5?")
    wait_for_the_end(page)
    history = [
        {"role": "user", "content": "What is 17 + 25?"},
        {"role": "assistant", "content": expected.text},
        {"role": "user", "content": "What is 5 + 5?"},
    ]
    assert page.locator(".assistant .body").last.inner_text() == tiny.generate(history, seed=1).text
    shot = Path(os.environ.get("QWEN3CPU_SCREENSHOTS", tmp_path))
    page.screenshot(path=shot / "page-light.png")
    page.click("#fresh")
    assert page.locator(".turn").count() == 0


def test_without_thinking_and_with_a_limit(server, tiny, open_page):
    page = open_page(server)
    set_option(page, "seed", "1")
    page.uncheck("#thinking")
    ask(page, "What is 17 + 25?")
    wait_for_the_end(page)
    assert page.inner_text(".assistant .body") == tiny.generate("What is 17 + 25?", seed=1, thinking=False).text
    assert page.locator("details.thinking").is_hidden()
    set_option(page, "max_tokens", "2")
    ask(page, "What is 17 + 25?")
    wait_for_the_end(page)
    assert "cut off by a limit" in page.locator(".foot").last.inner_text()


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    """Says "ABABAB" for ever."""
    folder = write_scripted(
        tmp_path_factory.mktemp("endless"), script(["\n", "A", "B", "A"]), max_position_embeddings=1 << 20
    )
    return qwen3cpu.load(folder, quant="f32", threads=1)


def test_stop(serve, endless, open_page):
    server = serve(endless, kv_bytes=1 << 40)
    advance, clock = server.scheduler._batch.advance, threading.Event()
    server.scheduler._batch.advance = lambda: clock.wait(0.02) or advance()  # as fast as a large model
    page = open_page(server)
    ask(page, "go on")
    page.locator(".assistant .body", has_text="ABABABABAB").wait_for()
    assert page.inner_text("#send") == "Stop"
    page.click("#send")
    wait_for_the_end(page)
    assert "stopped" in page.inner_text(".foot")
    assert re.search(r"[\d.]+ tok/s", page.inner_text(".foot"))
    while server.scheduler.running:
        server.http.get("/health")
    assert server.scheduler.stats.jobs["cancelled"] == 1


def test_an_error_is_shown(server, open_page):
    page = open_page(server)
    set_option(page, "temperature", "-1")
    ask(page, "What is 1 + 1?")
    wait_for_the_end(page)
    assert "temperature must be" in page.inner_text(".error")


def test_a_key(serve, tiny, browser):
    server = serve(tiny, api_key="s3cret")
    page = browser.new_page()
    page.set_default_timeout(0)
    page.goto(server.url)
    page.locator("#model", has_text="API key").wait_for()
    set_option(page, "key", "s3cret")
    page.locator("#model", has_text="tiny").wait_for()
    ask(page, "What is 1 + 1?")
    wait_for_the_end(page)
    assert page.locator(".error").count() == 0
    page.close()


MARKDOWN = """# Title <img src=x onerror=alert(1)>
Some **bold**, *slanted* and `code <b>`:

- one
- two <script>alert(2)</script>

3. three
4. four

> said

```python
print("<i>hi</i>")
# no heading
```
[link](javascript:alert(3)) the end"""


def test_markdown_is_rendered_and_markup_is_text(server, open_page, tmp_path):
    page = open_page(server, color_scheme="dark")
    page.evaluate(
        """text => {
          const answer = new Answer();
          document.getElementById("empty").hidden = true;
          document.getElementById("log").append(answer.turn);
          for (const character of text) answer.add({choices: [{delta: {content: character}}]});
          answer.add({choices: [{delta: {reasoning_content: "<b>hm</b>"}}]});
          answer.tell(true);
        }""",
        MARKDOWN,
    )
    body = page.locator(".assistant .body")
    assert body.locator("h2").inner_text() == "Title <img src=x onerror=alert(1)>"
    assert [body.locator(tag).inner_text() for tag in ("strong", "em", "p code")] == ["bold", "slanted", "code <b>"]
    assert body.locator("ul li").all_inner_texts() == ["one", "two <script>alert(2)</script>"]
    assert body.locator("ol").get_attribute("start") == "3"
    assert body.locator("pre code").inner_text() == 'print("<i>hi</i>")\n# no heading'
    assert body.locator("blockquote").inner_text() == "said"
    assert body.locator("img, script, a, b, i").count() == 0
    assert page.locator("details.thinking .text").text_content() == "<b>hm</b>"
    page.screenshot(path=Path(os.environ.get("QWEN3CPU_SCREENSHOTS", tmp_path)) / "page-dark.png")
