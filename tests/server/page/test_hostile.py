"""Nothing that a model writes runs, loads or looks like a part of the page."""

import json

import pytest
from hostile_texts import hostile_texts

from qwen3cpu.server.page.formulas import TAGS as FORMULA_TAGS
from qwen3cpu.server.page.markdown import render

TEXTS = hostile_texts()
TAGS = {
    "a",
    "blockquote",
    "br",
    "code",
    "em",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "li",
    "ol",
    "p",
    "pre",
    "s",
    "span",
    "strong",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "ul",
}
BOXES = {"div", "button", "svg", "path"}
"""Elements that the page itself puts around code and tables."""


def elements(nodes):
    for node in nodes:
        if not isinstance(node, str):
            yield node
            yield from elements(node[2:])


def test_there_are_enough():
    assert len(TEXTS) >= 1000


def test_the_server_sends_known_elements_only():
    for text in TEXTS:
        for block in render(text).blocks:
            for tag, attributes, *_ in elements(block.nodes):
                assert tag in TAGS | FORMULA_TAGS, text
                assert not any(name.startswith("on") or name in ("style", "src") for name in attributes), text
                if "href" in attributes:
                    assert attributes["href"].startswith(("http://", "https://", "mailto:")), text


LOOK = """(boxes) => {
  const found = { hit: window.hit ?? null, tags: [], attributes: [], links: [], count: 0 };
  for (const each of document.querySelectorAll(".body *")) {
    found.count++;
    found.tags.push(each.localName);
    for (const { name } of each.attributes) found.attributes.push(name);
    if (each.href !== undefined && each.localName === "a") found.links.push([each.protocol, each.rel]);
  }
  for (const name of ["tags", "attributes"]) found[name] = [...new Set(found[name])];
  found.links = [...new Map(found.links.map((each) => [each.join(), each])).values()];
  return found;
}"""


def check(page, problems):
    found = page.evaluate(LOOK)
    assert found["hit"] is None
    assert set(found["tags"]) <= TAGS | FORMULA_TAGS | BOXES
    assert not [name for name in found["attributes"] if name.startswith("on") or name in ("src", "srcdoc", "style")]
    for protocol, rel in found["links"]:
        assert protocol in ("http:", "https:", "mailto:", ":")
        assert protocol == ":" or rel == "noopener noreferrer"
    assert problems == []
    return found


def test_no_text_runs(server, open_page, tmp_path):
    """The texts are answers of a model, in imported conversations with one text in each message."""
    page = open_page(server)
    nodes, parent = {}, "root"
    for number, text in enumerate(TEXTS):
        role = "user" if number % 16 == 0 else "assistant"
        content = text if role == "user" else "\n\n".join(TEXTS[number : number + 16])
        if role == "assistant" and number % 16 != 1:
            continue
        nodes[str(number)] = {"parent": parent, "role": role, "content": content, "reasoning": text, "ended": "stop"}
        parent = str(number)
    hostile = {"title": TEXTS[0], "nodes": nodes, "settings": {"system": TEXTS[1]}}
    file = tmp_path / "hostile.json"
    file.write_text(json.dumps({"format": "qwen3cpu-conversations", "conversations": [hostile]}))
    page.set_input_files("#import-file", file)
    page.locator("#list .title").click()
    page.until("""() => document.querySelectorAll(".turn").length > 100
        && document.querySelectorAll(".block.plain").length === 0""")
    assert check(page, open_page.problems)["count"] > 1000
    for name in ("mouseover", "click"):
        page.evaluate(
            """(name) => { for (const each of document.querySelectorAll(".body *:not(a):not(button)")) {
                 each.dispatchEvent(new MouseEvent(name, { bubbles: true })); } }""",
            name,
        )
    check(page, open_page.problems)


TREES = [
    ["script", {}, "window.hit=1"],
    ["img", {"src": "x", "onerror": "window.hit=1"}],
    ["p", {"onclick": "window.hit=1", "style": "color:red", "class": "toast"}, "x"],
    ["a", {"href": "javascript:window.hit=1"}, "x"],
    ["a", {"href": " JaVa\tScript:window.hit=1"}, "x"],
    ["a", {"href": "https://example.com/", "target": "_self", "onclick": "window.hit=1"}, "x"],
    ["iframe", {"srcdoc": "<script>parent.hit=1</script>"}],
    [
        "math",
        {"href": "javascript:window.hit=1", "onload": "window.hit=1"},
        ["annotation-xml", {}, ["script", {}, "hit=1"]],
    ],
    ["mi", {"xlink:href": "javascript:window.hit=1"}, "x"],
    ["svg", {"onload": "window.hit=1"}, ["script", {}, "window.hit=1"]],
    ["ol", {"start": "1; alert(1)"}, ["li", {}, "x"]],
    ["pre", {"language": "<img src=x onerror=window.hit=1>"}, "<script>window.hit=1</script>"],
    "<img src=x onerror=window.hit=1>",
]


def test_the_page_trusts_no_server(server, open_page):
    """Elements that our server never sends are not made either."""
    page = open_page(server)
    page.evaluate(
        """async (trees) => {
          const { make } = await import("/assets/elements.js");
          const body = document.createElement("div");
          body.className = "body";
          document.getElementById("turns").append(body);
          for (const tree of trees) body.append(make(tree));
        }""",
        TREES,
    )
    found = check(page, open_page.problems)
    assert [protocol for protocol, _ in found["links"] if protocol != ":"] == ["https:"]
    assert page.locator(".body .toast").count() == 0
    assert page.locator(".body ol").get_attribute("start") is None


@pytest.mark.parametrize("way", ["innerHTML = '<img src=x>'", "insertAdjacentHTML('beforeend', '<img src=x>')"])
def test_the_page_can_read_no_html(server, open_page, way):
    page = open_page(server)
    error = page.evaluate(
        "way => { try { document.body." + way + "; return ''; } catch (error) { return error.name; } }", way
    )
    assert error == "TypeError", "trusted types"
    open_page.problems.clear()  # the browser has reported it
