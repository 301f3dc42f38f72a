"""Fixtures that the tests of the chat page share: a browser, and pages in which no error may occur."""

import os
import shutil
import threading

import pytest
from chat_page import ENDLESS, ChatPage
from page_tools import things
from scripted_models import script, write_scripted

import qwen3cpu

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window. While it runs, nothing else can run an event loop in the thread of the tests."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [clients])")
    chromium = os.environ.get("QWEN3CPU_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, timeout=0, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, endless_servers):
    """Opens the page of a server. At the end, it must have had no errors and no requests to other servers."""
    contexts, problems = [], []

    def start(server, *, phone=False, script="", context=None, path="/", **options):
        if context is None:
            context = browser.new_context(**(PHONE if phone else {}), **options)
            contexts.append(context)
            context.set_default_timeout(0)  # however slow the machine
        page = context.new_page()
        page.add_init_script(script + (ENDLESS if server in endless_servers else ""))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if "Content Security" in line.text else None)
        page.on("dialog", lambda dialog: (problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        own = (server.url, "data:", "blob:")
        page.on("request", lambda asked: None if asked.url.startswith(own) else problems.append(asked.url))
        page.goto(server.url + path)
        page.locator("body[data-ready]").wait_for()
        return ChatPage(page)

    start.problems = problems
    yield start
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture(scope="session")
def endless(tmp_path_factory):
    """Says "ABABAB" for ever."""
    folder = write_scripted(
        tmp_path_factory.mktemp("endless"), script(["\n", "A", "B", "A"]), max_position_embeddings=1 << 20
    )
    return qwen3cpu.load(folder, quant="f32", threads=1)


@pytest.fixture
def endless_servers():
    """Servers whose pages ask for answers without end."""
    return []


@pytest.fixture
def slow_server(serve, endless, endless_servers):
    """A server with endless answers, at the speed of a large model."""
    server = serve(endless, kv_bytes=1 << 40)
    endless_servers.append(server)
    advance, clock = server.scheduler._batch.advance, threading.Event()
    server.scheduler._batch.advance = lambda: clock.wait(0.02) or advance()
    return server


@pytest.fixture(scope="module")
def servers():
    """A small MCP server that runs."""
    with things() as running:
        yield running
