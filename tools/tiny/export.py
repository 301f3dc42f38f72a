"""Writing the model as a Hugging Face folder, and its card."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from tiny.evaluation import Score
from tiny.first_tries import FAMILIES, SUMS
from tiny.model import Config, Qwen3
from tiny.problems import HELD_OUT_ONE_IN, KINDS
from tiny.samples import CHUNK
from tiny.tokenizer import write_tokenizer
from tiny.training import Recipe, State
from tiny.words import NAMES, THINGS

CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja")


def load_weights(model: Qwen3, folder: Path) -> None:
    """Give the model the weights of a folder."""
    model.load_state_dict({name: values.float() for name, values in load_file(folder / "model.safetensors").items()})


def write_json(path: Path, content: dict[str, object]) -> None:
    """Indented JSON with a final newline."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_model(
    folder: Path,
    model: Qwen3,
    tokenizer: Tokenizer,
    model_type: str = "qwen3",
    architecture: str = "Qwen3ForCausalLM",
) -> None:
    """Write the model, its configuration and its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    end, text_end = tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")
    eos = [end, text_end]
    config: dict[str, object] = {
        "architectures": [architecture],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": text_end,
        "eos_token_id": eos,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "max_window_layers": model.config.num_hidden_layers,
        "model_type": model_type,
        "rope_scaling": None,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        **asdict(model.config),
    }
    write_json(folder / "config.json", dict(sorted(config.items())))
    generation: dict[str, object] = {
        "bos_token_id": text_end,
        "do_sample": True,
        "eos_token_id": eos,
        "pad_token_id": text_end,
        "temperature": 0.6,
        "top_k": 20,
        "top_p": 0.95,
    }
    write_json(folder / "generation_config.json", generation)
    template = CHAT_TEMPLATE.read_text(encoding="utf-8").strip()
    write_tokenizer(folder, tokenizer, template, model.config.max_position_embeddings)
    tensors = {name: p.detach().to(torch.bfloat16).contiguous() for name, p in model.named_parameters()}
    beside = folder / "model.safetensors.part"
    save_file(tensors, str(beside), metadata={"format": "pt"})
    beside.chmod(0o644)
    beside.replace(folder / "model.safetensors")


@dataclass(frozen=True)
class Measurement:
    """One row of the card's table of accuracy."""

    problems: int
    fmt: str
    thinking: bool
    temperature: float
    score: Score


CARD = """---
license: apache-2.0
language: [en]
library_name: qwen3cpu
---

# tiny: the model inside the package

A language model of the Qwen3 architecture with {parameters:,} parameters that does short everyday arithmetic and word
problems in English, with and without thinking, and says so when it is greeted or asked who it is and what it can do.
It exists for demonstrations and tests. It knows nothing else: asked something outside its little world it may be wrong,
but it stops.
The exception is a run of hundreds of the same letter, which it may go on copying until the limit of tokens.

| layers | hidden | query / KV heads | head_dim | FFN | vocabulary rows (used) | positions | file |
|---|---|---|---|---|---|---|---|
| {layers} | {hidden} | {heads} / {kv_heads} | {head_dim} | {ffn} | {rows:,} ({used:,}) | {positions:,} | bf16 |

Made by `python tools/train_tiny.py{arguments}`; the same seed on the same software gives the same model.

## Accuracy

Whole answers compared with the expected ones, on held-out problems, in percent. `q8` and `q4` are simulated here:
weights rounded in groups of 32, activations to 8 bits, embedding in 8 bits. The {shipped} problems are those of
`tests/support/tiny_heldout.json`; the larger number is another draw from the held-out side.

| problems | weights | mode | decoding | all | single-step | multi-step | tokens per reply |
|---|---|---|---|---|---|---|---|
{accuracy}

## Data

Every sample is written by `tools/tiny`; nothing comes from anywhere else. A problem is drawn from one of {kinds} kinds
(share in percent, and in the late part where it differs): {kind_list}.
Most are worded in several ways, with {names} first names, {things} kinds of things and some made-up words.

* A problem is held out when a hash of its canonical form (kind and numbers, not the wording) is divisible by
  {one_in}: no wording of a held-out problem is trained on. Facts of the little world are taught and never held out.
* Modes: 70 % with thinking (some asked for by `/think`), 3 % with thinking cut short at a random token by the budget
  sentence, 5 % `/no_think` (the model writes the empty block itself), 22 % with the empty block in the prompt.
* 7 % of the questions are from outside: other subjects, made-up words, other languages and scripts, longer texts.
  They are answered with "I don't know that one."
* 10 % have a system prompt, 9 % older turns, of which a third are follow-ups to the number before.
* In the late part (from sample {late_sample:,} on) the kinds that are learned last get more, and one batch in about 25
  is of long conversations (400 to 3,900 tokens): long texts of no sense, a question after a long text, many short
  turns. Throughout, the positions jump before the last turn of half of the conversations with older turns.
* In the second part the mixture is that of the late part, and {tries:.0%} of the questions are what people try
  first (of these, in percent: {families}).
  Each family has one answer, which questions of its kind from outside get too. Half of these samples are with thinking.
  None is worded like a try of `tests/support/tiny_first_tries.json`, whatever the case, the spaces and the marks.
* The loss is on the assistant's tokens only.

## Training

{recipes}

Rates of Muon for the matrices of the layers, of AdamW for the rest; warm-up, constant rate, linear decay to 1 %;
activations in bfloat16. Quantised: two of three steps run with 4-bit weights and 8-bit embedding (straight-through), so
that the quantised formats keep the accuracy. After each part the weights are rounded to bfloat16; the second begins
with those of the first. `--from FOLDER` begins with a folder's weights in place of the first part.
{losses}"""

