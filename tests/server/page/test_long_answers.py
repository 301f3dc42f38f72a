"""A long answer changes only its last block while it is written, so a selection and the scroll position stay."""

import pytest
from chat_page import FAKE_STREAM
from long_answer import WATCH, long_answer


@pytest.mark.parametrize("tokens", [1000, pytest.param(20_000, marks=pytest.mark.heavy)])
def test_only_the_last_block_changes(server, open_page, tokens):
    page = open_page(server, script=FAKE_STREAM)
    text = long_answer(4 * tokens)
    page.evaluate("text => Object.assign(window.fake, { text, wait: 4, pieces: 10, held: 400 })", text)
    page.send("a long one")
    page.locator(".assistant .block").nth(1).wait_for()
    page.evaluate(WATCH)
    page.evaluate(
        """() => {
          const first = document.querySelector(".assistant .block");
          getSelection().selectAllChildren(first);
          window.selected = String(getSelection());
          window.fake.held = 0;
        }"""
    )
    page.ended()
    seen = page.evaluate("window.seen")
    assert seen["early"] == []
    assert seen["changes"] > 0
    assert page.evaluate("String(getSelection()) === window.selected && window.selected.length > 20")
    assert page.locator(".assistant .block.plain").count() == 0
    assert f"{-(-len(text) // 4):,} tokens" in page.inner_text(".assistant .foot")
    # The answer looks the same when it is rendered at once.
    written = page.locator(".assistant .body").evaluate("body => body.innerHTML")
    page.reload()
    page.locator(".assistant .block:not(.plain)").first.wait_for()
    page.until("count => document.querySelectorAll('.assistant .block').length === count", seen["blocks"])
    assert page.locator(".assistant .body").evaluate("body => body.innerHTML") == written


def test_the_page_follows_the_end_until_the_user_scrolls_up(server, open_page):
    page = open_page(server, script=FAKE_STREAM)
    page.evaluate("text => Object.assign(window.fake, { text, pieces: 20, held: 4000 })", long_answer(8000))
    page.send("a long one")
    page.locator(".assistant .block").nth(20).wait_for()
    at_end = "() => { const { scrollTop, clientHeight, scrollHeight } = document.getElementById('log');"
    at_end += " return scrollTop + clientHeight + 2 > scrollHeight; }"
    page.until(at_end)
    assert page.locator("#to-end").is_hidden()
    page.locator("#log").evaluate("log => { log.scrollTop = 100; }")
    page.locator("#to-end").wait_for()
    page.evaluate("() => { window.fake.held = 0; }")
    page.ended()
    assert page.locator("#log").evaluate("log => log.scrollTop") == 100
    page.click("#to-end")
    page.until(at_end)


def test_what_cannot_be_rendered_is_shown_as_it_is(server, open_page):
    page = open_page(server, script=FAKE_STREAM)
    page.route("**/page/render", lambda route: route.fulfill(status=422, json={"error": {"message": "no"}}))
    page.evaluate("text => { window.fake.text = text; }", "**bold** <b>x</b>")
    page.ask("hello")
    assert page.answers() == ["**bold** <b>x</b>"]
    page.unroute("**/page/render")
    page.reload()
    page.locator(".assistant strong").wait_for()


def test_a_text_whose_rendering_takes_long_is_shown_meanwhile(server, open_page):
    page = open_page(server, script=FAKE_STREAM)
    held, free = [], []
    page.route("**/page/render", lambda route: route.continue_() if free else held.append(route))
    page.evaluate("text => Object.assign(window.fake, { text, held: 8 })", "**bold** <b>x</b>\n\nthe end")
    page.send("hello")
    page.locator(".assistant .plain", has_text="**bold**").wait_for()
    page.evaluate("() => { window.fake.held = 0; }")
    page.locator(".assistant .plain", has_text="the end").wait_for()
    assert page.answers() == ["**bold** <b>x</b>\n\nthe end"]
    free += held
    free[0].continue_()
    assert len(free) == 1
    page.locator(".assistant strong").wait_for()
    page.ended()
    page.until("() => document.querySelectorAll('.assistant .block').length === 2")
    assert page.locator(".assistant .plain").count() == 0


def test_a_definition_behind_its_use(server, open_page):
    page = open_page(server, script=FAKE_STREAM)
    text = "see [here] and [there].\n\nmore\n\n[here]: https://example.com/a\n[there]: https://example.com/b\n\nthe end"
    page.evaluate("text => Object.assign(window.fake, { text, wait: 20 })", text)
    page.ask("hello")
    links = page.locator(".assistant a").evaluate_all("links => links.map((each) => each.href)")
    assert links == ["https://example.com/a", "https://example.com/b"]
