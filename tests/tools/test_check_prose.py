"""tools/check_prose.py finds each habit in a bad example."""

import check_prose
import pytest
from prose_of_code import paragraphs_of_code

BAD = {
    "shall": "Put a proxy before it when others shall reach it.",
    "history": "The format is no longer the default.",
    "now": "The kernel is now bound by memory.",
    "inversion": "Of a folder the weight files themselves are deleted.",
    "what is no": "A number that is no whole one is rounded down.",
    "what there is": "Another name gets an error with the closest name that there is.",
    "in the place of": "Put its name in the place of the first one.",
    "anew": "The text is read anew for each pass.",
    "says so": "The option turns it on and says so.",
    "so many": "The filter keeps so many of the best tokens.",
    "as it is": "The engine uses the checkpoint as it is.",
    "is to be": "The option says what is to be kept.",
    "spelling": "The engine quantizes each matrix.",
    "goes by": "Each model goes by its name.",
    "long": "The server " + "reads a body and " * 8 + "answers.",
    "telegram": "Half the memory for a longer context.",
}
GOOD = "The server reads `a.b.c`. It keeps 1.5 GB, and [the page](x.md) lists each option."


@pytest.mark.parametrize("name", [*(rule.name for rule in check_prose.RULES), "long", "telegram"])
def test_each_rule_finds_its_bad_example_and_no_other_rule_does(name):
    assert [each.partition(":")[0] for each in check_prose.findings(BAD[name])] == [name]


def test_plain_words_have_no_finding():
    assert check_prose.findings(GOOD) == []
    assert check_prose.sentences(GOOD) == ["The server reads code.", "It keeps 1.5 GB, and the page lists each option."]


def test_only_prose_is_read():
    page = """# You shall not read headings

| tables | shall not count |

    shell commands shall not either

```python
shall = 1
```

<!-- nor comments that shall go -->

* An item that says one thing
  over two lines.
* Another item follows here.
"""
    assert list(check_prose.blocks(page)) == [
        "An item that says one thing over two lines.",
        "Another item follows here.",
    ]


def test_reading_ease_falls_with_long_words_and_long_sentences():
    pytest.importorskip("textstat", reason="reading ease needs the extra [dev]")
    short = check_prose.reading_ease("The cat sat on the mat. The dog ran to it.")
    long = check_prose.reading_ease("Computational reproducibility necessitates deterministic accumulation everywhere.")
    assert short > 90 > check_prose.EASE_AT_LEAST > long
    joined = check_prose.reading_ease(
        "The cat sat on the mat and the dog ran to it and then both of them slept in the sun."
    )
    assert joined < short


def test_a_finding_and_a_hard_page_are_told(tmp_path, capsys):
    """CI runs the program on all pages and all code."""
    pytest.importorskip("textstat", reason="reading ease needs the extra [dev]")
    page, source = tmp_path / "page.md", tmp_path / "source.py"
    page.write_text(GOOD + "\n", "utf-8")
    source.write_text('"""A module."""\n', "utf-8")
    assert check_prose.main([str(page), str(source)]) == 0
    source.write_text('"""A module that is no package."""\n', "utf-8")
    assert check_prose.main([str(source)]) == 1
    page.write_text("Computational reproducibility necessitates deterministic accumulation everywhere.\n", "utf-8")
    assert check_prose.main([str(page)]) == 1
    out = capsys.readouterr().out
    assert f"{source}: what is no: A module that is no package." in out
    assert "page.md: reading ease -" in out


def test_what_proselint_finds_is_shown_with_its_line():
    pytest.importorskip("proselint", reason="needs the extra [dev]")
    found = check_prose.proselint_findings("The server answers.\n\nIt is a very unique server.\n\nThe end comes.\n")
    assert {each.partition(" (")[0] for each in found} == {"proselint: It is a very unique server."}


def test_docstrings_comments_and_messages_of_python_are_read():
    source = '''"""A module shall be read."""
LIMIT = 3  # a comment shall be read
# noqa: shall not
"""A name:

    shall = "code below a blank line"
    shall = "its next line"
"""

def use(parser):
    """Do it.

    Args:
        first, second: what shall be used,
            and one line more.
        third: a table
          shall  not
    """
    parser.add_argument("--shall", help="what shall happen")
    raise ValueError(f"it shall be {LIMIT}")
'''
    said = list(paragraphs_of_code(source, ".py"))
    assert [each for each in said if "shall" in each] == [
        "A module shall be read.",
        "what shall be used, and one line more.",
        "it shall be code",
        "what shall happen",
        "a comment shall be read",
    ]


def test_comments_of_cpp_are_read():
    source = """// Two lines
// make one paragraph.
#include <shall>
int x = 1;  // a comment of its own
// n: how many
// table   shall not
const char* url = "https://shall.not";
"""
    assert list(paragraphs_of_code(source, ".h")) == [
        "Two lines make one paragraph.",
        "a comment of its own",
        "how many",
    ]


def test_docstrings_and_comments_of_cython_are_read():
    source = '''"""A module."""
cdef int use(int n):
    """Do it.

    And more.
    """
    return n  # a comment
'''
    for suffix in (".pyx", ".pxi"):
        assert list(paragraphs_of_code(source, suffix)) == ["A module.", "Do it.", "And more.", "a comment"]


def test_names_of_code_keep_their_spelling():
    said = "Run qwen3cpu quantize, `quantize` or quantize(x) of quantization/gptq.py and pack-quantized."
    assert check_prose.findings(said) == []
