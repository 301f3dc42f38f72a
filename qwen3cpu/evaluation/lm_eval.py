"""The model class for EleutherAI's lm-evaluation-harness (lm-eval). Importing this module registers it as "qwen3cpu".

Users import `qwen3cpu.lm_eval`, which also starts the harness's command line.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

try:
    import lm_eval.models  # noqa: F401  registers the harness's own models; it does so itself only while it has none
    from lm_eval.api.model import TemplateLM
    from lm_eval.api.registry import register_model
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
    from tqdm import tqdm
except ImportError as reason:
    raise ImportError(f"lm-eval cannot be imported ({reason}): pip install 'qwen3cpu[lm-eval]'") from reason

from qwen3cpu.checkpoint.tensors import Quant
from qwen3cpu.engine.formats import Activations, KvFormat
from qwen3cpu.errors import ArgumentError
from qwen3cpu.evaluation.continuations import score_continuations
from qwen3cpu.model import load

_logger = logging.getLogger("qwen3cpu")

_SAMPLING: Final = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")
_LENGTHS: Final = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_SIDE_BY_SIDE: Final = 16


@register_model("qwen3cpu")
class Qwen3CpuLM(TemplateLM):  # type: ignore[misc, unused-ignore]
    """A model of `qwen3cpu.load`.

    Args:
        pretrained: whatever `load` takes.
        quant, kv, threads, rope_scaling, activations: as for `load`.
        max_length: positions of the context; default: the model's own.
        batch_size: number of concurrent requests; "auto" is 16. Results do not depend on it.
        enable_thinking: whether the chat template lets the model think. Answers are returned without the reasoning.
        max_gen_toks: most new tokens, for tasks that do not set it.
        prefix_token_id: first token of a text without a context. Default, as in the harness's class for transformers:
            the tokenizer's bos_token, else its eos_token.
        device, max_batch_size: ignored; the harness passes them to every model.
    """

    def __init__(
        self,
        pretrained: str,
        quant: Quant | None = None,
        kv: KvFormat = "f16",
        threads: int | None = None,
        rope_scaling: Mapping[str, Any] | None = None,
        max_length: int | None = None,
        batch_size: int | str = _SIDE_BY_SIDE,
        enable_thinking: bool = False,
        max_gen_toks: int = 256,
        prefix_token_id: int | None = None,
        device: str | None = None,
        max_batch_size: int | None = None,
        activations: Activations = "int8",
    ) -> None:
        super().__init__()
        self.model = load(
            str(pretrained),
            quant=quant,
            kv=kv,
            threads=threads,
            context=max_length,
            rope_scaling=rope_scaling,
            activations=activations,
        )
        automatic = isinstance(batch_size, str) and batch_size.startswith("auto")
        self.batch_size = _SIDE_BY_SIDE if automatic else int(batch_size)
        self.max_length = self.model.context
        self.max_gen_toks = int(max_gen_toks)
        self._thinking = bool(enable_thinking)
        self._prefix = prefix_token_id

    # The interface of the harness's models

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        tokenizer = self.model.tokenizer
        end = tokenizer.control_tokens.get(tokenizer.named_tokens.get("eos_token", ""))
        return min(self.model.eos_token_ids) if end is None else end

    @property
    def prefix_token_id(self) -> int:
        """The first token of a text without a context."""
        if self._prefix is not None:
            return self._prefix
        tokenizer = self.model.tokenizer
        begin = tokenizer.control_tokens.get(tokenizer.named_tokens.get("bos_token", ""))
        return self.eot_token_id if begin is None else begin

    @property
    def tokenizer_name(self) -> str:
        """The name in the harness's caches."""
        return self.model.source.replace("/", "__")

    def get_model_info(self) -> dict[str, Any]:
        """Describe the model for the harness's record of results."""
        return {
            "model_num_parameters": self.model.config.parameters(),
            "model_dtype": self.model.quant,
            "model_source": self.model.source,
            "model_weight_bytes": self.model.weight_bytes,
            "model_kv": self.model.kv,
            "model_activations": self.model.activations,
        }

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Return the checkpoint's template for the harness's record; None: no template is used."""
        return self.model.chat_template if chat_template else None

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Render the messages. Without a generation prompt the last message, an answer, is left open."""
        text = self.model.render(chat_history, thinking=self._thinking, add_generation_prompt=add_generation_prompt)
        if not add_generation_prompt:
            last = chat_history[-1]["content"].strip()
            text = text[: text.rindex(last) + len(last)]
        return text

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Encode a text. Control tokens are recognised, because rendered messages come as text."""
        return self.model.tokenizer.encode(string, control_tokens=True)

    # Requests

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str] | None, list[int], list[int]]], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        pairs = [self._fitting(context, continuation) for _, context, continuation in requests]
        results: list[tuple[float, bool]] = [(0.0, True)] * len(requests)  # the score of an empty continuation
        scored = [index for index, (_, continuation) in enumerate(pairs) if continuation]
        with tqdm(total=len(requests), disable=disable_tqdm, desc="Running loglikelihood requests") as bar:
            bar.update(len(requests) - len(scored))
            scores = score_continuations(self.model, [pairs[index] for index in scored], most_running=self.batch_size)
            for position, score in scores:
                index = scored[position]
                results[index] = (score.logprob, score.greedy)
                if requests[index][0] is not None:
                    self.cache_hook.add_partial("loglikelihood", requests[index][0], results[index])
                bar.update(1)
        return results

    def _fitting(self, context: list[int], continuation: list[int]) -> tuple[list[int], list[int]]:
        """Return the pair, with only the end of the context if it is too long."""
        # The last token of a continuation is only predicted, so it takes no position.
        room = self.max_length + 1 - len(continuation)
        if room < 1:
            raise ArgumentError(
                f"a continuation of {len(continuation)} tokens does not fit into the context of {self.max_length}"
            )
        if len(context) > room:
            _logger.warning("a context of %d tokens was cut to its last %d", len(context), room)
        return context[-room:], continuation

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Return the log-likelihood of each whole text, computed in windows of the context's length."""
        texts = [request.args[0] for request in requests]
        windows: list[tuple[int, tuple[tuple[str, str] | None, list[int], list[int]]]] = []
        for index, text in enumerate(texts):
            rolling = get_rolling_token_windows(self.tok_encode(text), self.prefix_token_id, self.max_length, 1)
            for context, continuation in map(make_disjoint_window, rolling):
                windows.append((index, (None, context, continuation)))
        scores = self._loglikelihood_tokens([window for _, window in windows], disable_tqdm=disable_tqdm)
        totals = [0.0] * len(texts)
        for (index, _), (logprob, _) in zip(windows, scores, strict=True):
            totals[index] += logprob
        for text, total in zip(texts, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), total)
        return totals

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Return the answer to each prompt, up to its first stop string and without reasoning."""
        results = [""] * len(requests)
        with tqdm(total=len(requests), disable=disable_tqdm, desc="Running generate_until requests") as bar:
            for indices in _grouped(requests, lambda request: repr(sorted(request.args[1].items(), key=str))):
                options = generation_options(requests[indices[0]].args[1], self.max_gen_toks)
                for start in range(0, len(indices), self.batch_size):
                    part = indices[start : start + self.batch_size]
                    room = self.max_length - options["max_new_tokens"]
                    prompts = [self._prompt(requests[index].args[0], room) for index in part]
                    answers = self.model.generate_batch(prompts, most_running=self.batch_size, **options)
                    for index, answer in zip(part, answers, strict=True):
                        results[index] = answer.text
                        self.cache_hook.add_partial("generate_until", requests[index].args, answer.text)
                    bar.update(len(part))
        return results

    def _prompt(self, text: str, room: int) -> list[int]:
        """Return the ids of a prompt, or only their end if they leave no room for the answer."""
        ids = self.tok_encode(text) or [self.prefix_token_id]
        if room < 1:
            raise ArgumentError(
                f"max_gen_toks: expected less than the context of {self.max_length}, found {self.max_length - room}"
            )
        if len(ids) > room:
            _logger.warning("a prompt of %d tokens was cut to its last %d", len(ids), room)
        return ids[-room:]


def generation_options(task: Mapping[str, Any], max_gen_toks: int) -> dict[str, Any]:
    """Convert a task's `generation_kwargs` to options of `generate_batch`.

    Raises:
        ArgumentError: an unknown setting.
    """
    given = {name: value for name, value in task.items() if value is not None}
    until = given.pop("until", [])
    lengths = [int(given.pop(name)) for name in _LENGTHS if name in given]
    sampled = given.pop("do_sample", float(given.get("temperature", 0.0)) > 0)
    unknown = sorted(set(given) - set(_SAMPLING))
    if unknown:
        known = ", ".join(("until", "do_sample", *_LENGTHS, *_SAMPLING))
        raise ArgumentError(f"generation_kwargs: expected {known}, found {unknown[0]!r}")
    options = {"seed": 0, **given} if sampled else {"temperature": 0.0, "seed": 0}
    stop = [until] if isinstance(until, str) else until
    return {**options, "max_new_tokens": (lengths or [max_gen_toks])[0], "stop": [text for text in stop if text]}


def _grouped(requests: Sequence[Any], key: Callable[[Any], str]) -> Iterable[list[int]]:
    """Return groups of the indices of requests with the same key."""
    groups: dict[str, list[int]] = {}
    for index, request in enumerate(requests):
        groups.setdefault(key(request), []).append(index)
    return groups.values()


def main() -> None:
    """Run the harness's own command line."""
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
