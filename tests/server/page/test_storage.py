"""Storage in a real browser: without storage in some windows, with a full disk, and with several tabs."""

NO_DATABASE = """
Object.defineProperty(window, "indexedDB", {
  value: { open() { throw new DOMException("no storage in this window", "SecurityError"); } },
});
for (const name of ["localStorage", "sessionStorage"]) {
  Object.defineProperty(window, name, { get() { throw new DOMException("no storage", "SecurityError"); } });
}
"""
FULL = """
const put = IDBObjectStore.prototype.put;
IDBObjectStore.prototype.put = function (...values) {
  if (window.full) throw new DOMException("no space left", "QuotaExceededError");
  return put.apply(this, values);
};
"""


def test_a_window_that_keeps_nothing(server, open_page):
    page = open_page(server, script=NO_DATABASE)
    assert "keeps nothing" in page.inner_text("#banner")
    page.click("#think")
    page.ask("hello")
    answer = page.answers()
    page.click("#fresh")
    page.ask("What is 1 + 1?")
    assert page.titles() == ["What is 1 + 1?", "hello"]
    page.locator("#list .title", has_text="hello").click()
    page.locator(".user .body", has_text="hello").wait_for()
    page.locator(".assistant .block:not(.plain)").wait_for()
    assert page.answers() == answer
    _, data = page.exported(page.locator("#export-all"))
    assert len(data["conversations"]) == 2


def test_a_full_storage(server, open_page):
    page = open_page(server, script=FULL)
    page.click("#think")
    page.ask("hello")
    assert page.locator("#banner").is_hidden()
    page.evaluate("window.full = true")
    page.ask("What is 1 + 1?")
    assert "storage is full" in page.inner_text("#banner")
    assert len(page.answers()) == 2
    page.click("#fresh")
    page.locator("#list .title", has_text="hello").click()
    page.locator(".user .body", has_text="1 + 1").wait_for()
    (kept,) = page.stored()
    assert len(kept["nodes"]) == 2
    page.evaluate("window.full = false")
    page.ask("What is 2 + 2?")
    page.locator("#banner").wait_for(state="hidden")
    (kept,) = page.stored()
    assert len(kept["nodes"]) == 6, "what could not be kept is kept later"


NEWS_AT_START = """
const open = IDBFactory.prototype.open;
const channels = [];
window.BroadcastChannel = class extends BroadcastChannel {
  constructor(...name) { super(...name); channels.push(this); }
};
IDBFactory.prototype.open = function (...name) {
  for (const channel of channels) channel.onmessage({ data: "a conversation of another tab" });
  return open.apply(this, name);
};
"""
"""Another tab announces a conversation before this tab has one."""
LATE = """
window.heard = 0;
window.listener = new BroadcastChannel("qwen3cpu.conversations");
window.listener.onmessage = () => window.heard++;
const get = IDBObjectStore.prototype.get;
IDBObjectStore.prototype.get = function (key) {
  const real = get.call(this, key);
  IDBObjectStore.prototype.get = get;
  const late = {};
  real.onsuccess = () => { late.result = real.result; window.answerNow = () => late.onsuccess(); };
  return late;
};
"""
"""The first conversation that is read arrives only when `answerNow` is called."""
DEAF = "delete window.BroadcastChannel;"
"""Makes a tab that gets no messages of other tabs."""


def test_two_tabs_lose_nothing(server, open_page):
    one = open_page(server, script=DEAF)
    one.click("#think")
    one.ask("hello")
    other = open_page(server, context=one.context, script=DEAF, path="/" + one.evaluate("location.hash"))
    other.locator(".user .body", has_text="hello").wait_for()
    # Both go on from the same message.
    one.ask("What is 1 + 1?")
    other.ask("What is 2 + 2?")
    assert one.questions() == ["hello", "What is 1 + 1?"], "each goes on with its own"
    assert other.questions() == ["hello", "What is 2 + 2?"]
    other.locator(".user .branches", has_text="2/2").wait_for()
    one.ask("What is 3 + 3?")
    (kept,) = one.stored()
    texts = {node["content"] for node in kept["nodes"].values() if node["role"] == "user"}
    assert texts == {"hello", "What is 1 + 1?", "What is 2 + 2?", "What is 3 + 3?"}
    assert len(kept["nodes"]) == 8


def test_tabs_hear_of_each_other(server, open_page):
    one = open_page(server)
    one.click("#think")
    one.ask("hello")
    other = open_page(server, context=one.context, path="/" + one.evaluate("location.hash"))
    other.ask("What is 2 + 2?")
    one.locator(".user .body", has_text="2 + 2").wait_for()
    other.click("#fresh")
    other.ask("What is 3 + 3?")
    one.locator("#list .title", has_text="3 + 3").wait_for()
    other.locator("#list .title", has_text="hello").hover()
    other.button("Delete hello").click()
    one.locator("#toast", has_text="deleted in another tab").wait_for()
    assert one.locator(".turn").count() == 0


def test_another_tab_shows_what_is_written(slow_server, open_page):
    one = open_page(slow_server)
    one.send("go on")
    one.locator(".assistant .body", has_text="ABAB").wait_for()
    other = open_page(slow_server, context=one.context, path="/" + one.evaluate("location.hash"))
    other.locator(".assistant .body", has_text="ABABAB").wait_for()
    one.keyboard.press("Escape")
    one.ended()
    text = one.answers()[0]
    other.locator(".foot", has_text="stopped").wait_for()
    other.locator(".assistant .block:not(.plain)", has_text=text).wait_for()


def test_news_of_another_tab_while_the_page_starts(server, open_page):
    page = open_page(server, script=NEWS_AT_START)
    page.click("#think")
    page.ask("hello")
    assert page.titles() == ["hello"]


def test_another_tab_writes_what_is_being_opened(server, open_page):
    one = open_page(server)
    one.click("#think")
    one.ask("hello")
    other = open_page(server, context=one.context, script=LATE)
    other.locator("#list .title", has_text="hello").click()
    other.until("() => window.answerNow !== undefined")
    one.ask("What is 2 + 2?")
    other.until("() => window.heard > 0")
    other.evaluate("() => { window.answerNow(); }")
    other.locator(".user .body").first.wait_for()
    assert other.questions() == ["hello", "What is 2 + 2?"]
    other.locator(".assistant .block:not(.plain)").nth(1).wait_for()
    assert other.answers() == one.answers()
