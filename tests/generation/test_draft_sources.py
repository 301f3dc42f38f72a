"""The invariant with drafts from every source: answers do not change, in any format and with any instruction set."""

import json
import subprocess
import sys

import checkpoints
import drafted_answers
import pytest
from cli_runs import environment
from drafted_answers import PROMPTS, SOURCES, drafting_model, every_answer

import qwen3cpu
from qwen3cpu import _native
from qwen3cpu.engine.model_drafts import DraftModel

CASES = [("f32", "f32"), ("q4", "f16"), ("q8", "q8")]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model, a draft model for it, and a file of texts that the first model has written."""
    root = tmp_path_factory.mktemp("drafts")
    shape = {"max_position_embeddings": 400}
    large = checkpoints.write_checkpoint(root / "large", **shape).folder
    model = qwen3cpu.load(large, quant="q8", threads=1)
    said = model.generate_batch(PROMPTS, temperature=0, max_new_tokens=60, ignore_eos=True)
    qwen3cpu.write_drafts(large, [each.text for each in said], root / "said")
    return str(large), str(large), str(root / "said")


@pytest.fixture
def cheap(monkeypatch):
    """Passes of the small model cost nothing, so that it always drafts."""
    monkeypatch.setattr(DraftModel, "least_chance", property(lambda self: 0.0))


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize(("quant", "kv"), CASES, ids="-".join)
def test_answers_are_those_without_drafts(files, quant, kv):
    expected, _ = every_answer(drafting_model(*files, "none", quant=quant, kv=kv, threads=1, prefix_cache=0))
    for place, source in enumerate(SOURCES):
        threads, prefix_cache = 1 + place % 2, (1 << 24) * (place % 3 > 0)
        model = drafting_model(*files, source, quant=quant, kv=kv, threads=threads, prefix_cache=prefix_cache)
        found, accepted = every_answer(model)
        assert found == expected, source
        assert (accepted > 0) == (source != "none"), source


def test_they_are_the_same_at_every_instruction_set(files):
    expected = answers_at(files, _native.chosen_isa(), "q4", "f16", "none")
    for isa, usable in _native.isas():
        if usable:
            assert answers_at(files, isa, "q4", "f16", "all") == expected, isa


def answers_at(files, isa, quant, kv, source):
    """The answers of a process with an instruction set."""
    done = subprocess.run(
        [sys.executable, drafted_answers.__file__, *files, quant, kv, "1", source],
        env=environment(QWEN3CPU_ISA=isa),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)[0]
