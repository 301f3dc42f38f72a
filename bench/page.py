"""Measure the chat page: the longest task on its thread while a long answer is written, and the times of rendering.

    python bench/page.py [--shape mixed] [--tokens 20000] [--per-second 200] [--json]

Runs Chromium without a window on the embedded model's server. The answer comes from a script in the page, with four
characters a token, so that only the page and the server's rendering are measured. Browsers call a task of more than 50
ms long, because the page does not react during it. Times are processor times of the thread. The longest task is also
given with its waits for a processor, which depend on other work on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import threading
from pathlib import Path
from time import perf_counter
from typing import Any

from playwright.sync_api import sync_playwright

import qwen3cpu
from qwen3cpu.server.app import make_app
from qwen3cpu.server.serve import HttpServer, listen
from qwen3cpu.server.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from chat_page import FAKE_STREAM, ChatPage
from long_answer import WATCH, long_answer

LONG = 50.0
"""Milliseconds."""
SHAPES: dict[str, tuple[str, str, str]] = {
    "code": ("```python\n", "def f{n}(x, y):  # adds {n}\n    return g(x, 'a{n}') + y * {n}\n\n", "```\n"),
    "list": ("", "- item **{n}** with `code` and $x_{n}$ in it, and some words more\n", ""),
    "table": ("| a | b | c |\n|---|---|---|\n", "| {n} | **x{n}** | some words `c{n}` |\n", ""),
    "paragraph": ("", "word {n} and *another* one, ", ""),
}
"""(beginning, part, end) of answers that are one block."""
EVENTS = 100
"""Most pieces of the answer in a second; each has as many tokens as the rate requires."""


def answer(shape: str, characters: int) -> str:
    """An answer of `characters` characters: "mixed", or one block of a shape."""
    if shape == "mixed":
        return long_answer(characters)
    begin, part, end = SHAPES[shape]
    parts = [part.replace("{n}", str(number)) for number in range(characters // len(part))]
    return begin + "".join(parts) + end


def measure(url: str, text: str, per_second: float) -> dict[str, Any]:
    """The page's figures for an answer at `per_second` tokens a second."""
    with sync_playwright() as running:
        chromium = os.environ.get("QWEN3CPU_CHROMIUM") or shutil.which("chromium")
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page()
        tab.set_default_timeout(0)
        tab.add_init_script(FAKE_STREAM)
        renderings: list[float] = []
        tab.on(
            "requestfinished",
            lambda asked: renderings.append(asked.timing["responseEnd"]) if "render" in asked.url else None,
        )
        tab.goto(url)
        tab.locator("body[data-ready]").wait_for()
        page = ChatPage(tab)
        pieces = max(1, round(per_second / EVENTS))
        fake = {"text": text, "pieces": pieces, "wait": 1000 * pieces / per_second}
        tab.evaluate("fake => Object.assign(window.fake, fake)", fake)
        began = perf_counter()
        page.send("a long answer")
        tab.locator(".assistant .block").first.wait_for()
        tab.evaluate(WATCH)
        browser.start_tracing(page=tab, categories=["toplevel"])
        page.ended()
        tasks = main_thread_tasks(json.loads(browser.stop_tracing()))
        seconds = perf_counter() - began
        seen = tab.evaluate("window.seen")
        browser.close()
    return {
        "tokens": len(text) // 4,
        "seconds": round(seconds, 1),
        "longest_task_ms": round(max(processor for _, processor in tasks)),
        "tasks_over_50_ms": sum(processor > LONG for _, processor in tasks),
        "longest_task_with_waits_ms": round(max(whole for whole, _ in tasks)),
        "blocks": seen["blocks"],
        "changes_of_earlier_blocks": len(seen["early"]),
        "renderings": len(renderings),
        "median_rendering_ms": round(sorted(renderings)[len(renderings) // 2], 1) if renderings else None,
    }


def main_thread_tasks(trace: dict[str, Any]) -> list[tuple[float, float]]:
    """(milliseconds, milliseconds on a processor) of each task of the page's main thread."""
    events = trace["traceEvents"]
    names = {(each["pid"], each["tid"]) for each in events if each.get("args", {}).get("name") == "CrRendererMain"}
    runs = [each for each in events if each.get("ph") == "X" and each["name"].endswith("RunTask")]
    runs = [each for each in runs if (each["pid"], each["tid"]) in names and "tdur" in each]
    return [(each["dur"] / 1000, each["tdur"] / 1000) for each in runs]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--shape", choices=["mixed", *SHAPES], default="mixed", help="of the answer: many blocks, or one"
    )
    parser.add_argument("--tokens", type=int, default=20_000, help="of the answer (default: %(default)s)")
    parser.add_argument("--per-second", type=float, default=200.0, help="tokens in a second (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    listener = listen("127.0.0.1", 0)
    app = make_app(qwen3cpu.load("tiny", threads=1), Settings(model_name="tiny", kv_bytes=1 << 28))
    server = HttpServer(app, grace=5)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        found = measure(
            f"http://127.0.0.1:{listener.getsockname()[1]}", answer(args.shape, 4 * args.tokens), args.per_second
        )
    finally:
        server.should_exit = True
        thread.join()
    if args.json:
        print(json.dumps(found, indent=1))
    else:
        for name, value in found.items():
            print(f"{name.replace('_', ' '):26} {value}")


if __name__ == "__main__":
    main()
