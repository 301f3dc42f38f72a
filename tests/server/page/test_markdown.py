"""Markdown as plain data: its form, and that a growing text gives the same result as the whole text at once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3cpu.server.page.code_colours import MOST_COLOURED, coloured
from qwen3cpu.server.page.formulas import formula
from qwen3cpu.server.page.markdown import render


def nodes(text, definitions=""):
    return [node for block in render(text, definitions).blocks for node in block.nodes]


def plain(found):
    """All texts of some nodes."""
    return "".join(node if isinstance(node, str) else plain(node[2:]) for node in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a *b* **c** ~~d~~ `e`",
            [["p", {}, "a ", ["em", {}, "b"], " ", ["strong", {}, "c"], " ", ["s", {}, "d"], " ", ["code", {}, "e"]]],
        ),
        ("# a\n## b\n##### c", [["h3", {}, "a"], ["h4", {}, "b"], ["h6", {}, "c"]]),
        ("- a\n- b\n  1. c", [["ul", {}, ["li", {}, "a"], ["li", {}, "b", ["ol", {}, ["li", {}, "c"]]]]]),
        ("3. a\n\n4. b", [["ol", {"start": "3"}, ["li", {}, ["p", {}, "a"]], ["li", {}, ["p", {}, "b"]]]]),
        ("- [ ] a\n- [x] b", [["ul", {}, ["li", {}, "☐ a"], ["li", {}, "☑ b"]]]),
        ("42.", [["p", {}, "42."]]),
        ("-", [["p", {}, "-"]]),
        ("> a\n> b", [["blockquote", {}, ["p", {}, "a\nb"]]]),
        ("a  \nb", [["p", {}, "a", ["br", {}], "b"]]),
        ("---", [["hr", {}]]),
        (
            "| a | b |\n|--:|---|\n| 1 | *x* |",
            [
                [
                    "table",
                    {},
                    ["thead", {}, ["tr", {}, ["th", {"class": "right"}, "a"], ["th", {}, "b"]]],
                    ["tbody", {}, ["tr", {}, ["td", {"class": "right"}, "1"], ["td", {}, ["em", {}, "x"]]]],
                ]
            ],
        ),
        ("[a](https://b.de)", [["p", {}, ["a", {"href": "https://b.de"}, "a"]]]),
        (
            "see https://b.de, main.py",
            [["p", {}, "see ", ["a", {"href": "https://b.de"}, "https://b.de"], ", main.py"]],
        ),
        ("[a](javascript:x) [b](/c) [d](#e)", [["p", {}, "[a](javascript:x) b d"]]),
        ("![a](https://b.de/c.png)", [["p", {}, ["a", {"href": "https://b.de/c.png"}, "a"]]]),
        ("<b>a</b>", [["p", {}, "<b>a</b>"]]),
        ("```\nx < y\n```", [["pre", {"language": ""}, "x < y"]]),
        ("```nolanguage\nx\n```", [["pre", {"language": "nolanguage"}, "x"]]),
        ("it costs $5 or $6", [["p", {}, "it costs $5 or $6"]]),
    ],
)
def test_what_it_becomes(text, expected):
    assert nodes(text) == expected


def test_code_has_colours():
    (box,) = nodes('```python\ndef f(x):  # hi\n    return "a" + 1\n```')
    assert box[:2] == ["pre", {"language": "python"}]
    classes = {node[1]["class"]: node[2] for node in box[2:] if not isinstance(node, str)}
    assert {"keyword", "function", "comment", "string", "number"} <= set(classes)
    assert classes["comment"].strip() == "# hi"
    assert plain([box]) == 'def f(x):  # hi\n    return "a" + 1'


def test_long_code_has_none():
    code = "x = 1\n" * (MOST_COLOURED // 6 + 1)
    assert coloured(code, "python") == [code]


@pytest.mark.parametrize(
    "text",
    ["$x^2$", "\\(x^2\\)", "$$x^2$$", "\\[x^2\\]", "\\[\nx^2\n\\]", "$$\nx^2\n$$", "\\begin{align}x^2\\end{align}"],
)
def test_formulas(text):
    found = str(nodes(text))
    assert "'math'" in found
    assert "'msup', {}, ['mi', {}, 'x'], ['mn', {}, '2']" in found


MATH = ["math", {"display": "block"}, ["mrow", {}, ["mi", {}, "x"]]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("text\n\\[\nx\n\\]\nmore", [["p", {}, "text"], MATH, ["p", {}, "more"]]),
        ("\\[x\\] more", [["p", {}, MATH, " more"]]),
        ("- a\n  \\[\n  x\n  \\]", [["ul", {}, ["li", {}, "a", MATH]]]),
        ("> \\[\n> x\n> \\]", [["blockquote", {}, MATH]]),
        ("    \\[x\\]", [["pre", {"language": ""}, "\\[x\\]"]]),
        ("- a\n  \\[\n\nb\n\\]", [["ul", {}, ["li", {}, "a\n["]], ["p", {}, "b\n]"]]),
        ("\\(\\)", [["p", {}, "()"]]),
        ("\\(x", [["p", {}, "(x"]]),
    ],
)
def test_where_formulas_are_found(text, expected):
    assert nodes(text) == expected


def test_a_formula_that_is_none_is_shown_as_it_is():
    assert formula("\\frac{", block=False) == ["code", {"class": "formula"}, "\\frac{"]
    assert formula("\\frac{", block=True) == ["p", {}, ["code", {"class": "formula"}, "\\frac{"]]
    assert formula("{" * 300 + "x" + "}" * 300, block=False)[0] == "code"


def test_definitions():
    text = "[a]: https://b.de\n\nfirst\n\nsee [a]\n"
    found = render(text)
    assert found.definitions == "[a]: https://b.de"
    assert nodes("see [a]", found.definitions) == [["p", {}, "see ", ["a", {"href": "https://b.de"}, "a"]]]
    assert render("first\n\n[a]: https://b").definitions == "", "more may come"


GROWING = """# Title

