"""Makes a file of texts a source of drafts."""

from __future__ import annotations

import os

from qwen3cpu.engine.text_drafts import TextDrafts
from qwen3cpu.errors import DraftFileError
from qwen3cpu.generation.answerer import Answerer
from qwen3cpu.packed.draft_file import DraftFile
from qwen3cpu.system.paths import checked_path


def draft_from_file(answerer: Answerer, path: str | os.PathLike[str], name: str) -> None:
    """Add the texts of a file to the sources of drafts.

    Args:
        answerer: of the model.
        path: of the file, which `qwen3cpu.write_drafts` wrote.
        name: of the model, for messages.

    Raises:
        DraftFileError: the file is missing or damaged, or was made with another tokenizer.
        ArgumentError: the model was not made to write text, or `path` is not a path.
    """
    answerer.request()  # refuses a model that was made for something else
    around = answerer.surroundings
    file = DraftFile(checked_path("drafts_from", path))
    if file.tokenizer != around.tokenizer.fingerprint:
        raise DraftFileError(f"{path}: expected the tokenizer of {name}, found texts of another tokenizer")
    texts = TextDrafts(file.tokens, file.places, file.usable)
    answerer.surroundings = around.with_drafter(texts.drafter)
