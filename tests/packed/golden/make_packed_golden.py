"""Makes toy.qwen3, toy.session and toy.json in the folder of its version: they must stay readable for later ones.

    python tests/packed/golden/make_packed_golden.py

It is run again only when packed files or sessions get another format version.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import qwen3cpu
from qwen3cpu.packed.packed_file import FORMAT_VERSION

HERE = Path(__file__).parent / f"version{FORMAT_VERSION}"
SHAPE = {
    "tie_word_embeddings": False,
    "attention_bias": True,
    "hidden_size": 40,
    "head_dim": 16,
    "intermediate_size": 48,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
OPTIONS = {"temperature": 0.0, "thinking": False, "max_new_tokens": 12, "ignore_eos": True}
"""Greedy: the answers are the same on every machine."""
MESSAGES = ("hello world " * 4, "the sky is blue")


def main() -> None:
    """Write the files."""
    HERE.mkdir(exist_ok=True)
    sys.path.insert(0, str(HERE.parents[2] / "support"))
    from checkpoints import write_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # so that no path of this machine gets into the file
        write_checkpoint(Path("toy"), **SHAPE)
        qwen3cpu.pack("./toy", HERE / "toy.qwen3", "q4", threads=1)
    model = qwen3cpu.load(HERE / "toy.qwen3", kv="q8", threads=1)
    chat = model.chat("be brief", **OPTIONS)
    answers = [chat.send(MESSAGES[0]).token_ids]
    chat.save(HERE / "toy.session")
    answers.append(chat.send(MESSAGES[1]).token_ids)
    about = {"shape": SHAPE, "options": OPTIONS, "messages": MESSAGES, "answers": answers}
    (HERE / "toy.json").write_text(json.dumps(about) + "\n")


if __name__ == "__main__":
    main()