A paragraph
in two lines.

1. one

   still one
2. two
   - inner

text

| a | b |
|---|---|
| 1 | 2 |

```python
x = 1

y = 2
```

\\[
x

y
\\]

> quote
lazy

[a]: https://b.de

see [a]

Setext
======

- [ ] task

$$
z
$$

last *line*"""


def grown(text, ends):
    """The blocks that a page shows at the end of a growing text. It keeps all blocks before the open line."""
    kept, start, definitions = [], 0, ""
    for end in [*ends, len(text)]:
        part = text[start:end]
        found = render(part, definitions)
        kept += [block.nodes for block in found.blocks if block.line < found.open_line]
        start += sum(len(line) + 1 for line in part.split("\n")[: found.open_line])
        definitions += found.definitions + "\n\n" if found.definitions else ""
    return kept + [block.nodes for block in render(text[start:], definitions).blocks]


def test_a_text_that_grows_by_characters():
    assert grown(GROWING, range(len(GROWING))) == [block.nodes for block in render(GROWING).blocks]


PIECES = st.lists(
    st.sampled_from(
        [
            "a",
            "b c",
            "\n",
            "\n\n",
            "1. ",
            "2. ",
            "- ",
            "* ",
            "   ",
            "> ",
            "# ",
            "```\n",
            "\\[\n",
            "\\]\n",
            "---\n",
            "| a |\n",
            "|---|\n",
            "=",
            "\t",
            "~~~\n",
        ]
    ),
    max_size=30,
)


@given(pieces=PIECES)
@settings(max_examples=150)
def test_a_text_that_grows_by_pieces(pieces):
    text = "".join(pieces)
    ends = [sum(map(len, pieces[:count])) for count in range(len(pieces))]
    expected = [block.nodes for block in render(text).blocks]
    found = grown(text, ends)
    assert found == expected
