"""Progress in a notebook: a line with the time left, updated at most twice a second."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from qwen3cpu.system import notebook_line
from qwen3cpu.system.notebook_line import NotebookLine, in_notebook
from qwen3cpu.system.progress_bar import Progress, is_wanted


@pytest.fixture
def shown(monkeypatch):
    """The lines that a notebook shows. IPython's two functions are replaced by mocks, as documented."""
    shown, pages = [], []

    def display(content, *, raw, display_id):
        pages.append(content["text/html"])
        assert raw
        assert display_id is True
        shown.append(content["text/plain"])
        return SimpleNamespace(update=update)

    def update(content, *, raw):
        pages.append(content["text/html"])
        shown.append(content["text/plain"])

    ipython, display_module = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=None)
    display_module.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display_module)
    return SimpleNamespace(lines=shown, pages=pages)


def test_the_time_left(shown):
    now = [100.0]
    line = NotebookLine("answering", 2000, "lines", clock=lambda: now[0])
    assert shown.lines == ["answering: 0 of 2000 lines"]
    line.advance(1)
    now[0] += 0.4
    line.advance(1)
    assert len(shown.lines) == 1
    now[0] += 9.6
    line.advance(98)
    assert shown.lines[1:] == ["answering: 100 of 2000 lines, 0:03:10 left"]
    line.start("loading", 3_000_000, "B")
    now[0] += 1
    line.advance(1_000_000)
    assert shown.lines[2:] == ["loading: 0 of 3 MB", "loading: 1 of 3 MB, 0:00:02 left"]
    line.start("reading", None, "lines")
    now[0] += 1
    line.advance(5)
    assert shown.lines[4:] == ["reading: 0 lines", "reading: 5 lines"]
    now[0] += 3
    line.end()
    assert shown.lines[6:] == ["reading: 5 lines, 0:00:04"]


def test_the_page_has_a_bar(shown):
    line = NotebookLine("<loading>", 20, "lines", clock=lambda: 0.0)
    line.show()
    line.start("reading", None, "lines")
    line.end()
    assert shown.pages == [
        '<progress value="0" max="20"></progress> &lt;loading&gt;: 0 of 20 lines',
        '<progress value="0" max="20"></progress> &lt;loading&gt;: 0 of 20 lines',
        "<progress></progress> reading: 0 lines",
        "reading: 0 lines, 0:00:00",
    ]


def test_progress_shows_it_in_a_notebook(shown, monkeypatch):
    assert in_notebook()
    monkeypatch.setattr(notebook_line, "EVERY", 0.0)
    with Progress("reading", None, unit="lines") as progress:
        progress.start("answering", 2, "lines")
        progress.advance(1)
        progress.advance(1)
    assert shown.lines[0] == "reading: 0 lines"
    assert shown.lines[1] == "answering: 0 of 2 lines"
    assert shown.lines[2].startswith("answering: 1 of 2 lines")
    assert shown.lines[3:] == ["answering: 2 of 2 lines", "answering: 2 of 2 lines, 0:00:00"]


@pytest.mark.parametrize(("asked", "expected"), [(None, True), (True, True), (False, False)])
def test_calls_show_a_bar_in_a_notebook_unless_they_are_asked_not_to(shown, asked, expected):
    assert is_wanted(asked) is expected


@pytest.mark.parametrize("shell", [None, SimpleNamespace()])
def test_no_notebook(monkeypatch, shell):
    ipython = ModuleType("IPython")
    ipython.get_ipython = lambda: shell
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert not in_notebook()
    assert not is_wanted(None)
    assert is_wanted(True)
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()
