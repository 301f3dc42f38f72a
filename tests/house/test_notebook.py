"""The notebook in examples/ runs, and its cells show the expected output."""

import json
import re
import sys
from pathlib import Path

import pytest

import qwen3cpu

nbclient = pytest.importorskip("nbclient", reason="notebooks are run by nbclient")
nbformat = pytest.importorskip("nbformat", reason="notebooks are read by nbformat")
pytest.importorskip("ipykernel", reason="notebooks are run by ipykernel")

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"
if not NOTEBOOK.is_file():
    pytest.skip("needs examples/ beside the tests", allow_module_level=True)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Run the notebook; return the code cells by the first words of their source."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("notebook")
        # Uses the kernel of this Python, not one of the user's. pytest's own settings do not apply to it.
        patch.setenv("JUPYTER_DATA_DIR", str(folder))
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("PYTHONWARNINGS", "default")
        kernel = folder / "kernels" / "python3"
        kernel.mkdir(parents=True)
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (kernel / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "x", "language": "python"}))
        nbclient.NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(folder)}}).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def output(cells, begins, kind):
    """Return the output of the cell that begins with a text: one kind of data, or the stream stdout."""
    (cell,) = [cell for cell in cells if cell.source.startswith(begins)]
    found = [
        each.text if each.output_type == "stream" else each.data.get(kind, "")
        for each in cell.outputs
        if (each.output_type == "stream") is (kind == "stdout")
    ]
    return ("" if kind == "stdout" else "\n").join(found)


def test_the_card_of_a_model(cells):
    page = output(cells, "import qwen3cpu", "text/html")
    assert "tiny</div><table>" in page
    assert "<td>weights</td><td>q4, " in page


def test_conversion_shows_how_far_it_came(cells):
    assert re.match(r"Packing: (\d+) of \1 MB, 0:00:\d\d$", output(cells, "import qwen3cpu", "text/plain"), re.M)


def test_an_answer_with_its_thinking_folded(cells):
    page = output(cells, "result = ", "text/html")
    assert re.search(r"<details[^>]*><summary>Thinking, \d+ tokens</summary>.+</details><p>", page, re.S)
    assert output(cells, "result.text", "text/plain").strip("'") in page
    assert "token_ids" not in output(cells, "result = ", "text/plain")


def test_an_answer_piece_by_piece(cells):
    model = qwen3cpu.load("tiny", threads=1)
    assert output(cells, "for chunk", "stdout") == model.generate("17 + 5?", seed=1).text


def test_a_batch_and_a_long_prompt_show_how_far_they_came(cells):
    assert "Answering: 8 of 8 prompts, 0:0" in output(cells, "answers = ", "text/plain")
    shown = output(cells, "long = ", "text/plain")
    (tokens,) = re.findall(r"^(\d+)$", shown, re.M)
    assert f"prompt: {tokens} of {tokens} tok, 0:0" in shown


def test_a_conversation_is_a_dialogue(cells):
    page = output(cells, "chat = ", "text/html")
    assert re.findall(r">(You|Model)</div>", page) == ["You", "Model"] * 2
    assert "And 3 + 5?" in page


def test_a_model_that_was_closed(cells):
    shown = output(cells, "with ", "stdout")
    assert shown.endswith("tiny: expected an open model, found one that was closed; load it again\n")
