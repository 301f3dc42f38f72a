"""The Python examples of the documentation run, and its list of commands is the command line's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.scripts import script_module

import qwen3cpu
from qwen3cpu.cli.main import make_parser

DOCS = Path(__file__).parents[2] / "docs"
if not DOCS.is_dir():
    pytest.skip("needs docs/ beside the tests", allow_module_level=True)
EXAMPLES = [
    pytest.param(code, id=f"{page.stem}-{number}")
    for page in sorted(DOCS.glob("*.md"))
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S))
    if '"tiny' in code
]


def test_there_are_examples():
    assert len(EXAMPLES) >= 10


@pytest.mark.parametrize("code", EXAMPLES)
def test_example(code, tmp_path, monkeypatch):
    if "qwen3cpu.search" in code:
        pytest.importorskip("sqlite_vec")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "example", "exec"), {"__name__": "example"})


def test_the_api_page_shows_what_users_of_a_model_need():
    """A model's other attributes, for the package's own modules, begin with an underscore (docs/api.md, mkdocs.yml)."""
    about = {
        "chat_template",
        "config",
        "context",
        "eos_token_ids",
        "fingerprint",
        "format_bytes",
        "generation_defaults",
    }
    about |= {"has_chat_template", "kv_bytes_per_token", "packed_path", "quant", "source", "task", "threads"}
    about |= {"weight_bytes"}
    answers = {"generate", "stream", "agenerate", "astream", "generate_batch", "run", "chat", "resume", "close"}
    search = {"embed", "embed_stream", "aembed", "rerank"}
    shown = {name for name in dir(qwen3cpu.Model) if not name.startswith("_")}
    about |= {"load_arguments"}
    own = {"embedder", "reranker", "draft_model", "draft_with", "draft_from"}  # mkdocs.yml leaves them out
    assert shown - own == about | answers | search | {"logits", "score", "render"}


def test_every_command_is_on_the_page():
    (commands,) = [each.choices for each in make_parser()._actions if isinstance(each.choices, dict)]
    page = (DOCS / "command-line.md").read_text("utf-8")
    assert {name for name in commands if f"| `qwen3cpu {name}" not in page} == set()


def test_the_options_are_those_of_the_parsers():
    page = (DOCS / "command-line.md").read_text("utf-8")
    tool = script_module("tools/command_line.py")
    assert tool.filled(page) == page, "run `python tools/command_line.py`"


def test_the_options_of_an_answer_are_those_of_the_code():
    page = (DOCS / "api.md").read_text("utf-8")
    assert script_module("tools/python_options.py").filled(page) == page, "run `python tools/python_options.py`"


def test_every_public_name_has_its_place_on_the_api_page():
    page = (DOCS / "api.md").read_text("utf-8")
    errors = {name for name in qwen3cpu.__all__ if name.endswith(("Error", "Warning"))}
    places = {name for name in qwen3cpu.__all__ if f"::: qwen3cpu.{name}\n" in page}
    assert set(qwen3cpu.__all__) - errors - places == {"__version__"}
