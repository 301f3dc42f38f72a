"""Access to the chat page: axe finds nothing, the keyboard suffices, a screen reader gets states only."""

import pytest
from chat_page import FAKE_STREAM
from dictation import dictate
from page_tools import call

from qwen3cpu.server.page.tools import PageTools

MARKDOWN = """## Heading

Some **bold** text with `code`, a [link](https://example.com) and $x^2 + \\frac{1}{y}$.

- one
- two

| name | value |
|------|------:|
| a    | 1     |

```python
class A(B):
    # a comment
    @property
    def f(self) -> int:
        return len("text") + 42
```

\\[ \\sum_{i=1}^n i = \\frac{n(n+1)}{2} \\]

> a quote
"""


def answered(page, text=MARKDOWN):
    page.evaluate("text => { window.fake.text = text; }", text)
    page.ask("Show me everything that you can write.")


@pytest.fixture
def violations():
    """Asks axe for the violations in the current state of a page."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed (extra [clients])")

    def check(page):
        found = axe.Axe().run(page.page).response["violations"]
        return [(each["id"], [node["target"] for node in each["nodes"]]) for each in found]

    return check


OTHER_FORMS = [pytest.param(*form, marks=pytest.mark.heavy) for form in (("dark", False), ("light", True))]


@pytest.mark.parametrize(("scheme", "phone"), [("light", False), ("dark", True), *OTHER_FORMS])
def test_axe_finds_nothing(server, open_page, violations, scheme, phone):
    page = open_page(
        server, phone=phone, script=FAKE_STREAM, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce"
    )
    assert violations(page) == []
    answered(page)
    page.button("Answer again").click()
    page.ended()
    assert violations(page) == []
    page.set_input_files("#attach-file", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"hello"})
    page.locator("#files .file-tokens", has_text="tokens").wait_for()
    page.set("format", "schema")
    assert violations(page) == []
    page.close_settings()
    page.open_list()
    page.locator("#list .item-tools .icon").last.click()
    page.get_by_role("button", name="Undo").wait_for()
    assert violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_calls_of_tools_are_accessible(serve, tiny, servers, open_page, violations, monkeypatch, scheme):
    calls = call("add", a=17, b=25) + call("fail", reason="no") + call("add", a=1, b=2)
    dictate(monkeypatch, tiny, calls)
    server = serve(tiny)
    server.app.state.page_tools = PageTools(servers, ask=True)
    page = open_page(server, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce")
    page.send("What is 17 + 25?")
    for number in range(2):
        page.locator(".call-question").nth(number).get_by_role("button", name="Allow", exact=True).press("Enter")
    page.locator(".call-question").nth(2).wait_for()
    for summary in page.locator(".call summary").all():
        summary.press("Enter")
    assert page.locator(".call[open]").count() == 3
    assert violations(page) == []


def test_an_error_and_a_key_are_accessible(server, open_page, violations):
    page = open_page(server, bypass_csp=True)
    page.set("temperature", "-1")
    page.close_settings()
    page.ask("hello")
    page.button("Edit and send again").click()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.evaluate("document.getElementById('key-dialog').showModal()")
    assert violations(page) == []


def test_the_keyboard_does_all(server, open_page):
    page = open_page(server, script=FAKE_STREAM)
    keyboard, name = (
        page.keyboard,
        "document.activeElement.getAttribute('aria-label') ?? document.activeElement.innerText",
    )
    assert page.evaluate("document.activeElement.id") == "prompt"
    page.evaluate("window.fake.text = 'the answer'")
    keyboard.type("a question")
    keyboard.press("Shift+Enter")
    keyboard.type("of two lines")
    keyboard.press("Enter")
    page.ended()
    assert page.questions() == ["a question\nof two lines"]
    # Backwards from the message box: the answer's buttons, then the question's.
    found = []
    for _ in range(5):
        keyboard.press("Shift+Tab")
        found.append(page.evaluate(name))
    assert found == ["Answer again", "Copy message", "Edit and send again", "Copy message", "Settings"]
    keyboard.press("Control+K")
    assert page.evaluate("document.activeElement.id") == "search"
    keyboard.press("Tab")
    assert page.evaluate(name) == "a question"
    keyboard.press("Tab")
    assert page.evaluate(name) == "Rename a question"
    keyboard.press("Enter")
    keyboard.type("renamed")
    keyboard.press("Enter")
    page.locator("#list .title", has_text="renamed").wait_for()
    keyboard.press("Control+Shift+O")
    assert page.locator(".turn").count() == 0
    assert page.evaluate("document.activeElement.id") == "prompt"
    page.focus("#open-settings")
    keyboard.press("Enter")
    assert page.evaluate(name) == "Close the settings"
    keyboard.press("Escape")
    assert page.locator("#settings").is_hidden()
    assert page.evaluate("document.activeElement.id") == "open-settings"


def test_a_phones_list_covers_the_page(server, open_page):
    page = open_page(server, phone=True)
    assert page.locator("#sidebar").is_hidden()
    page.open_list()
    assert page.evaluate("document.getElementById('column').inert")
    assert page.evaluate("document.activeElement.id") == "close-list"
    page.keyboard.press("Escape")
    assert page.locator("#sidebar").is_hidden()
    assert page.evaluate("document.activeElement.id") == "open-list"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing is cut off"
    page.set("seed", "1")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_screen_reader_hears_states_only(server, open_page):
    page = open_page(server, script=FAKE_STREAM)
    page.evaluate(
        """() => {
          window.heard = [];
          for (const live of document.querySelectorAll("[aria-live], [role=status], [role=alert], [role=log]")) {
            new MutationObserver(() => live.innerText && window.heard.push(live.innerText)).observe(live,
              { childList: true, characterData: true, subtree: true });
          }
          window.fake.wait = 5;
        }"""
    )
    answered(page, "word " * 200)
    assert page.locator(".assistant[aria-live], #log[aria-live], #turns[aria-live]").count() == 0
    assert page.evaluate("window.heard") == [
        "Answering",
        "The answer is complete, 250 tokens",
    ]


@pytest.mark.parametrize(("motion", "moves"), [("reduce", False), ("no-preference", True)])
def test_nothing_moves_when_the_system_asks_for_it(server, open_page, motion, moves):
    page = open_page(server, script=FAKE_STREAM, reduced_motion=motion)
    page.evaluate("() => { Object.assign(window.fake, { text: 'the answer', held: -1 }); }")
    page.send("hello")
    page.locator(".waiting").wait_for()
    assert page.evaluate("document.getAnimations().length > 0") == moves
    page.evaluate("() => { window.fake.held = 0; }")
    page.ended()


def test_copy(server, open_page):
    page = open_page(server, script=FAKE_STREAM, permissions=["clipboard-read", "clipboard-write"])
    answered(page)
    page.locator(".code").get_by_role("button", name="Copy code").click()
    assert page.evaluate("navigator.clipboard.readText()") == MARKDOWN.split("```")[1].removeprefix("python\n").rstrip(
        "\n"
    )
    page.button("Copy message").click()
    page.until("text => navigator.clipboard.readText().then((found) => found === text)", MARKDOWN)


def test_copy_without_https(server, open_page):
    """Without https there is no clipboard object."""
    script = FAKE_STREAM + "Object.defineProperty(navigator, 'clipboard', { value: undefined });"
    page = open_page(server, script=script)
    answered(page, "the answer")
    page.evaluate("document.addEventListener('copy', () => { window.copied = String(document.activeElement.value); })")
    page.button("Copy message").click()
    page.until("() => window.copied === 'the answer'")
    assert page.locator("textarea.unseen").count() == 0
