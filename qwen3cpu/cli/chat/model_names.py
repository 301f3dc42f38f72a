"""Names of models: those inside the package, those fetched from the hub, and the released ones."""

from __future__ import annotations

import os
from pathlib import Path

from qwen3cpu.checkpoint.known_models import KNOWN
from qwen3cpu.loading.locate import EMBEDDED


def model_names() -> list[str]:
    """The names, as `--model` takes them. Nothing is fetched, and no file of a model is read."""
    found = {*EMBEDDED, *(model.short for model in KNOWN)}
    for folder in _hub_cache().glob("models--*--*"):
        owner, _, name = folder.name.removeprefix("models--").partition("--")
        found.add(f"{owner}/{name}")
    return sorted(found)


def _hub_cache() -> Path:
    """The folder where huggingface_hub keeps models. Asking the library would take half a second to import it."""
    for variable, below in (("HF_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")):
        if os.environ.get(variable):
            return Path(os.environ[variable]).expanduser() / below
    return Path("~/.cache/huggingface/hub").expanduser()
