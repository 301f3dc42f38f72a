"""Settings of the chat page, in a real browser: what is sent, presets, and the form of answers."""

import json

import pytest
from chat_page import FAKE_STREAM

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["n"]}


@pytest.fixture
def page(server, open_page):
    return open_page(server, script=FAKE_STREAM)


def body(page):
    """The body of the next request."""
    page.ask("hello")
    found = page.evaluate("window.sent.at(-1)")
    return {
        name: value for name, value in found.items() if name not in ("messages", "model", "stream", "stream_options")
    }


def test_what_is_sent(page):
    assert body(page) == {"chat_template_kwargs": {"enable_thinking": True}}
    for name, value in {
        "system": "Be brief.",
        "temperature": "0.5",
        "top_k": "20",
        "seed": "7",
        "thinking_budget": "64",
    }.items():
        page.set(name, value)
    expected = {"temperature": 0.5, "top_k": 20, "seed": 7, "thinking_budget": 64}
    assert body(page) == {**expected, "chat_template_kwargs": {"enable_thinking": True}}
    assert page.evaluate("window.sent.at(-1).messages")[0] == {"role": "system", "content": "Be brief."}
    page.click("#think")
    del expected["thinking_budget"]
    assert body(page) == {**expected, "chat_template_kwargs": {"enable_thinking": False}}


def test_settings_belong_to_the_conversation(page):
    page.set("seed", "7")
    body(page)
    page.click("#fresh")
    page.set("seed", "8")
    assert body(page)["seed"] == 8
    page.locator("#list .title").last.click()
    page.until("() => document.getElementById('seed').value === '7'")
    page.reload()
    page.locator("body[data-ready]").wait_for()
    assert page.input_value("#seed") == "7"


def test_presets(page):
    page.set("preset", "No thinking")
    assert page.get_attribute("#think", "aria-pressed") == "false"
    page.set("seed", "5")
    page.click("#save-preset")
    page.fill("#preset-name", "Mine")
    page.keyboard.press("Enter")
    page.set("preset", "The model's own")
    assert page.input_value("#seed") == ""
    page.reload()
    page.locator("body[data-ready]").wait_for()
    page.set("preset", "Mine")
    assert body(page) == {"seed": 5, "chat_template_kwargs": {"enable_thinking": False}}
    page.set("preset", "Mine")
    page.click("#remove-preset")
    assert page.locator("#preset option", has_text="Mine").count() == 0
    page.get_by_role("button", name="Undo").click()
    assert page.locator("#preset option", has_text="Mine").count() == 1


def test_answers_that_follow_a_schema(server, open_page):
    page = open_page(server)
    page.click("#think")
    page.set("format", "schema")
    page.set("schema", "{")
    page.locator("#schema-problem", has_text="not JSON").wait_for()
    page.fill("#prompt", "hello")
    page.press("#prompt", "Enter")
    assert page.locator(".turn").count() == 0, "not sent"
    assert page.input_value("#prompt") == "hello"
    page.set("schema", json.dumps(SCHEMA))
    page.ask("hello")
    assert page.locator(".assistant .code-head span").inner_text() == "json"
    assert 0 <= json.loads(page.inner_text(".assistant pre"))["n"] <= 9
    page.set("format", "json")
    page.set("max_tokens", "64")
    page.ask("hello")
    assert page.locator(".assistant .code").count() == 2
