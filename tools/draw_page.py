"""Takes the pictures of the chat page in docs/pictures: desktop and phone, light and dark.

    python tools/draw_page.py [FOLDER]

Needs Chromium and the extras server and clients. What is on the pictures comes from a script, so they stay the same.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

import qwen3cpu
from qwen3cpu.server.app import make_app
from qwen3cpu.server.serve import HttpServer, listen
from qwen3cpu.server.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from chat_page import FAKE_STREAM, ChatPage  # noqa: E402

DESKTOP = {"viewport": {"width": 1180, "height": 760}}
PHONE = {"viewport": {"width": 390, "height": 780}, "is_mobile": True, "has_touch": True}
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


def draw(browser: Browser, url: str, name: str, folder: Path, *, dark: bool, phone: bool, settings: bool) -> None:
    """Take one picture."""
    scheme = "dark" if dark else "light"
    context = browser.new_context(**(PHONE if phone else DESKTOP), color_scheme=scheme, reduced_motion="reduce")
    tab = context.new_page()
    tab.set_default_timeout(0)
    tab.add_init_script(FAKE_STREAM)
    tab.goto(url)
    tab.locator("body[data-ready]").wait_for()
    page = ChatPage(tab)
    for title in OTHERS:
        tab.evaluate("Object.assign(window.fake, { text: 'x' })")
        page.ask(title)
        page.open_list()
        tab.click("#fresh")
    tab.evaluate("text => Object.assign(window.fake, { text, wait: 2 })", ANSWER)
    page.ask(QUESTION)
    if settings:
        tab.click("#open-settings")
    tab.locator("#log").evaluate("log => { log.scrollTop = 0; }")
    tab.wait_for_timeout(300)
    tab.evaluate("document.getElementById('to-end').hidden = true")
    tab.screenshot(path=folder / name)
    context.close()


def main() -> None:
    """Take all pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    listener = listen("127.0.0.1", 0)
    app = make_app(qwen3cpu.load("tiny", threads=1), Settings(model_name="Qwen3-1.7B", kv_bytes=1 << 28))
    server = HttpServer(app, grace=5)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        with sync_playwright() as running:
            chromium = os.environ.get("QWEN3CPU_CHROMIUM") or shutil.which("chromium")
            browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            draw(browser, url, "page_desktop.png", folder, dark=False, phone=False, settings=False)
            draw(browser, url, "page_desktop_dark.png", folder, dark=True, phone=False, settings=True)
            draw(browser, url, "page_phone.png", folder, dark=False, phone=True, settings=False)
            draw(browser, url, "page_phone_dark.png", folder, dark=True, phone=True, settings=False)
            browser.close()
    finally:
        server.should_exit = True
        thread.join()


if __name__ == "__main__":
    main()
