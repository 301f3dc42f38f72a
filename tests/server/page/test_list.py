"""The list of conversations and their branches, in a real browser."""

import json

import pytest


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_the_list(server, open_page, phone):
    page = open_page(server, phone=phone)
    page.click("#think")
    for text in ("hello", "What is 1 + 1?"):
        page.open_list()
        page.click("#fresh")
        page.ask(text)
    page.open_list()
    assert page.titles() == ["What is 1 + 1?", "hello"]
    page.fill("#search", "hello")
    page.until("() => document.querySelectorAll('#list .title').length === 1")
    assert page.titles() == ["hello"]
    page.fill("#search", "nobody wrote this")
    page.locator("#nothing-found").wait_for()
    page.fill("#search", "")
    page.locator("#list .title").nth(1).wait_for()
    page.locator("#list .title", has_text="hello").click()
    page.locator(".user .body", has_text="hello").wait_for()

    page.open_list()
    page.button("Rename hello").click()
    page.fill(".renaming", "Greeting")
    page.keyboard.press("Enter")
    page.locator("#list .title", has_text="Greeting").wait_for()
    page.reload()
    page.locator(".user .body", has_text="hello").wait_for()
    page.open_list()
    page.locator("#list .title", has_text="Greeting").wait_for()

    page.button("Delete Greeting").click()
    page.get_by_role("button", name="Undo").wait_for()
    assert page.titles() == ["What is 1 + 1?"]
    assert page.locator(".turn").count() == 0
    page.get_by_role("button", name="Undo").click()
    page.locator("#list .title", has_text="Greeting").wait_for()
    assert page.questions() == ["hello"]
    page.button("Delete Greeting").click()
    page.get_by_role("button", name="Undo").wait_for()
    page.reload()
    page.open_list()
    page.locator("#list .title", has_text="1 + 1").wait_for()
    assert page.titles() == ["What is 1 + 1?"]


def test_export_and_import(server, open_page, tmp_path):
    page = open_page(server)
    page.click("#think")
    page.ask("hello")
    answer = page.answers()[0]
    page.click("#fresh")
    page.ask("What is 1 + 1?")
    name, data = page.exported(page.locator("#export-all"))
    assert name == "conversations.json"
    assert sorted(each["title"] for each in data["conversations"]) == ["What is 1 + 1?", "hello"]
    page.locator("#list .title", has_text="hello").hover()
    name, one = page.exported(page.button("Export hello"))
    assert name == "hello.json"
    assert [each["title"] for each in one["conversations"]] == ["hello"]
    other = open_page(server)
    assert other.titles() == []
    file = tmp_path / "all.json"
    file.write_text(json.dumps(data))
    other.set_input_files("#import-file", file)
    other.locator("#list .title", has_text="hello").click()
    other.locator(".assistant .block:not(.plain)").wait_for()
    assert other.answers() == [answer]
    for text, expected in (
        ("nothing", "not JSON"),
        ("{}", "that this page has exported"),
        (
            '{"format": "qwen3cpu-conversations", "conversations": [{"nodes": {"a": {"role": "system"}}}]}',
            "Conversation 1",
        ),
    ):
        file.write_text(text)
        other.set_input_files("#import-file", file)
        other.locator("#toast", has_text=expected).wait_for()
    assert len(other.titles()) == 2
    strange = {
        "role": "assistant",
        "content": "x",
        "parent": "root",
        "speed": "fast",
        "ended": "toString",
        "running": True,
    }
    file.write_text(
        json.dumps({**data, "conversations": [{"title": "strange", "nodes": {"a": strange}, "settings": [1]}]})
    )
    other.set_input_files("#import-file", file)
    other.locator("#list .title", has_text="strange").click()
    other.locator(".assistant .block:not(.plain)", has_text="x").wait_for()
    assert other.inner_text(".foot") == ""


def test_branches(server, tiny, open_page):
    page = open_page(server)
    page.set("seed", "1")
    page.click("#think")
    page.close_settings()
    page.ask("What is 1 + 1?")
    first = page.answers()[0]
    page.button("Edit and send again").click()
    page.fill(".editing textarea", "What is 2 + 3?")
    page.keyboard.press("Enter")
    page.locator(".user .body", has_text="2 + 3").wait_for()
    page.ended()
    second = tiny.generate("What is 2 + 3?", seed=1, thinking=False).text
    assert page.answers() == [second]
    assert page.inner_text(".user .branches") == "2/2"
    page.click(".user .branches [data-step=previous]")
    page.locator(".user .body", has_text="1 + 1").wait_for()
    page.locator(".assistant .block:not(.plain)").wait_for()
    assert page.answers() == [first]
    assert page.locator(".user .branches [data-step=previous]").is_disabled()
    page.button("Answer again").click()
    page.ended()
    assert page.inner_text(".assistant .branches") == "2/2"
    assert page.answers() == [first], "the same seed"
    page.set("seed", "2")
    page.button("Answer again").click()
    page.ended()
    assert page.inner_text(".assistant .branches") == "3/3"
    page.reload()
    page.locator(".assistant .branches", has_text="3/3").wait_for()
    page.click(".assistant .branches [data-step=previous]")
    page.locator(".assistant .branches", has_text="2/3").wait_for()
    assert page.inner_text(".user .branches") == "1/2"
    page.ask("What is 1 + 1?")
    assert len(page.questions()) == 2
    (kept,) = page.stored()
    assert len(kept["nodes"]) == 2 + 4 + 2, "no branch is lost"


def test_editing_can_be_given_up(server, open_page):
    page = open_page(server)
    page.click("#think")
    page.ask("hello")
    page.keyboard.press("ArrowUp")
    page.locator(".editing textarea").wait_for()
    page.keyboard.press("Escape")
    assert page.questions() == ["hello"]
    assert page.locator(".editing").count() == 0
