"""Drives the chat page as a user would."""

import json


class ChatPage:
    """The page in a tab of a browser."""

    def __init__(self, page):
        self.page = page

    def __getattr__(self, name):
        return getattr(self.page, name)

    def send(self, text):
        """Send a message without waiting for its answer."""
        self.page.fill("#prompt", text)
        self.page.press("#prompt", "Enter")

    def ask(self, text):
        """Send a message and wait for the end of its answer."""
        self.send(text)
        self.ended()

    def ended(self):
        """Wait until no answer is being written."""
        self.page.locator("#send[aria-label=Send]").wait_for()

    def until(self, function, argument=None):
        """Wait until a function in the page returns true. Playwright's own wait needs eval, which the page forbids."""
        while not self.page.evaluate(function, argument):
            self.page.wait_for_timeout(20)

    def set(self, name, value):
        """Change a setting."""
        if self.page.locator("#settings").is_hidden():
            self.page.click("#open-settings")
        field = self.page.locator(f"#{name}")
        if field.evaluate("field => field.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
            field.dispatch_event("change")

    def close_settings(self):
        if self.page.locator("#settings").is_visible():
            self.page.click("#close-settings")

    def open_list(self):
        if self.page.locator("#sidebar").is_hidden():
            self.page.click("#open-list")

    def titles(self):
        """The titles of the conversations in the list."""
        return self.page.locator("#list .title").all_inner_texts()

    def questions(self):
        return self.page.locator(".user .body").all_inner_texts()

    def answers(self):
        return self.page.locator(".assistant .body").all_inner_texts()

    def stored(self):
        """All conversations that the browser keeps."""
        return self.page.evaluate(
            """() => new Promise((resolve) => {
              const opened = indexedDB.open("qwen3cpu", 1);
              opened.onsuccess = () => {
                const all = opened.result.transaction("conversations").objectStore("conversations").getAll();
                all.onsuccess = () => { opened.result.close(); resolve(all.result); };
              };
            })"""
        )

    def button(self, name):
        """The last button with this name, which appears when the mouse is near."""
        return self.page.get_by_role("button", name=name, exact=True).last

    def exported(self, button):
        """The text that a button exports."""
        with self.page.expect_download() as found:
            button.click()
        with open(found.value.path(), encoding="utf-8") as file:
            return found.value.suggested_filename, json.load(file)


ENDLESS = """
(() => {
  const real = window.fetch;
  const more = { loop_detection: false, speculate: false };
  window.fetch = (path, options) => {
    if (!String(path).endsWith("v1/chat/completions")) return real(path, options);
    return real(path, { ...options, body: JSON.stringify({ ...JSON.parse(options.body), ...more }) });
  };
})();
"""
"""Runs before the page's own scripts: an answer that repeats itself does not end, and each step makes one token."""

FAKE_STREAM = """
(() => {
  const real = window.fetch;
  window.sent = [];
  window.fake = { text: "", reasoning: "", piece: 4, pieces: 1, wait: 0, held: 0 };
  const data = (value) => "data: " + JSON.stringify(value) + "\\n\\n";
  const event = (delta, finish_reason = null) => data({ choices: [{ delta, finish_reason }] });
  window.fetch = (path, options) => {
    if (!String(path).endsWith("v1/chat/completions")) return real(path, options);
    window.sent.push(JSON.parse(options.body));
    const { text, piece, pieces, wait } = window.fake;
    const encoder = new TextEncoder();
    let at = 0;
    const body = new ReadableStream({
      async pull(stream) {
        do {
          await new Promise((resume) => setTimeout(resume, wait));
        } while (window.fake.held && at >= window.fake.held);
        let events = "";
        for (let count = 0; count < pieces && at < text.length; count++, at += piece) {
          events += event({ content: text.slice(at, at + piece) });
        }
        if (events) { stream.enqueue(encoder.encode(events)); return; }
        const usage = { completion_tokens: Math.ceil(text.length / piece), total_tokens: 100 };
        events = event({}, "stop") + data({ choices: [], usage }) + "data: [DONE]\\n\\n";
        stream.enqueue(encoder.encode(events));
        stream.close();
      },
    });
    return Promise.resolve(new Response(body, { headers: { "content-type": "text/event-stream" } }));
  };
})();
"""
"""Runs before the page's own scripts: answers come from window.fake, `pieces` of `piece` characters every `wait` ms.

They wait at the character `held` until it is 0.
"""
