"""`qwen3cpu chat` on the model inside the package, with given answers.

    python dictated_chat.py ANSWERS.json FLAGS...

ANSWERS.json has a list of texts. The spelling of a control token in them stands for that token. At the character PAUSE
the answer waits until the file ANSWERS.json.go exists, and removes it.
"""

import json
import sys
import time
from pathlib import Path

import pytest
from dictation import dictate
from packed_once import packing_once

from qwen3cpu.cli.chat.markdown_writer import SLOWEST_FRAME
from qwen3cpu.cli.main import main
from qwen3cpu.engine.sampling import Sampler
from qwen3cpu.model import Model, load

PAUSE = "\N{DOUBLE VERTICAL BAR}"


def dictated(patch: pytest.MonkeyPatch, model: Model, answers: list[str], go: Path) -> None:
    """Let a model give these answers, and wait at their pauses."""
    places = [{len(encode(model, text[:at])) for at in range(len(text)) if text[at] == PAUSE} for text in answers]
    dictate(patch, model, *(encode(model, text) for text in answers))
    waiting = iter(places)
    begin, sample = Sampler.__init__, Sampler.sample

    def begun(self, *args, **options):
        begin(self, *args, **options)
        self.pauses, self.said = next(waiting), 0

    def sampled(self, logits):
        if self.said + 1 in self.pauses:
            time.sleep(1.5 * SLOWEST_FRAME)  # the text so far is on the screen then
        if self.said in self.pauses:
            while not go.exists():
                time.sleep(0.01)
            go.unlink()
        self.said += 1
        return sample(self, logits)

    patch.setattr(Sampler, "__init__", begun)
    patch.setattr(Sampler, "sample", sampled)


def encode(model: Model, text: str) -> list[int]:
    """The ids of a text without its pauses, encoded piece by piece, so that a pause is between tokens."""
    return [id_ for piece in text.split(PAUSE) for id_ in model.tokenizer.encode(piece, control_tokens=True)]


if __name__ == "__main__":
    answers = Path(sys.argv[1])
    with pytest.MonkeyPatch.context() as patch, packing_once():
        model = load("tiny", threads=1, context=4096)
        dictated(patch, model, json.loads(answers.read_text("utf-8")), answers.with_suffix(".json.go"))
        patch.setattr("qwen3cpu.cli.chat.command.open_model", lambda args: model)
        sys.exit(main(["chat", *sys.argv[2:]]))
