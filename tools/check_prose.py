"""Checks the words of pages and of source files: habits that make a text hard to read, and the reading ease of pages.

    python tools/check_prose.py                     # every page that is checked, and all code
    python tools/check_prose.py docs/search.md      # one page
    python tools/check_prose.py qwen3cpu/model.py   # docstrings, comments, messages and help texts of one file

Code, tables, headings and pictures are left out. Inline code counts as one short word, and so does a number.
Reading ease is Flesch's, as textstat computes it. Exit code 1: there is a finding, or a page is too hard to read.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from prose_of_code import paragraphs_of_code

ROOT = Path(__file__).resolve().parents[1]
WORDS_AT_MOST = 30
EASE_AT_LEAST = 50.0
OTHER_PAGES = (
    *("files.md", "benchmarks.md", "quality.md", "hub.md", "systems.md"),  # the reference
    *("command-line.md", "http-api.md"),  # the reference, written from the code
    *("contributing.md", "architecture.md", "packaging.md", "releasing.md", "mutation.md"),  # the contributor's guide
)
ROOMS = ("qwen3cpu", "csrc", "tests", "bench", "tools")
VERBS = frozenset((ROOT / "tools" / "prose_verbs.txt").read_text("utf-8").split())
"""Verbs: a sentence has one of these words."""


class Rule(NamedTuple):
    """A habit: the pattern that finds it, and the advice for a better text."""

    name: str
    pattern: str
    advice: str


RULES = (
    Rule("shall", r"\bshall\b", "say what is true, or 'must'"),
    Rule(
        "history", r"\b(as before|no longer|today|nowadays|used to be|any more|until now)\b", "history is for notebook/"
    ),
    Rule("now", r"\bnow\b(?! and then)", "a reference says what is true; leave 'now' out"),
    Rule(
        "inversion",
        r"^((Not|Neither|Nor|Never|Only then)\b|Of (a|an|the|all|its|what)\b.*?\b(is|are|has|have)\b)",
        "subject first",
    ),
    Rule("what is no", r"\b(that|what|which) (is|are) no\b", "say 'that is not a'"),
    Rule("what there is", r"\bthat there (is|are)\b", "name the thing"),
    Rule("in the place of", r"\bin (the )?place of\b", "'instead of' or 'for'"),
    Rule("anew", r"\b(anew|thereby|hence|thus|whereby|wherein|thereof)\b", "'again', 'so'"),
    Rule("says so", r"\band (says|say) so\b", "say what is said, and where"),
    Rule("so many", r"\bso many of\b", "give the number a name"),
    Rule("as it is", r"\bas (it|they) (is|are)\b(?= *[.,;:])", "'unchanged'"),
    Rule("is to be", r"\b(is|are) (not )?to be\b", "'must be', 'can be'"),
    Rule(
        "spelling",
        r"(?<![-/])(?<!u )\b(un|de|re)?quantiz(e[ds]?|ing|ation)\b(?!/|\.\w|\()",
        "'quantise'; put code in backquotes",
    ),
    Rule("goes by", r"\b(goes|go) by (the|its|their)\b", "'is called'"),
)
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
LABEL = re.compile(r"^\*\*[^*]+\*\*[.:,]? ?")
"""The name of an item: bold words at its start."""
FENCE = re.compile(r"^( *)```.*?^\1```$", re.M | re.S)
ABBREVIATIONS = re.compile(r"\b(e\.g|i\.e|etc|vs)\.")


def checked_pages() -> list[Path]:
    """README.md, the pages of the user's guide in mkdocs.yml, and `OTHER_PAGES`."""
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    section = text.split("\n  - User's guide:\n")[1].split("\n  - Reference:\n")[0]
    names = ["index.md", *re.findall(r": (\S+\.md)", section), *OTHER_PAGES]
    return [ROOT / "README.md", *(ROOT / "docs" / name for name in names)]


def source_files() -> list[Path]:
    """All files in Python, Cython, C++ and JavaScript."""
    files = (path for room in ROOMS for path in (ROOT / room).rglob("*"))
    return sorted(path for path in files if path.suffix in (".py", ".pyx", ".pxi", ".h", ".cc", ".inc", ".js"))


def blocks(text: str) -> Iterator[str]:
    """The paragraphs and the items of lists, without code, tables, headings, comments and pictures."""
    text = FENCE.sub("", re.sub(r"<!--.*?-->", "", text, flags=re.S))
    block: list[str] = []
    in_list = after_blank = False
    for line in [*text.splitlines(), ""]:
        item = re.match(r" *([*-]|\d+\.) +", line)
        bare = line.strip()
        code = line.startswith("    ") and not in_list and not block
        apart = not bare or code or bare.startswith(("|", "#", "!", ":::", "[!", "<"))
        if (apart or item) and block:
            yield " ".join(block)
            block = []
        if bare:
            in_list = bool(item) or (in_list and (not after_blank or line.startswith("  ")))
        after_blank = not bare
        if not apart:
            block.append(line[item.end() :] if item else bare)


