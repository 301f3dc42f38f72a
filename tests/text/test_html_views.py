"""HTML for notebooks: Markdown is rendered, and no text becomes a script or an external picture."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3cpu.text import html_views


class Reader(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


ALLOWED = {
    *(
        "a",
        "blockquote",
        "br",
        "code",
        "del",
        "s",
        "details",
        "div",
        "em",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "li",
        "ol",
    ),
    *("p", "pre", "strong", "summary", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}
ATTRIBUTES = {"class", "href", "rel", "start", "style", "target", "title"}


def check(page):
    """Check that a page has only harmless tags and attributes, and links to web pages."""
    for tag, attributes in Reader(page).found:
        assert tag in ALLOWED, tag
        assert attributes.keys() <= ATTRIBUTES, attributes
        if "href" in attributes:
            assert not re.match(r"\s*(javascript|vbscript|file|data):", attributes["href"], re.IGNORECASE)
        if "style" in attributes:
            assert re.fullmatch(
                r"text-align:(left|right|center)|[a-z-]+:[\w.%-]+(;[a-z-]+:[\w.%-]+)*", attributes["style"]
            )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**bold** `code`", "<p><strong>bold</strong> <code>code</code></p>\n"),
        ("one\ntwo", "<p>one<br />\ntwo</p>\n"),
        ("a < b & c", "<p>a &lt; b &amp; c</p>\n"),
        ("<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>\n"),
        (r"\(a_1 * b_2\) <x>", "<p>\\(a_1 * b_2\\) &lt;x&gt;</p>\n"),
        (r"$x_1$ and $y_2$ <", "<p>$x_1$ and $y_2$ &lt;</p>\n"),
        ("42.", "<p>42.</p>\n"),
        ("-", "<p>-</p>\n"),
        ("1. one\n2.\n3. three", "<ol>\n<li>one<br />\n2.</li>\n<li>three</li>\n</ol>\n"),
        ("[a]: http://b.example", "<p>[a]: http://b.example</p>\n"),
        ("$5 and $6 _so_", "<p>$5 and $6 <em>so</em></p>\n"),
        (
            "[x](http://a.example)",
            '<p><a href="http://a.example" rel="noopener noreferrer nofollow" target="_blank">x</a></p>\n',
        ),
        ("[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</p>\n"),
        ("$<img src=x onerror=alert(1)>$", "<p>$&lt;img src=x onerror=alert(1)&gt;$</p>\n"),
    ],
)
def test_markdown(text, expected):
    assert html_views.markdown(text) == expected


def test_a_picture_is_a_link():
    page = html_views.markdown("![x](http://evil.example/pixel.png)")
    assert [tag for tag, _ in Reader(page).found] == ["p", "a"]


@pytest.mark.parametrize("make", [html_views.plain, html_views.small, html_views.heading])
def test_other_texts_are_escaped(make):
    page = make('<b onclick="x">&')
    assert "&lt;b onclick=&quot;x&quot;&gt;&amp;" in page
    check(page)


def test_folded_and_table():
    page = html_views.folded("<i>", "<b>\n") + html_views.table("<u>", {"<s>": "<p>"})
    check(page)
    assert [tag for tag, _ in Reader(page).found if tag in "ibuspx"] == []


@pytest.mark.parametrize(
    ("text", "typeset"),
    [
        (r"\(x^2\)", True),
        (r"\(\text{if } x\)", True),
        (r"\(\href{javascript:alert(1)}{x}\)", False),
        (r"$\def\x{1}$", False),
        ("&#92;href{javascript:alert(1)}", False),
        (r"\(\hreflang\)", True),
    ],
)
def test_formulas_that_a_notebook_may_typeset(text, typeset):
    page = html_views.view(html_views.markdown(text))
    assert ("mathjax_ignore" not in Reader(page).found[0][1].get("class", "")) is typeset


TAGS = ("<script>", "</div>", "<img src=x onerror=y>", "<", ">", "&lt;", "&#60;", '"', "'", " onload=")
MARKDOWN = ("[x](", "![", "]", ")", "`", "```", "$", "\\(", "\\)", "|", "-", "*", "_", "a", " ", "\n", "\0")
PIECES = st.sampled_from([*TAGS, *MARKDOWN, "javascript:", "data:text/html,", "http://a"])


@given(st.lists(PIECES, max_size=30).map("".join))
def test_anything_is_harmless(text):
    check(html_views.view(html_views.markdown(text), html_views.folded(text, text), html_views.plain(text)))
