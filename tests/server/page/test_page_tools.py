"""The operator's tools on the chat page: calls are requested, made, shown, refused and stopped."""

import json
import os
import re
import sys

import httpx
import pytest
from cli_runs import run_here
from dictation import dictate
from page_tools import SERVER, call, things
from running import Started

from qwen3cpu.server.page.tools import MOST_RESULT, PageTools, shortened

QUESTION = "What is 17 + 25?"


@pytest.fixture
def blocked():
    """A tool that a test may block."""
    with things() as running:
        yield running


@pytest.fixture
def offered(serve, tiny, servers):
    """A server whose page has tools and asks before each call."""
    server = serve(tiny)
    server.app.state.page_tools = PageTools(servers, ask=True)
    return server


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_a_call_is_asked_for_shown_and_answered(offered, tiny, open_page, monkeypatch, phone):
    dictate(monkeypatch, tiny, call("add", a=17, b=25), "It is **42**.")
    page = open_page(offered, phone=phone)
    assert page.get_attribute("#use-tools", "title").startswith("6 tools of this server: add, ")
    page.send(QUESTION)
    page.locator(".call-question").wait_for()
    assert page.inner_text(".call summary code") == "a: 17, b: 25"
    assert page.inner_text(".call-state") == "waits for you"
    assert page.inner_text("#state") == "Allow the call of add?"
    page.get_by_role("button", name="Allow", exact=True).click()
    page.ended()
    assert page.locator(".call-question").is_hidden()
    assert re.fullmatch(r"\d+\.\d s", page.inner_text(".call-state"))
    assert page.answers() == ["", "It is 42."]
    assert page.locator("#context").is_visible()
    right, width = page.evaluate("[send.getBoundingClientRect().right, innerWidth]")
    assert right <= width, "all buttons are in sight"
    assert page.locator("details.call").get_attribute("open") is None, "its result is folded"
    page.click(".call summary")
    assert page.inner_text(".call pre >> nth=0") == '{\n  "a": 17,\n  "b": 25\n}'
    assert page.inner_text(".call pre >> nth=1") == "42"
    page.reload()
    page.locator(".assistant .block:not(.plain)", has_text="42").wait_for()
    page.click(".call summary")
    assert page.inner_text(".call pre >> nth=1") == "42", "a reload keeps it"


def test_the_model_sees_the_call_and_its_result(offered, tiny, open_page, monkeypatch):
    dictate(monkeypatch, tiny, "Let me see." + call("add", a=17, b=25) + call("fail", reason="no"), "It is 42.", "Yes.")
    page = open_page(offered)
    bodies = []
    page.on("request", lambda sent: bodies.append(sent.post_data_json) if "completions" in sent.url else None)
    page.send(QUESTION)
    for number in range(2):
        page.locator(".call-question").nth(number).get_by_role("button", name="Allow", exact=True).click()
    page.ended()
    page.ask("Sure?")
    asked = bodies[2]["messages"]
    assert [message["role"] for message in asked] == ["user", "assistant", "tool", "tool", "assistant", "user"]
    ids = [each["id"] for each in asked[1]["tool_calls"]]
    assert [each["function"]["name"] for each in asked[1]["tool_calls"]] == ["add", "fail"]
    assert asked[1]["content"] == "Let me see."
    assert [(each["tool_call_id"], each["content"]) for each in asked[2:4]] == [
        (ids[0], "42"),
        (ids[1], "Error: Error executing tool fail: no"),
    ]
    assert bodies[0]["tools"] == bodies[2]["tools"] == offered.http.get("/page/tools").json()["tools"]
    assert page.locator(".call.failed").count() == 1


@pytest.mark.parametrize("choice", ["Refuse", "Always in this chat"])
def test_a_choice(offered, tiny, open_page, monkeypatch, choice):
    again = [call("add", a=1, b=2), "Three."]
    dictate(monkeypatch, tiny, *again, *again)
    page = open_page(offered)
    page.send("What is 1 + 2?")
    page.get_by_role("button", name=choice, exact=True).click()
    page.ended()
    page.send("Again?")
    if choice == "Refuse":
        assert page.inner_text(".call.failed .call-state") == "refused"
        page.locator(".call-question").nth(1).locator("button", has_text="Refuse").click()
        page.ended()
        page.click(".call summary")
        assert page.inner_text(".call pre >> nth=1") == "Error: the user has not allowed this call"
    else:
        page.ended()
        assert page.answers() == ["", "Three.", "", "Three."]
        page.open_list()
        page.click("#fresh")
        dictate(monkeypatch, tiny, call("add", a=1, b=2), "Three.")
        page.send("In another chat?")
        page.locator(".call-question").wait_for()


def test_without_asking(offered, servers, tiny, open_page, monkeypatch):
    offered.app.state.page_tools = PageTools(servers, ask=False)
    dictate(monkeypatch, tiny, call("add", a=2, b=3), "Five.")
    page = open_page(offered)
    page.ask("What is 2 + 3?")
    assert page.answers() == ["", "Five."]


def test_escape_stops_a_call(offered, blocked, tiny, open_page, monkeypatch):
    offered.app.state.page_tools = PageTools(blocked, ask=False)
    dictate(monkeypatch, tiny, call("hang"), "Never mind.")
    page = open_page(offered)
    page.send("Hang.")
    page.locator(".call.busy").wait_for()
    assert page.inner_text("#state") == "Calling hang"
    page.keyboard.press("Escape")
    page.ended()
    assert page.inner_text(".call-state") == "not run"
    assert page.inner_text(".foot").endswith("stopped")
    while offered.app.state.page_tools._running:
        offered.http.get("/health")
    sent = []
    page.on("request", lambda each: sent.append(each.post_data_json) if "completions" in each.url else None)
    page.ask("And now?")
    assert sent[0]["messages"][2] == {
        "role": "tool",
        "tool_call_id": sent[0]["messages"][1]["tool_calls"][0]["id"],
        "content": "Error: the user has stopped this call",
    }


