"""Links, anchors and pictures of the documentation exist, and docs/questions.md quotes existing lines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
if not DOCS.is_dir():
    pytest.skip("needs docs/ beside the tests", allow_module_level=True)
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
ROW = re.compile(r"^\| \[(.+?)\]\(([\w-]+)\.md(?:#[\w-]+)?\) \| (?:`` (.+) ``|`([^`]+)`) \|$")


def without_code(text: str) -> str:
    """Return a page without blocks of code and inline code."""
    return re.sub(r"``.+?``|`[^`\n]+`", "", re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S))


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as the extension toc of Markdown makes them."""
    markdown = pytest.importorskip("markdown", reason="anchors need Markdown (extra [docs])")
    html = markdown.markdown(path.read_text("utf-8"), extensions=["toc", "fenced_code"])
    return set(re.findall(r'<h\d id="([^"]+)"', html))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    wrong = []
    for picture, words, target in re.findall(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", without_code(page.read_text("utf-8"))):
        if picture and len(words.split()) < 3:
            wrong.append(f"{target}: expected words that say what the picture shows, found {words!r}")
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists():
            wrong.append(f"{target}: there is no such file")
        elif anchor and path.suffix == ".md" and anchor not in anchors(path):
            wrong.append(f"{target}: the page has no such heading")
    assert wrong == []


def listed() -> list[str]:
    """Return the pages of mkdocs.yml, without the notebook and the page of questions itself."""
    names = re.findall(r": ([\w-]+)\.md$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.M)
    return [name for name in names if name != "questions"]


def questions() -> dict[str, list[tuple[str, str]]]:
    """Return page -> its questions and the quoted answers."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in (DOCS / "questions.md").read_text("utf-8").splitlines():
        if row := ROW.match(line):
            found.setdefault(row[2], []).append((row[1], (row[3] or row[4])))
    return found


def test_each_page_has_five_questions():
    counts = {page: len({question for question, _ in rows}) for page, rows in questions().items()}
    assert counts == dict.fromkeys(listed(), 5)


@pytest.mark.parametrize("page", listed())
def test_each_answer_is_on_its_page(page):
    """Quoted cells of a table row have an ellipsis between them."""
    text = (DOCS / f"{page}.md").read_text("utf-8")
    places = [*text.splitlines(), re.sub(r"\s+", " ", text)]

    def there(answer: str) -> bool:
        found = re.compile(r" \| ".join(map(re.escape, answer.split(" … "))))
        return any(found.search(place) for place in places)

    assert [answer for _, answer in questions().get(page, []) if not there(answer)] == []
