"""Compares a checkpoint with transformers (prompts, logits, greedy answers, perplexity), and writes a receipt."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import version
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu._version import VERSION
from qwen3cpu.checkpoint.readers.folder_texts import read_folder_config
from qwen3cpu.checkpoint.tensors import Quant
from qwen3cpu.errors import ArgumentError
from qwen3cpu.evaluation.quality import Quality, evaluate
from qwen3cpu.loading.locate import locate
from qwen3cpu.loading.sources import may_be_packed, open_unpacked
from qwen3cpu.model import Model, load
from qwen3cpu.quantization.divergence import log_softmax
from qwen3cpu.system.instruction_sets import chosen_isa
from qwen3cpu.system.progress_bar import Progress

CLOSE: Final = 2e-4
"""Allowed difference of logits, as a share of the largest logit at a position. Two float32 implementations add the same
numbers in different orders."""
CLOSE_PERPLEXITY: Final = 1e-3
"""Allowed relative difference of perplexities. Errors of logits have both signs, so the mean of many is small."""
_WEATHER: Final = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
            "required": ["city"],
        },
    },
}
_CALL: Final = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Zürich"}}}


@dataclass(frozen=True)
class Conversation:
    """The input of a prompt."""

    name: str
    messages: Sequence[Mapping[str, Any]]
    thinking: bool = False
    tools: Sequence[Mapping[str, Any]] | None = None


CONVERSATIONS: Final = (
    Conversation("a question", [{"role": "user", "content": "Why is the sky blue? Answer in two sentences."}]),
    Conversation("the same, thinking", [{"role": "user", "content": "What is 17 * 23?"}], thinking=True),
    Conversation(
        "a system message and earlier turns",
        [
            {"role": "system", "content": "You answer in French. Übrigens: 日本語."},
            {"role": "user", "content": "Good morning!"},
            {"role": "assistant", "content": "Bonjour !"},
            {"role": "user", "content": "What comes after Tuesday?"},
        ],
    ),
    Conversation(
        "tools", [{"role": "user", "content": "How is the weather in Zürich?"}], thinking=True, tools=[_WEATHER]
    ),
    Conversation(
        "a tool's result",
        [
            {"role": "user", "content": "How is the weather in Zürich?"},
            {"role": "assistant", "content": "", "tool_calls": [_CALL]},
            {"role": "tool", "content": '{"sky": "clear", "celsius": 21}'},
        ],
        tools=[_WEATHER],
    ),
)


@dataclass(frozen=True)
class Check:
    """One line of the receipt."""

    name: str
    good: bool
    found: str


@dataclass(frozen=True)
class Parity:
    """The result of a comparison. weights_read_by: "transformers" or "qwen3cpu"."""

    source: str
    fingerprint: str
    weights_read_by: str
    checks: list[Check] = field(default_factory=list)
    quality: Quality | None = None
    """Quality of the model's format compared with float32, both by this package, on the given text."""

    @property
    def good(self) -> bool:
        """Whether all checks have passed."""
        return all(check.good for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Convert to a dictionary for JSON."""
        return {"good": self.good, **asdict(self)}

    def receipt(self) -> str:
        """Format the result as a page in Markdown."""
        lines = [f"# {self.source} beside transformers", ""]
        lines.append(
            f"qwen3cpu {VERSION} ({chosen_isa()}), transformers {version('transformers')}, torch {version('torch')}, "
            f"Python {platform.python_version()}, {platform.machine()}; {date.today().isoformat()}."
        )
        lines.append(
            f"Fingerprint of the model: `{self.fingerprint[:16]}`. The reference computes in float32 with eager"
        )
        lines += [
            f"attention; its weights were read by {self.weights_read_by}.",
            "",
            "| check | | found |",
            "|---|---|---|",
        ]
        lines += [f"| {check.name} | {'yes' if check.good else '**NO**'} | {check.found} |" for check in self.checks]
        if self.quality is not None:
            each = self.quality
            lines += [
                "",
                f"What `{each.quant}` costs beside float32, second halves of {each.windows} windows of {each.window} "
                f"tokens: perplexity {each.perplexity:.3f} (float32 {each.reference_perplexity:.3f}), mean KL "
                f"divergence {each.mean_kl:.4f} nats (99th percentile {each.kl_99:.3f}), the same likeliest token in "
                f"{100 * each.same_top:.1f} %.",
            ]
        lines += ["", "All is as it should be." if self.good else "**Something differs; see above.**"]
        return "\n".join(lines) + "\n"


@dataclass
class Theirs:
    """What transformers computes for a conversation.

    logits: [len(answer), vocab_size], those from which each token of the answer was chosen.
    """

    text: str
    ids: list[int]
    answer: list[int]
    logits: NDArray[np.float32]


def compare(
    source: str | os.PathLike[str],
    *,
    quant: Quant | None = None,
    text: str | None = None,
    windows: int = 8,
    window: int = 256,
    tokens: int = 32,
    threads: int | None = None,
    cache: bool = True,
    progress: Progress | None = None,
) -> Parity:
    """Compare a model with transformers.

    They run one after the other, so that only one of them is in memory in float32.

    Args:
        source: a folder, a GGUF file or a hub id. If transformers cannot read the weights, it gets those that this
            package reads.
        quant: format whose cost on `text` is measured; default: the model's own.
        text: for perplexity; None: it is not measured.
        windows: as for `evaluation.quality.evaluate`.
        window: likewise.
        tokens: of each greedy answer.
        threads: as for `load`.
        cache: likewise.
        progress: shows the progress.

    Raises:
        ArgumentError: torch or transformers is missing; a packed file; a model that does not write text.
        CheckpointError, ConfigError, DownloadError: as for `load`.
    """
    from qwen3cpu.evaluation.transformers_side import TransformersModel

    name, _, path = locate(source)
    if may_be_packed(path):
        raise ArgumentError(f"{name}: expected a model folder, a GGUF file or a hub id, found a packed file")
    opened = open_unpacked(path, name)
    texts = opened.read_texts()
    if texts.purpose.task != "generation":
        raise ArgumentError(f"{name}: expected a model that writes text, found one for {texts.purpose.task}")
    plain = path.is_dir() and b"quantization" not in texts.config_json
    if plain and texts.config.tie_word_embeddings:
        # transformers would fill a missing head with random numbers.
        plain = read_folder_config(path).tie_word_embeddings
    found = Parity(name, opened.weights.fingerprint(), "transformers" if plain else "qwen3cpu")
    with_template = texts.chat_template is not None
    conversations = CONVERSATIONS if with_template else ()

    _tell(progress, "running transformers", len(conversations) + 1)
    side = TransformersModel(path if plain else None, texts, opened.weights)
    theirs = []
    for each in conversations:
        rendered, ids = side.render(each.messages, each.tools, each.thinking)
        answer = side.greedy(ids, tokens)
        theirs.append(Theirs(rendered, ids, answer, side.logits([*ids, *answer])[len(ids) - 1 : -1].copy()))
        _advance(progress)
    theirs_perplexity = None if text is None else _perplexity(side, text, windows, window)
    theirs_text = [] if text is None else side.encode(text[:20_000])
    _advance(progress)
    del side

    ours = load(source, "f32", kv="f32", threads=threads, cache=False, progress=progress)
    _tell(progress, "running qwen3cpu", len(conversations))
    for each, its in zip(conversations, theirs, strict=True):
        found.checks.extend(check_conversation(each, its, ours))
        _advance(progress)
    if text is not None and theirs_perplexity is not None:
        found.checks.append(_same("ids of the text", ours.tokenizer.encode(text[:20_000]) == theirs_text))
        model = load(source, quant, threads=threads, cache=cache, progress=progress)
        (quality,) = evaluate({model.quant: model}, ours, text, windows=windows, window=window, progress=progress)
        found.checks.append(_check_perplexity(theirs_perplexity, quality.reference_perplexity))
        return Parity(found.source, found.fingerprint, found.weights_read_by, found.checks, quality)
    return found


def check_conversation(asked: Conversation, theirs: Theirs, ours: Model) -> list[Check]:
    """Check prompt, ids, logits and greedy answer of a conversation. ours: the model in float32."""
    rendered = ours.render(asked.messages, asked.tools, asked.thinking)
    request = ours.answerer.request(asked.messages, tools=asked.tools, thinking=asked.thinking)
    ids = ours.answerer.encode(asked.messages, request)
    checks = [
        _same(f"prompt of {asked.name}", rendered == theirs.text),
        _same(f"ids of {asked.name}", ids == theirs.ids),
    ]
    mine = ours.logits([*theirs.ids, *theirs.answer])[len(theirs.ids) - 1 : -1]
    largest = np.abs(theirs.logits).max(1)
    away = float((np.abs(mine - theirs.logits).max(1) / largest).max())
    checks.append(
        Check(f"logits of {asked.name}", away <= CLOSE, f"at most {away:.1e} of the largest (allowed {CLOSE:.0e})")
    )
    # If two tokens are equally likely within the error of rounding, either may be chosen.
    places, taken = np.arange(len(mine)), mine.argmax(1)
    apart = np.abs(theirs.logits[places, theirs.answer] - theirs.logits[places, taken]) / largest
    other = np.flatnonzero(taken != theirs.answer)
    wrong = [int(place) for place in other if apart[place] > 2 * CLOSE]
    ties = len(other) - len(wrong)
    told = f"{len(mine) - len(other)} of {len(mine)} tokens" + (f", {ties} ties" if ties else "")
    checks.append(Check(f"greedy answer to {asked.name}", not wrong, told))
    return checks


def _same(name: str, good: bool) -> Check:
    return Check(name, good, "the same" if good else "another")


def _check_perplexity(theirs: float, mine: float) -> Check:
    away = abs(mine / theirs - 1)
    told = f"{mine:.4f} beside {theirs:.4f} (allowed {100 * CLOSE_PERPLEXITY:g} %)"
    return Check("perplexity in float32", away <= CLOSE_PERPLEXITY, told)


def _perplexity(side: Any, text: str, windows: int, window: int) -> float:
    """Compute the perplexity over the second half of each window, as `evaluate` does."""
    ids = side.encode(text)
    count = min(windows, len(ids) // window)
    if count == 0:
        raise ArgumentError(f"text: expected at least one window of {window} tokens, found {len(ids)} tokens")
    surprise = 0.0
    half = window // 2
    for first in range(0, count * window, window):
        piece = ids[first : first + window]
        scored = log_softmax(side.logits(piece[:-1])[half:])
        surprise -= float(scored[np.arange(len(scored)), piece[half + 1 :]].sum(dtype=np.float64))
    return float(np.exp(surprise / (count * (window - 1 - half))))


def _tell(progress: Progress | None, what: str, total: int) -> None:
    if progress is not None:
        progress.start(what, total, "steps")


def _advance(progress: Progress | None) -> None:
    if progress is not None:
        progress.advance(1)
