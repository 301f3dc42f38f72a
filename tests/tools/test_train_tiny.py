"""tools/train_tiny.py: it makes the package's tokenizer, and its second part continues with a trained model."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from scripts import script_module

import qwen3cpu

TINY = Path(qwen3cpu.__file__).parent / "assets" / "tiny"


@pytest.fixture(scope="module")
def train():
    pytest.importorskip("torch")
    pytest.importorskip("tokenizers")
    return script_module("tools/train_tiny.py")


@pytest.fixture(scope="module")
def written(train, tmp_path_factory):
    """The output of two steps of the second part on the package's model, and of the same run when it is resumed."""
    from tiny.evaluation import Score
    from tokenizers import Tokenizer

    base = tmp_path_factory.mktemp("train")
    row = train.Measurement(200, "f32", True, 0.0, Score(1.0, 2.0, 3.0, 4.0, []))
    with pytest.MonkeyPatch.context() as patch:
        # Without long conversations, whose attention takes gigabytes.
        patch.setattr(train, "TRIES", replace(train.TRIES, steps=2, late_from=1))
        patch.setattr(train, "measure", lambda *_: [row])
        patch.setattr(train, "make_tokenizer", lambda _: Tokenizer.from_file(str(TINY / "tokenizer.json")))
        for name, more in (("out", []), ("again", ["--resume"])):
            places = [f"--out={base / name}", f"--work={base / 'work'}", f"--held-out={base / 'held_out.json'}"]
            patch.setattr(sys, "argv", ["train_tiny.py", "--from", str(TINY), *places, *more])
            train.main()
    return base / "out", base / "again"


def test_the_tokenizer_of_the_package_is_learned_anew(train):
    made = train.make_tokenizer(train.Recipe.seed)
    assert made.to_str(pretty=True) == (TINY / "tokenizer.json").read_text(encoding="utf-8")


def test_the_second_part_changes_the_weights_and_nothing_else(written):
    out, _ = written
    names = {path.name for path in TINY.iterdir()}
    assert {path.name for path in out.iterdir()} == names
    changed = {name for name in names if (out / name).read_bytes() != (TINY / name).read_bytes()}
    assert changed == {"model.safetensors", "README.md"}
    assert (out / "model.safetensors").stat().st_size == (TINY / "model.safetensors").stat().st_size
    assert qwen3cpu.load(str(out)).generate("2 + 2?", max_new_tokens=4).token_ids


def test_the_held_out_problems_are_those_of_the_tests(written):
    shipped = Path(__file__).parents[1] / "support" / "tiny_heldout.json"
    assert (written[0].parent / "held_out.json").read_text() == shipped.read_text()


def test_a_finished_run_that_is_resumed_writes_the_same_weights(written):
    first, again = ((out / "model.safetensors").read_bytes() for out in written)
    assert first == again


def test_the_card_tells_all_parts_and_the_losses_of_those_that_were_done(written):
    card = (written[0] / "README.md").read_text()
    assert "| first | 1 | 8,000 | 3,072 | 0.02 | 0.003 |" in card
    assert "| tries | 1 | 2 | 3,072 |" in card
    assert [name for name in ("first", "tries") if f'Loss of the part "{name}"' in card] == ["tries"]
