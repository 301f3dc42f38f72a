"""Views of answers, conversations and models in notebooks."""

import pickle
import re

import pytest
from scripted_models import script, write_scripted

import qwen3cpu
from qwen3cpu.generation.notebook_views import dialogue_view


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that thinks "<b>" before it answers "*Y*"."""
    follows = script(["\n", "<think>", "<", "b", ">", "</think>", "*", "Y", "."])
    return qwen3cpu.load(write_scripted(tmp_path_factory.mktemp("thinker"), follows), quant="f32", threads=1)


def test_an_answer(model):
    result = model.generate("x", temperature=0.5, seed=1)
    page = result._repr_html_()
    assert "<summary>Thinking, 5 tokens</summary>" in page
    assert "&lt;b&gt;</div></details><p>*Y.</p>" in page
    assert re.search(rf"{result.usage.completion_tokens} tokens, [\d.]+ per second</div></div>$", page)
    cut = model.generate("x", temperature=0.5, max_new_tokens=2)
    assert "; cut off: max_new_tokens<" in cut._repr_html_()


def test_the_plain_form_has_no_ids(model):
    result = model.generate("x", temperature=0.5, logprobs=1)
    assert repr(result).startswith("Result(text='*Y.', reasoning='<b>', ")
    assert "token_ids" not in repr(result)
    assert "logprobs" not in repr(result)
    assert pickle.loads(pickle.dumps(result)) == result


def test_a_conversation(model):
    chat = model.chat("be <kind>", temperature=0.5)
    assert "System</div>" in chat._repr_html_()
    chat.send("hello & so on")
    page = chat._repr_html_()
    spoken = re.findall(r'margin-top:.6em">(\w+)</div>', page)
    assert spoken == ["System", "You", "Model"]
    assert "be &lt;kind&gt;" in page
    assert "hello &amp; so on" in page
    assert "<summary>Thinking</summary>" in page
    assert "nothing has been said yet" in model.chat()._repr_html_()


def test_calls_results_and_parts_of_messages():
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": {"a": "<i>"}}}
    page = dialogue_view(
        [
            {"role": "user", "content": [{"type": "text", "text": "one"}, "two"]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "3"},
            {"role": "<odd>", "content": "x"},
        ]
    )
    assert "one\ntwo" in page
    assert "add({&quot;a&quot;: &quot;&lt;i&gt;&quot;})" in page
    assert "Tool</div>" in page
    assert "&lt;odd&gt;" in page


def test_a_model_is_a_small_card(model):
    page = model._repr_html_()
    rows = re.findall(r"<tr><td>([^<]+)</td><td>([^<]+)</td></tr>", page)
    assert [name for name, _ in rows] == ["made for", "parameters", "weights", "context", "threads"]
    assert dict(rows)["made for"] == "generation"
    assert dict(rows)["weights"].startswith("f32, ")
    assert dict(rows)["threads"] == "1"
