"""Answers on the chat page, in a real browser: Debian's Chromium through Playwright; skipped where one is missing."""

import re

import pytest
import running
from running import Running

from qwen3cpu.server.serve import listen

QUESTION = "What is 17 + 25?"


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_a_conversation(server, tiny, open_page, phone):
    page = open_page(server, phone=phone)
    assert page.inner_text("#model") == "tiny · q4 · 4,096 tokens"
    page.set("seed", "1")
    page.close_settings()
    page.ask(QUESTION)
    expected = tiny.generate(QUESTION, seed=1)
    assert page.answers() == [expected.text]
    assert page.locator("details.thinking").get_attribute("open") is None, "thinking is folded"
    assert re.fullmatch(r"Thought for ([\d.]+ s|a moment)", page.inner_text("details.thinking summary"))
    page.click("details.thinking summary")
    assert page.inner_text("details.thinking .text") == expected.reasoning
    foot = page.inner_text(".assistant .foot")
    assert f"{expected.usage.completion_tokens} tokens" in foot
    used = expected.usage.prompt_tokens + expected.usage.completion_tokens
    assert page.inner_text("#context .numbers") == f"{used:,} of 4,096 tokens"
    page.ask("What is 5 + 5?")
    history = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": expected.text},
        {"role": "user", "content": "What is 5 + 5?"},
    ]
    again = tiny.generate(history, seed=1).text
    assert page.answers() == [expected.text, again]
    page.reload()
    page.locator(".assistant .block:not(.plain)").nth(1).wait_for()
    assert page.answers() == [expected.text, again], "a reload loses nothing"
    assert page.questions() == [QUESTION, "What is 5 + 5?"]
    page.ask("What is 1 + 1?")
    assert len(page.answers()) == 3
    page.open_list()
    page.click("#fresh")
    assert page.locator(".turn").count() == 0


def test_without_thinking_and_with_a_limit(server, tiny, open_page):
    page = open_page(server)
    page.set("seed", "1")
    page.click("#think")
    page.ask(QUESTION)
    assert page.answers() == [tiny.generate(QUESTION, seed=1, thinking=False).text]
    assert page.locator("details.thinking").is_hidden()
    page.set("max_tokens", "2")
    page.ask(QUESTION)
    assert "cut off by a limit" in page.locator(".foot").last.inner_text()


@pytest.mark.parametrize("way", ["Escape", "button"])
def test_stop(slow_server, open_page, way):
    page = open_page(slow_server)
    page.send("go on")
    page.locator(".assistant .body", has_text="ABABABABAB").wait_for()
    if way == "Escape":
        page.keyboard.press("Escape")
    else:
        page.click("#send[aria-label=Stop]")
    page.ended()
    assert re.fullmatch(r"[\d.]+ tok/s · \d+ tokens · first after [\d.]+ s · stopped", page.inner_text(".foot"))
    assert page.inner_text("#state") == "Stopped"
    while slow_server.scheduler.running:
        slow_server.http.get("/health")
    assert slow_server.scheduler.stats.jobs["cancelled"] == 1
    text = page.answers()[0]
    page.reload()
    page.locator(".assistant .block:not(.plain)").wait_for()
    assert page.answers() == [text], "what was written stays"


def test_a_reload_in_an_answer(slow_server, open_page):
    page = open_page(slow_server)
    page.send("go on")
    page.locator(".assistant .body", has_text="ABABABABAB").wait_for()
    page.until("() => document.querySelector('#list .title')")
    page.locator(".foot", has_text=re.compile(r"\d{2,} tokens")).wait_for()
    while not any(len(node["content"]) > 10 for each in page.stored() for node in each["nodes"].values()):
        page.wait_for_timeout(50)
    page.reload()
    page.locator(".foot", has_text="not complete").wait_for()
    assert page.answers()[0].startswith("ABABABABAB")
    assert page.button("Answer again").count() == 1


def test_an_answer_goes_on_behind_another_conversation(slow_server, open_page):
    page = open_page(slow_server)
    page.send("go on")
    page.locator(".assistant .body", has_text="ABABABABAB").wait_for()
    page.click("#fresh")
    assert page.locator(".turn").count() == 0
    assert page.locator("#send[aria-label=Send]").count() == 1
    page.click("#list .title")
    before = len(page.answers()[0])
    page.until("before => document.querySelector('.assistant .body').innerText.length > before + 10", before)
    page.keyboard.press("Escape")
    page.ended()


def test_an_error_loses_nothing(server, tiny, open_page):
    page = open_page(server)
    page.set("seed", "1")
    page.set("temperature", "-1")
    page.ask("What is 1 + 1?")
    assert "temperature must be" in page.inner_text(".error")
    page.reload()
    page.locator(".error .retry").wait_for()
    assert page.questions() == ["What is 1 + 1?"]
    page.set("temperature", "")
    page.close_settings()
    page.click(".error .retry")
    page.ended()
    assert page.answers() == [tiny.generate("What is 1 + 1?", seed=1).text]
    assert page.locator(".error:visible").count() == 0
    assert page.locator(".assistant").count() == 1, "what failed without a word is replaced"


def test_a_server_that_goes_and_comes_back(tiny, open_page, monkeypatch):
    first = Running(tiny)
    page = open_page(first)
    page.ask("What is 1 + 1?")
    first.close()
    page.ask("What is 2 + 2?")
    assert page.locator(".error").last.inner_text().startswith("The server does not answer.")
    assert page.inner_text("#banner").startswith("The server does not answer.")
    monkeypatch.setattr(running, "listen", lambda host, port: listen(host, first.port))
    second = Running(tiny)
    try:
        page.locator("#banner").wait_for(state="hidden")
        assert page.inner_text("#state") == "The server is back"
        page.locator(".error .retry").last.click()
        page.ended()
        assert page.locator(".error:visible").count() == 0
        assert page.questions() == ["What is 1 + 1?", "What is 2 + 2?"]
    finally:
        page.close()
        second.close()


def test_a_key(serve, tiny, open_page):
    server = serve(tiny, api_key="s3cret")
    page = open_page(server)
    page.locator("#key-dialog[open]").wait_for()
    page.fill("#key", "wrong")
    page.keyboard.press("Enter")
    page.locator("#key-problem", has_text="refused").wait_for()
    page.fill("#key", "s3cret")
    page.keyboard.press("Enter")
    page.locator("#model", has_text="tiny").wait_for()
    page.ask("What is 1 + 1?")
    assert page.locator(".error:visible").count() == 0
    assert page.locator(".assistant .block:not(.plain)").count() == 1, "rendering has the key too"
    page.reload()
    page.locator("#model", has_text="tiny").wait_for()
    assert page.locator("#key-dialog[open]").count() == 0, "kept for the session"


def test_several_models(serve_folder, open_page):
    server = serve_folder()
    page = open_page(server)
    names = page.locator("#model-choice option").all_inner_texts()
    assert set(names) >= {"a", "b"}
    assert "vectors" not in names, "a model that makes vectors writes nothing"
    page.select_option("#model-choice", "b")
    page.ask("hello")
    assert page.locator(".error:visible").count() == 0
    assert server.http.get("/api/ps").json()["models"][0]["name"].startswith("b")
