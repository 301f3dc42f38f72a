"""The pictures of the page in docs/chat-page.md.

`pytest tests/server/page/test_page_pictures.py --pictures docs/pictures` takes them again.

Their content comes from a script, so they stay the same.
"""

import pytest
from chat_page import FAKE_STREAM
from dictation import dictate
from page_tools import call

from qwen3cpu.server.page.tools import PageTools

SIZES = {
    "desktop": {"viewport": {"width": 1180, "height": 760}},
    "tall": {"viewport": {"width": 1180, "height": 820}},
    "phone": {"viewport": {"width": 390, "height": 780}, "is_mobile": True, "has_touch": True},
}
OTHERS = ("Rename files by date", "A week in Lisbon", "Regex for dates")
QUESTION = "How do I fit a line to a few points, and how good is the fit?"
ANSWER = """Least squares takes the line whose squared errors add up to the least. For $y = a + b x$ it has

\\[ b = \\frac{\\sum_i (x_i - \\bar x)(y_i - \\bar y)}{\\sum_i (x_i - \\bar x)^2}, \\qquad a = \\bar y - b\\,\\bar x \\]

```python
import numpy as np

x = np.array([1.0, 2.0, 3.0, 4.0])
y = np.array([2.1, 3.9, 6.2, 7.8])
b, a = np.polyfit(x, y, 1)  # slope and intercept
print(f"y = {a:.2f} + {b:.2f} x")
```

| measure | value | meaning |
|---|--:|---|
| slope $b$ | 1.94 | growth for each step of $x$ |
| intercept $a$ | 0.15 | where the line starts |
| $R^2$ | 0.998 | share of the variance that it explains |

- Look at the **residuals**: they should have no pattern.
- With few points, one outlier moves the line a lot.
"""


@pytest.fixture
def open_dressed(browser, open_page):
    """Opens a page in the size and the colours of a picture."""

    def start(server, size, scheme, script=""):
        context = browser.new_context(**SIZES[size], color_scheme=scheme, reduced_motion="reduce")
        context.set_default_timeout(0)
        page = open_page(server, context=context, script=script)
        page.contexts_end = context.close
        return page

    return start


def take(page, pictures, name):
    """Take a picture of the page from the start of the conversation. Nothing may be wider than the page."""
    page.locator("#log").evaluate("log => { log.scrollTop = 0; }")
    page.wait_for_timeout(300)
    page.evaluate("document.getElementById('to-end').hidden = true")
    width = page.evaluate("[document.documentElement.scrollWidth, innerWidth, log.scrollWidth - log.clientWidth]")
    assert (width[0], width[2]) == (width[1], 0)
    page.screenshot(path=pictures / name)
    page.contexts_end()


@pytest.mark.parametrize(
    ("name", "size", "scheme"),
    [
        ("page_desktop.png", "desktop", "light"),
        ("page_desktop_dark.png", "desktop", "dark"),
        ("page_phone.png", "phone", "light"),
        ("page_phone_dark.png", "phone", "dark"),
    ],
)
def test_a_conversation(serve, tiny, open_dressed, pictures, request, name, size, scheme):
    if name in ("page_desktop.png", "page_phone_dark.png") and request.config.getoption("--pictures") is None:
        pytest.skip("the other colours of this size are seen in every run, these with --pictures")
    page = open_dressed(serve(tiny, model_name="Qwen3-1.7B"), size, scheme, FAKE_STREAM)
    for title in OTHERS:
        page.evaluate("Object.assign(window.fake, { text: 'x' })")
        page.ask(title)
        page.open_list()
        page.click("#fresh")
    page.evaluate("text => Object.assign(window.fake, { text, wait: 2 })", ANSWER)
    page.ask(QUESTION)
    assert page.locator(".assistant :is(table, math, pre)").count() > 3
    if name == "page_desktop_dark.png":
        page.click("#open-settings")
    take(page, pictures, name)


def test_tools(serve, tiny, servers, open_dressed, pictures, monkeypatch):
    said = "17 + 25 is **42**. The next sum needs your word:"
    dictate(monkeypatch, tiny, call("add", a=17, b=25), said + call("add", a=42, b=58))
    server = serve(tiny, model_name="Qwen3-1.7B")
    server.app.state.page_tools = PageTools(servers, ask=True)
    page = open_dressed(server, "tall", "light")
    page.click("#think")
    page.send("What is 17 + 25, and what is that plus 58?")
    page.get_by_role("button", name="Allow", exact=True).click()
    page.click(".call summary")
    page.locator(".call-question:visible").nth(0).wait_for()
    page.locator(".call").nth(1).wait_for()
    page.locator(".assistant .block:not(.plain)", has_text="needs your word").wait_for()
    take(page, pictures, "page_tools.png")