def plain(block: str) -> str:
    """A block in plain words: the words of links, and code as one word."""
    block = re.sub(r"``.+?``|`[^`]+`", "code", LINK.sub(r"\1", block))
    return re.sub(r"\*\*|(?<!\w)[*_]|[*_](?!\w)", "", block)


def sentences(block: str) -> list[str]:
    """The sentences of a block. A colon or semicolon does not end one."""
    text = ABBREVIATIONS.sub(lambda found: found[1].replace(".", ""), plain(block))
    return [
        each
        for each in re.split(r"(?<=[.!?])[\"')]?\s+(?=[A-Z\"'(]|code\b|qwen3cpu\b|llama\.cpp\b|\d)", text)
        if each.strip()
    ]


def words(sentence: str) -> list[str]:
    """The words of a sentence, in lower case."""
    return re.findall(r"[a-z][a-z'’-]*|\d[\d,.]*", sentence.lower())


def habits(sentence: str, said: list[str]) -> Iterator[str]:
    """The findings in a sentence of these words, each with the rule's name, the sentence and the advice."""
    for rule in RULES:
        if re.search(rule.pattern, sentence, re.I if rule.name != "inversion" else 0):
            yield f"{rule.name}: {sentence} ({rule.advice})"
    if len(said) > WORDS_AT_MOST:
        yield f"long: {sentence} ({len(said)} words; at most {WORDS_AT_MOST})"


def findings_in_code(text: str, suffix: str) -> list[str]:
    """The findings in a source file. A docstring may be a telegram."""
    return [
        found
        for paragraph in paragraphs_of_code(text, suffix)
        for sentence in sentences(LABEL.sub("", paragraph))
        for found in habits(sentence, words(sentence))
    ]


def findings(text: str) -> list[str]:
    """The findings in a page."""
    found: list[str] = []
    for block in blocks(text):
        only_links = len([each for each in words(plain(LINK.sub("", block))) if each != "code"]) <= 3
        for sentence in sentences(LABEL.sub("", block)):
            said = words(sentence)
            found += habits(sentence, said)
            if (
                len(said) > 3
                and sentence[0].isupper()
                and sentence[-1] != ":"
                and not only_links
                and not VERBS & set(said)
            ):
                found.append(f"telegram: {sentence} (a sentence has a verb)")
    return found


def reading_ease(text: str) -> float:
    """Flesch's reading ease of a page's prose."""
    import textstat

    said = [re.sub(r"\d[\d.,]*", "7", each) for block in blocks(text) for each in sentences(block)]
    return float(textstat.flesch_reading_ease("\n".join(re.sub(r"[.!?:;,]+", " ", each) + "." for each in said)))


def proselint_findings(text: str) -> list[str]:
    """The findings of proselint, without its rules for print: curly quotes, and one character for three dots."""
    from proselint.checks import __register__
    from proselint.config import DEFAULT
    from proselint.registry import CheckRegistry
    from proselint.tools import LintFile

    registry = CheckRegistry()
    if not registry.checks:
        registry.register_many(__register__)
    codes = itertools.count()
    prose = "\n\n".join(re.sub(r"\bcode\b", lambda _: f"code{next(codes)}", plain(each)) for each in blocks(text))
    found: list[str] = []
    if not prose:
        return found
    for each in LintFile("page", prose).lint({**DEFAULT, "checks": {**DEFAULT["checks"], "typography": False}}):
        block = prose[: each.check_result.span[1] - 1].rpartition("\n\n")[2] + prose[each.check_result.span[1] - 1 :]
        found.append(f"proselint: {block.partition(chr(10))[0]} ({each.check_result.message})")
    return found


def main(names: list[str]) -> int:
    """Print the findings, and the reading ease of each page. Returns the exit code."""
    bad = 0
    for path in [Path(name) for name in names] or [*checked_pages(), *source_files()]:
        text = path.read_text("utf-8")
        if path.suffix != ".md":
            found = findings_in_code(text, path.suffix)
            print("".join(f"{path}: {each}\n" for each in found), end="")
            bad += len(found)
            continue
        found, ease = [*findings(text), *proselint_findings(text)], reading_ease(text)
        for each in found:
            print(f"{path.name}: {each}")
        print(f"{path.name}: reading ease {ease:.1f}")
        bad += len(found) + (ease < EASE_AT_LEAST)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
