"""Make a small draft of a model: python tools/train_draft.py --model FOLDER --out FOLDER [--minutes 15] [--layers 4]

The draft has some layers of the model, evenly chosen. Embedding, head and tokenizer are those of the model.
Distillation trains it to reproduce the last hidden states and the probabilities of the model. It reads texts that the
model writes
itself: conversations, texts from a random token on, and continuations of pieces of `--text`. Model and draft are Qwen3
folders in Hugging Face layout. Needs torch, transformers and safetensors.

The same seed, steps and threads make the same draft on the same machine. `--minutes` sets the number of steps from the
time of the first steps, and the script prints this number. `--steps` repeats such a run.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

import qwen3cpu
from qwen3cpu.engine.batch import BatchItem

TEXTS, LENGTH = 32, 256
"""Texts that are written side by side, and the tokens of each."""
BATCH = 4
"""Texts of a step."""
USES = 8
"""Average number of steps that use a text."""
HEAD_SHARE = 4
"""Probabilities are compared at one of this many positions, because the head costs more than the draft's layers."""
WARM_UP = 32
RATE, LEAST_RATE = 2e-3, 5e-5
COPIED = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json", "vocab.json",
          "merges.txt", "special_tokens_map.json", "added_tokens.json")  # fmt: skip


class Texts:
    """A growing collection of texts of the model, with its hidden states.

    Args:
        model: writes the texts.
        text: token ids; texts begin with pieces of it. May be empty.
        seed: of all random choices.
    """

    def __init__(self, model: qwen3cpu.Model, text: Sequence[int], seed: int) -> None:
        self._model = model
        self._text = text
        self._rng = np.random.default_rng(seed)
        self._seed = seed
        self._rounds = 0
        self._ids: list[list[int]] = []
        self._states: list[NDArray[np.float16]] = []

    def more(self) -> None:
        """Let the model write another round of texts."""
        prompt = self._opening()
        found = self._model.generate(
            prompt, n=TEXTS, seed=self._seed + self._rounds, temperature=1.0, top_k=0, top_p=1.0,
            max_new_tokens=LENGTH - len(prompt), ignore_eos=True, loop_detection=False, speculate=False,
        )  # fmt: skip
        self._rounds += 1
        for each in found:
            ids = [*prompt, *each.token_ids]
            sequence = self._model.engine.new_sequence()
            (states,) = self._model.engine.forward([BatchItem(sequence, ids, range(len(ids)), "hidden")])
            sequence.release()
            self._ids.append(ids)
            self._states.append(states.astype(np.float16))

    def batch(self) -> tuple[Tensor, Tensor]:
        """Ids [BATCH, LENGTH], and hidden states [BATCH, LENGTH, hidden_size]."""
        chosen = self._rng.choice(len(self._ids), size=BATCH, replace=False)
        ids = torch.tensor([self._ids[place] for place in chosen])
        states = torch.from_numpy(np.stack([self._states[place] for place in chosen])).float()
        return ids, states

    def _opening(self) -> list[int]:
        """The beginning of a text: a message of a user, a piece of `text`, or a random token."""
        kinds = ["token"] + ["text"] * bool(len(self._text)) + ["chat"] * self._model.has_chat_template
        kind = kinds[self._rounds % len(kinds)]
        if kind == "chat":
            mark = "\N{SNOWMAN}"
            before = self._model.render([{"role": "user", "content": mark}]).partition(mark)[0]
            return self._model.tokenizer.encode(before, control_tokens=True)
        if kind == "text":
            first = int(self._rng.integers(max(1, len(self._text) - LENGTH)))
            return list(self._text[first : first + 1 + int(self._rng.integers(LENGTH // 2))])
        return [int(self._rng.integers(self._model.tokenizer.size))]


def kept_layers(layers: int, wanted: int) -> list[int]:
    """The layers that a draft of `wanted` layers keeps: the first, the last, and others evenly between."""
    if not 1 <= wanted <= layers:
        raise SystemExit(f"--layers: expected from 1 to {layers}, found {wanted}")
    return [0] if wanted == 1 else [round(place * (layers - 1) / (wanted - 1)) for place in range(wanted)]


def pruned(model: PreTrainedModel, wanted: int) -> tuple[PreTrainedModel, list[int]]:
    """The model with only some of its layers, and the numbers of these layers."""
    kept = kept_layers(model.config.num_hidden_layers, wanted)
    model.model.layers = nn.ModuleList(model.model.layers[place] for place in kept)
    for place, layer in enumerate(model.model.layers):
        layer.self_attn.layer_idx = place
    model.config.num_hidden_layers = wanted
    for name in ("layer_types", "max_window_layers"):
        if isinstance(value := getattr(model.config, name, None), list):
            setattr(model.config, name, [value[place] for place in kept])
        elif value is not None:
            setattr(model.config, name, min(value, wanted))
    return model, kept


def loss_of(draft: PreTrainedModel, ids: Tensor, states: Tensor, shift: int) -> tuple[Tensor, float]:
    """The distance of the draft from the model, and the share of positions where both have the same likeliest token."""
    with torch.autocast("cpu", torch.bfloat16):
        own = draft.model(input_ids=ids, use_cache=False).last_hidden_state
        mine = draft.lm_head(own[:, shift::HEAD_SHARE])
        with torch.no_grad():
            theirs = draft.lm_head(states[:, shift::HEAD_SHARE])
    own, mine, theirs = own.float(), mine.float(), theirs.float()
    apart = ((own - states) ** 2).sum(-1) / (states**2).sum(-1)
    divergence = (theirs.softmax(-1) * (theirs.log_softmax(-1) - mine.log_softmax(-1))).sum(-1)
    same = (mine.argmax(-1) == theirs.argmax(-1)).float().mean()
    return divergence.mean() + apart.mean(), float(same)


def train(draft: PreTrainedModel, texts: Texts, minutes: float, steps: int | None) -> int:
    """Distil, and return the number of steps."""
    for parameter in draft.parameters():
        parameter.requires_grad_(False)
    learned = [*draft.model.layers.parameters(), *draft.model.norm.parameters()]
    for parameter in learned:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(learned, lr=RATE, betas=(0.9, 0.95), weight_decay=0.01)
    begun, made, same_lately = perf_counter(), 0, 0.0
    rounds_each = TEXTS * USES // BATCH
    while steps is None or made < steps:
        if made % rounds_each == 0:
            texts.more()
        if steps is None and made == rounds_each:
            steps = max(made, int(made * 60 * minutes / (perf_counter() - begun)))
            print(f"{steps} steps", file=sys.stderr)
        part = made / (steps or 1000)
        rate = LEAST_RATE + (RATE - LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * part))
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (made + 1) / WARM_UP)
        loss, same = loss_of(draft, *texts.batch(), made % HEAD_SHARE)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        made += 1
        same_lately = same if made == 1 else 0.95 * same_lately + 0.05 * same
        if made % 32 == 0:
            print(
                f"{perf_counter() - begun:6.0f} s, step {made}: loss {loss.item():.3f}, same token {same_lately:.3f}",
                file=sys.stderr,
            )
    return made


def main() -> None:
    """Parse the arguments, prune, distil, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--out", type=Path, required=True, help="folder of the draft")
    parser.add_argument("--layers", type=int, default=4, help="of the draft (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=15.0, help="of distilling; 0 only prunes (default: 15)")
    parser.add_argument("--steps", type=int, help="number of steps, instead of --minutes")
    parser.add_argument(
        "--text", type=Path, nargs="*", default=[], help="UTF-8 files like the texts that it will draft"
    )
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="sdpa")
    draft, kept = pruned(model, args.layers)
    print(f"layers {kept}", file=sys.stderr)
    made = 0
    if args.minutes > 0 or args.steps:
        with qwen3cpu.load(args.model, quant="q8", threads=args.threads, prefix_cache=0) as large:
            text = large.tokenizer.encode("\n".join(path.read_text("utf-8") for path in args.text))
            made = train(draft, Texts(large, text, args.seed), args.minutes, args.steps)
    args.out.mkdir(parents=True, exist_ok=True)
    draft.to(torch.bfloat16).save_pretrained(args.out)
    for name in COPIED:
        if (args.model / name).exists():
            shutil.copyfile(args.model / name, args.out / name)
    print(f"{args.out}: {args.layers} layers, {made} steps of seed {args.seed}")


if __name__ == "__main__":
    main()
