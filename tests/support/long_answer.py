"""Long answers with all elements of Markdown, and a script that watches changes of the page while one is written."""

PARTS = (
    "A paragraph number {n} with **bold** words, `code`, and $x_{n}^2$ in it. It goes on for a while, as paragraphs "
    "do, and says nothing that anybody would have to know.\n\n",
    "## Part {n}\n\n",
    "- the first of {n}\n- the second\n  - and one inside\n- the last\n\n",
    "1. one\n2. two\n\n   with a paragraph\n3. three\n\n",
    "| name | value |\n|---|--:|\n| a{n} | 1 |\n| b | {n} |\n\n",
    "```python\ndef f{n}(x):\n    # adds\n    return x + {n}\n\n\nprint(f{n}(1))\n```\n\n",
    "\\[\n\\sum_{{i=1}}^{{{n}}} i\n\\]\n\n",
    "> a quote of {n}\n> in two lines\n\n",
)


def long_answer(characters):
    """At least `characters` characters of Markdown."""
    text, number = "", 0
    while len(text) < characters:
        text += PARTS[number % len(PARTS)].replace("{{", "{").replace("}}", "}").replace("{n}", str(number))
        number += 1
    return text


WATCH = """() => {
  const body = document.querySelector(".assistant:last-child .body");
  window.seen = { early: [], changes: 0, blocks: 0 };
  let blocks = [];
  new MutationObserver((changes) => {
    // What may have changed: the block that was the last one, and those that have come since.
    const kept = new Set(blocks.slice(0, -1));
    for (const { target } of changes) {
      const node = target.nodeType === 1 ? target : target.parentElement;
      const block = node?.closest(".block");
      window.seen.changes++;
      if (block && kept.has(block)) window.seen.early.push(block.innerText.slice(0, 60));
    }
    const gone = blocks.slice(0, -1).some((each, at) => body.children[at] !== each);
    if (gone) window.seen.early.push("replaced");
    blocks = [...body.children];
    window.seen.blocks = blocks.length;
  }).observe(body, { childList: true, subtree: true, characterData: true, attributes: true });
}"""
"""Watches the answer that is being written."""
