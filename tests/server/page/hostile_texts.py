"""Texts that try to make a page run a script: tags and events, in encodings of all kinds, in all places of Markdown."""

from __future__ import annotations

import base64
from collections.abc import Iterator

HIT = "window.hit=1"
"""The effect of a script."""
TAGS = {
    "img": 'src="x"',
    "svg": "",
    "video": 'src="x"',
    "audio": 'src="x"',
    "body": "",
    "input": "autofocus",
    "select": "autofocus",
    "details": "open",
    "marquee": "",
    "iframe": 'src="about:blank"',
    "object": 'data="x"',
    "style": "",
    "math": "",
    "a": 'href="#" autofocus',
}
EVENTS = ("onerror", "onload", "onfocus", "ontoggle", "onstart", "onmouseover", "onanimationstart", "onpointerenter")
SCRIPTS = (
    f"<script>{HIT}</script>",
    f"<script src=data:text/javascript,{HIT}></script>",
    f"<svg><script>{HIT}</script></svg>",
    f"<svg><animate onbegin={HIT} attributeName=x dur=1s>",
    f"<svg><foreignObject><body onload={HIT}></foreignObject></svg>",
    f'<math><mtext></form><form><mglyph><style></math><img src onerror="{HIT}">',
    f'<math><maction actiontype="statusline" xlink:href="javascript:{HIT}">x</maction></math>',
    f'<iframe srcdoc="<script>parent.{HIT}</script>"></iframe>',
    f"<iframe src=javascript:{HIT}></iframe>",
    f'<embed src="javascript:{HIT}">',
    f'<form><button formaction="javascript:{HIT}">x</button></form>',
    f'<meta http-equiv="refresh" content="0;url=javascript:{HIT}">',
    f'<base href="javascript:{HIT}//">',
    f'<link rel="stylesheet" href="data:text/css,*{{background:url(javascript:{HIT})}}">',
    f'<template><img src=x onerror="{HIT}"></template>',
    f'<noscript><p title="</noscript><img src=x onerror={HIT}>">',
    f"<!--><img src=x onerror={HIT}>-->",
    f"<![CDATA[><img src=x onerror={HIT}>]]>",
    f'<xss style="behavior:url(x)" onclick={HIT} tabindex=1>x</xss>',
    f"</p></div></article><img src=x onerror={HIT}>",
)
SCHEMES = (
    "javascript:",
    "JaVaScRiPt:",
    "java\tscript:",
    "java\nscript:",
    "\x01javascript:",
    " javascript:",
    "javascript&colon;",
    "&#106;avascript:",
    "&#x6A;avascript:",
    "&#0000106avascript:",
    "javascript\\:",
    "%6Aavascript:",
    "\u200bjavascript:",
    "vbscript:",
    "data:text/html,",
    "data:text/html;base64,",
    "blob:",
    "file:///",
    "view-source:javascript:",
    "https:javascript:",
    "//javascript:",
    'http://x"onmouseover="',
    "http://x'onmouseover='",
    "http://[::1",
)
ADDRESSES = (
    "[x]({})",
    "[x](<{}>)",
    "![x]({})",
    "<{}>",
    "[x][r]\n\n[r]: {}",
    "[x]({} 'y\" onclick=\"window.hit=1')",
    "| a |\n|---|\n| [x]({}) |",
)
PLACES = (
    "{}",
    "text {} text",
    "**{}**",
    "# {}",
    "- {}",
    "> {}",
    "| a | b |\n|---|---|\n| {} | x |",
    "`{}`",
    "```html\n{}\n```",
    "```{}\nx\n```",
    "[{}](https://example.com)",
    "![{}](https://example.com/x.png)",
    '[x](https://example.com "{}")',
    "$${}$$",
    "\\({}\\)",
    "\\[\n{}\n\\]",
)
FORMULAS = (
    f"\\href{{javascript:{HIT}}}{{x}}",
    f"\\url{{javascript:{HIT}}}",
    f"\\text{{<img src=x onerror={HIT}>}}",
    f"\\mathrm{{<script>{HIT}</script>}}",
    f'\\class{{x" onclick="{HIT}}}{{x}}',
    f"\\style{{background:url(javascript:{HIT})}}{{x}}",
    f'\\color{{red" onload="{HIT}}}{{x}}',
    f"\\includegraphics{{javascript:{HIT}}}",
    f"&lt;img src=x onerror={HIT}&gt;",
    f"\\operatorname{{<svg onload={HIT}>}}",
    f'\\htmlData{{x="><img src=x onerror={HIT}>}}{{x}}',
    f"x</mi></math><img src=x onerror={HIT}>",
)


def _encoded(text: str) -> Iterator[str]:
    """A text unchanged, and in other forms that parsers may read as the same."""
    yield text
    yield text.upper().replace(HIT.upper(), HIT)
    yield text.replace("<", "&lt;").replace(">", "&gt;")
    yield "".join(f"&#{ord(each)};" if each in "<>\"'=" else each for each in text)
    yield text.replace("<", "\\<")
    yield text.replace("<", "<\0").replace(" ", "/")
    yield text.replace(" ", "\n")
    yield text.replace("<", "\uff1c").replace(">", "\uff1e")


def hostile_texts() -> list[str]:
    """All of them, each once."""
    found = []
    elements = [
        f'<{tag} {attributes} {event}="{HIT}">x</{tag}>' for tag, attributes in TAGS.items() for event in EVENTS
    ]
    for number, each in enumerate([*SCRIPTS, *elements]):
        # Every element in every encoding, at alternating places; each script at every place.
        for turn, encoded in enumerate(_encoded(each)):
            found.append(PLACES[(number + turn) % len(PLACES)].replace("{}", encoded))
    found += [place.replace("{}", script) for script in SCRIPTS for place in PLACES]
    payload = base64.b64encode(f"<script>parent.{HIT}</script>".encode()).decode()
    for scheme in SCHEMES:
        address = scheme + (payload if "base64" in scheme else HIT)
        found += [form.replace("{}", address) for form in ADDRESSES]
    found += [
        place.replace("{}", formula)
        for formula in FORMULAS
        for place in ("$${}$$", "\\({}\\)", "\\[{}\\]", "\\begin{align}{}\\end{align}")
    ]
    return list(dict.fromkeys(found))