LOSSES = """
Loss of the part "{name}" (mean of about the last 50 steps; part of it cannot be learned, such as direct answers to hard
problems), {minutes:.0f} minutes on {threads} thread(s) of a shared {machine} machine, torch {torch_version}:

| step | loss |
|---|---|
{rows}
"""


def accuracy_rows(measurements: list[Measurement]) -> str:
    """The rows of the table of accuracy."""
    rows = []
    for m in measurements:
        mode = "thinking" if m.thinking else "direct"
        how = f"T = {m.temperature}" if m.temperature else "greedy"
        s = m.score
        figures = f"{s.all:.1f} | {s.single:.1f} | {s.multi:.1f} | {s.tokens:.0f}"
        rows.append(f"| {m.problems} | {m.fmt} | {mode} | {how} | {figures} |")
    return "\n".join(rows)


def kind_list() -> str:
    """The kinds of problems with their shares."""
    early, late = sum(k.weight for k in KINDS.values()), sum(k.late for k in KINDS.values())
    texts = []
    for k in KINDS.values():
        later = f", later {100 * k.late / late:.1f}" if k.late != k.weight else ""
        texts.append(f"{k.name} ({100 * k.weight / early:.1f}{later})")
    return ", ".join(texts)


def recipe_table(parts: dict[str, Recipe]) -> str:
    """The recipes of the parts of the training."""
    head = "| part | seed | steps | tokens a step | Muon | AdamW | warm-up | decay from | quantised from |"
    rows = [
        f"| {name} | {r.seed} | {r.steps:,} | {r.tokens:,} | {r.matrix_rate} | {r.other_rate} | {r.warmup} steps "
        f"| {r.decay_from:.0%} | {r.quantized_from:.0%} |"
        for name, r in parts.items()
    ]
    return "\n".join([head, "|---" * 9 + "|", *rows])


def loss_table(name: str, state: State) -> str:
    """The record of one part of the training."""
    every = max(1, len(state.losses) // 20)
    picked = state.losses[::every] + ([state.losses[-1]] if (len(state.losses) - 1) % every else [])
    return LOSSES.format(
        name=name, minutes=state.seconds / 60, threads=torch.get_num_threads(), machine=platform.machine(),
        torch_version=torch.__version__.split("+")[0],
        rows="\n".join(f"| {step:,} | {loss:.4f} |" for step, loss in picked),
    )  # fmt: skip


def write_card(
    folder: Path,
    model: Qwen3,
    used: int,
    parts: dict[str, Recipe],
    states: dict[str, State],
    measurements: list[Measurement],
    arguments: str,
) -> None:
    """Write README.md: the model, its accuracy, its data and its training."""
    c: Config = model.config
    families = ", ".join(f"{name} ({family.share})" for name, family in FAMILIES.items())
    text = CARD.format(
        parameters=sum(p.numel() for p in model.parameters()), layers=c.num_hidden_layers, hidden=c.hidden_size,
        heads=c.num_attention_heads, kv_heads=c.num_key_value_heads, head_dim=c.head_dim, ffn=c.intermediate_size,
        rows=c.vocab_size, used=used, positions=c.max_position_embeddings, arguments=arguments,
        shipped=measurements[0].problems, accuracy=accuracy_rows(measurements), kinds=len(KINDS),
        kind_list=kind_list(), late_sample=parts["first"].late_from * CHUNK,
        names=len(NAMES), things=len(THINGS), one_in=HELD_OUT_ONE_IN, tries=parts["tries"].tries,
        families=f"{families}, sums of small numbers ({SUMS})", recipes=recipe_table(parts),
        losses="".join(loss_table(name, state) for name, state in states.items()),
    )  # fmt: skip
    (folder / "README.md").write_text(text, encoding="utf-8")