def test_escape_while_the_page_asks(offered, tiny, open_page, monkeypatch):
    dictate(monkeypatch, tiny, call("add", a=1, b=2))
    page = open_page(offered)
    page.send("What is 1 + 2?")
    page.locator(".call-question").wait_for()
    page.keyboard.press("Escape")
    page.ended()
    assert page.locator(".call-question").is_hidden()
    assert page.inner_text(".call-state") == "not run"


def test_a_switch_of_the_conversation(offered, tiny, open_page):
    page = open_page(offered)
    bodies = []
    page.on("request", lambda sent: bodies.append(sent.post_data_json) if "completions" in sent.url else None)
    page.click("#use-tools")
    assert page.get_attribute("#use-tools", "aria-pressed") == "false"
    page.ask(QUESTION)
    page.click("#use-tools")
    page.ask(QUESTION)
    assert ["tools" in body for body in bodies] == [False, True]
    page.set("format", "json")
    assert page.locator("#use-tools").is_hidden(), "JSON needs no tools"


def test_what_tools_say_is_text(offered, servers, tiny, open_page, monkeypatch):
    offered.app.state.page_tools = PageTools(servers, ask=False)
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    dictate(monkeypatch, tiny, call("fail", reason=hostile), "Oh.")
    page = open_page(offered)
    page.ask("Fail.")
    page.click(".call summary")
    assert page.inner_text(".call pre >> nth=1") == f"Error: Error executing tool fail: {hostile}"
    assert page.locator(".call img, .call script").count() == 0


def test_calls_are_exported_and_imported(offered, servers, tiny, open_page, monkeypatch, tmp_path):
    offered.app.state.page_tools = PageTools(servers, ask=False)
    dictate(monkeypatch, tiny, call("add", a=2, b=3), "Five.")
    page = open_page(offered)
    page.ask("What is 2 + 3?")
    page.open_list()
    _, exported = page.exported(page.locator("#export-all"))
    file = tmp_path / "exported.json"
    file.write_text(json.dumps(exported))
    page.set_input_files("#import-file", file)
    page.locator("#list .title").nth(1).wait_for()
    page.locator("#list .title").nth(0).click()
    page.locator(".call").wait_for()
    assert page.answers() == ["", "Five."]


def test_no_tools_no_switch(server, open_page):
    page = open_page(server)
    assert page.locator("#use-tools").is_hidden()
    assert server.http.get("/page/tools").json() == {"tools": [], "ask": True}
    assert server.refused("/page/tools/call", {"name": "add"}, 404)["code"] == "tool_not_found"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://HOST", "sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://HOST"}, 200),
        ({"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://localhost:3000", "sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://HOST", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "https://elsewhere.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "elsewhere.example", "origin": "http://elsewhere.example", "sec-fetch-site": "same-origin"}, 421),
    ],
)
def test_other_pages_may_not_call(serve, tiny, servers, headers, status):
    server = serve(tiny, hosts=("localhost",), cors_origins=("*",))
    server.app.state.page_tools = PageTools(servers, ask=False)
    sent = {name: value.replace("HOST", f"127.0.0.1:{server.port}") for name, value in headers.items()}
    called = server.post("/page/tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}}, headers=sent)
    assert called.status_code == status, called.text
    assert server.http.get("/page/tools", headers=sent).status_code == status
    if status == 200:
        assert called.json() == {"result": "3", "failed": False}


def test_wrong_calls(serve, tiny, servers):
    server = serve(tiny)
    server.app.state.page_tools = PageTools(servers, ask=False)
    error = server.refused("/page/tools/call", {"name": "rm"}, 404)
    assert (error["message"], error["param"]) == ("there is no tool 'rm'", "name")
    assert server.refused("/page/tools/call", {"name": "add", "arguments": "1"}, 400)["param"] == "arguments"
    failed = server.ok("/page/tools/call", name="add", arguments={"a": "x"})
    assert failed["failed"]


def test_the_key_is_asked_for(serve, tiny, servers):
    server = serve(tiny, api_key="secret")
    server.app.state.page_tools = PageTools(servers, ask=False)
    assert server.post("/page/tools/call", {"name": "add"}).status_code == 401
    assert server.http.get("/page/tools").status_code == 401


def test_long_results_are_cut():
    assert shortened("x" * MOST_RESULT) == "x" * MOST_RESULT
    assert shortened("x" * (MOST_RESULT + 3)) == "x" * MOST_RESULT + "\n[cut here: 3 more characters]"
    assert shortened("\ud800") == "?"


def test_the_flag(tmp_path):
    pytest.importorskip("mcp")
    server = Started("--mcp", f"'{sys.executable}' '{SERVER}'", "--mcp-allow")
    try:
        found = httpx.get(server.url + "/page/tools").json()
        assert (found["tools"][0]["function"]["name"], found["ask"]) == ("add", False)
        body = {"name": "process"}
        process = int(httpx.post(server.url + "/page/tools/call", json=body).json()["result"].split()[0])
    finally:
        server.end()
    assert not process_exists(process), "the MCP server ends with the server"
    wrong = run_here("serve", "--host", "0.0.0.0", "--port", "0", "--mcp", "x")
    assert "--mcp: expected an --api-key, because others can reach 0.0.0.0; found none" in wrong.stderr


def process_exists(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True
