"""The training loop: two optimizers, a schedule, quantisation-aware last part, checkpoints, progress."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from tokenizers import Tokenizer

from tiny.model import Qwen3
from tiny.quantization import set_format
from tiny.samples import Batch, chunk_of_batches


@dataclass
class Recipe:
    """The settings that determine the result of a run.

    `late_from` is the first chunk of samples with the mixture of the late part, `tries` the share of first tries,
    `other_decay` the weight decay of the parameters that AdamW trains.
    """

    seed: int = 1
    steps: int = 8000
    tokens: int = 3072
    matrix_rate: float = 0.02
    other_rate: float = 3e-3
    warmup: int = 100
    decay_from: float = 0.4
    quantized_from: float = 0.75
    late_from: int = 23
    tries: float = 0.0
    other_decay: float = 0.0


TRIES = Recipe(
    steps=5000, matrix_rate=0.008, other_rate=1.2e-3, decay_from=0.1, quantized_from=0.6, late_from=0, tries=0.15
)


@dataclass
class State:
    """The state of a run: the next step, the place in the stream of batches, its seconds, the loss and its record."""

    step: int = 0
    chunk: int = 0
    batch: int = 0
    seconds: float = 0.0
    mean: float = 0.0
    losses: list[tuple[int, float]] = field(default_factory=list)


def optimizers(model: Qwen3, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the embedding, the norms and the routers of experts."""
    named = list(model.named_parameters())
    matrices = [p for n, p in named if p.dim() == 2 and "embed" not in n and "mlp.gate." not in n]
    others = [p for n, p in named if p.dim() != 2 or "embed" in n or "mlp.gate." in n]
    return [
        torch.optim.Muon(matrices, lr=recipe.matrix_rate, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=recipe.other_rate, betas=(0.9, 0.98), weight_decay=recipe.other_decay),
    ]


def rate_at(step: int, recipe: Recipe) -> float:
    """The factor on the learning rates: warm-up, constant, linear decay to a hundredth."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    start = recipe.decay_from * recipe.steps
    return 1.0 if step < start else max(0.01, 1 - (step - start) / (recipe.steps - start))


def stream(tokenizer: Tokenizer, recipe: Recipe, state: State) -> Iterator[Batch]:
    """The endless stream of batches from the place in `state` on; advances `state`."""
    while True:
        late = state.chunk >= recipe.late_from
        chunk = chunk_of_batches(tokenizer, recipe.seed, state.chunk, recipe.tokens, late, recipe.tries)
        for i, batch in enumerate(chunk):
            if i >= state.batch:
                state.batch = i + 1
                yield batch
        state.chunk, state.batch = state.chunk + 1, 0


class Progress:
    """A line that is rewritten on a terminal; in a pipe, plain lines at intervals."""

    def __init__(self, steps: int) -> None:
        self.steps, self.terminal, self.last = steps, sys.stderr.isatty(), 0.0

    def show(self, step: int, loss: float, speed: float) -> None:
        """Report a step; `speed` is in steps per second."""
        now = time.monotonic()
        if now - self.last < (0.5 if self.terminal else 30) and step < self.steps:
            return
        self.last = now
        left = int((self.steps - step) / max(speed, 1e-9))
        text = f"step {step}/{self.steps}  loss {loss:.4f}  {speed:.2f} steps/s  ETA {left // 60}:{left % 60:02d}"
        print(f"\r{text}   " if self.terminal else text, end="" if self.terminal else "\n", file=sys.stderr, flush=True)
        if self.terminal and step >= self.steps:
            print(file=sys.stderr)


def save_checkpoint(path: Path, model: Qwen3, opts: list[torch.optim.Optimizer], recipe: Recipe, state: State) -> None:
    """Write a checkpoint to another name, then rename it."""
    beside = path.with_suffix(".part")
    content = {
        "model": model.state_dict(),
        "optimizers": [o.state_dict() for o in opts],
        "recipe": asdict(recipe),
        "config": asdict(model.config),
        "state": json.dumps(asdict(state)),
    }
    torch.save(content, beside)
    beside.replace(path)


def train(tokenizer: Tokenizer, model: Qwen3, recipe: Recipe, path: Path, resume: bool) -> State:
    """Train the model, or continue from the checkpoint at `path`, and round it to bfloat16. Returns the record."""
    state = State()
    opts = optimizers(model, recipe)
    if resume and path.exists():
        saved = torch.load(path, weights_only=True)
        if saved["recipe"] != asdict(recipe) or saved["config"] != asdict(model.config):
            raise SystemExit(f"{path}: made with another recipe, {saved['recipe']} {saved['config']}; cannot resume")
        model.load_state_dict(saved["model"])
        for opt, content in zip(opts, saved["optimizers"], strict=True):
            opt.load_state_dict(content)
        state = State(**json.loads(saved["state"]))
    batches = stream(tokenizer, recipe, state)
    progress = Progress(recipe.steps)
    started, first = time.monotonic(), state.step
    before = state.seconds
    while state.step < recipe.steps:
        factor = rate_at(state.step, recipe)
        for opt, rate in zip(opts, (recipe.matrix_rate, recipe.other_rate), strict=True):
            for group in opt.param_groups:
                group["lr"] = rate * factor
        loss = one_step(
            model,
            opts,
            next(batches),
            quantized=state.step >= recipe.quantized_from * recipe.steps and state.step % 3 > 0,
        )
        state.mean = loss if state.step == 0 else 0.98 * state.mean + 0.02 * loss
        state.step += 1
        state.seconds = before + time.monotonic() - started
        if state.step % 50 == 0:
            state.losses.append((state.step, round(state.mean, 5)))
        progress.show(state.step, state.mean, (state.step - first) / (time.monotonic() - started))
        if state.step % 250 == 0 or state.step == recipe.steps:
            save_checkpoint(path, model, opts, recipe, state)
    set_format(model, "f32")
    model.compute = torch.float32
    round_to_bfloat16(model)
    return state


def round_to_bfloat16(model: Qwen3) -> None:
    """Round the model's weights to those of its file."""
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.to(torch.bfloat16).float())


def one_step(model: Qwen3, opts: list[torch.optim.Optimizer], batch: Batch, quantized: bool) -> float:
    """One batch forward and back; returns its loss."""
    set_format(model, "q4" if quantized else "f32", activations=False)
    model.compute = torch.bfloat16
    loss = model.loss(batch.ids, batch.positions, batch.at, batch.targets)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for opt in opts:
        opt.step()
        opt.zero_grad(set_to_none=True)
    return float(loss.detach())
