"""Scores documents for a query with a reranker: the authors' template, and the logits of "yes" and "no"."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.arguments import check_flag, whole_number
from qwen3cpu.checkpoint.purpose import Purpose
from qwen3cpu.engine.engine import Engine
from qwen3cpu.errors import ArgumentError, CheckpointError
from qwen3cpu.retrieval.exact import check_finite, dot
from qwen3cpu.retrieval.passes import last_states
from qwen3cpu.retrieval.texts import INSTRUCTION, count_beginning, encode_within
from qwen3cpu.text.tokenizer import Tokenizer, check_text

_BEFORE: Final = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
_AFTER: Final = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


class Reranker:
    """Scores documents with one model.

    Args:
        engine: runs the passes.
        tokenizer: of the model.
        purpose: head and lengths from the model's files.
        head_row: returns a row of the language model's head, float32 [hidden_size].
        source: what messages call the model.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        purpose: Purpose,
        head_row: Callable[[int], NDArray[np.float32]],
        source: str,
    ) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._before = tokenizer.encode(_BEFORE, control_tokens=True)
        self._after = tokenizer.encode(_AFTER, control_tokens=True)
        self._most_tokens = min(engine.context, purpose.max_length or engine.context)
        if purpose.score is not None:
            # One row: its product is the logit. Two rows: those of yes and no.
            self._rows = list(purpose.score)
        else:
            yes_no = purpose.yes_no or (_word(tokenizer, "yes", source), _word(tokenizer, "no", source))
            self._rows = [head_row(id_) for id_ in yes_no]

    def encoder(
        self, query: str, instruction: str | None = None, max_tokens_per_doc: int | None = None, truncate: bool = False
    ) -> Callable[[str, str], list[int]]:
        """Return encode(document, name), which gives the ids of the prompt for a document. Raises ArgumentError."""
        check_text(query, "query")
        if instruction is None:
            instruction = INSTRUCTION
        check_text(instruction, "instruction")
        if max_tokens_per_doc is not None:
            whole_number("max_tokens_per_doc", max_tokens_per_doc, 1, what="a number of tokens")
        check_flag("truncate", truncate)
        before = f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: "
        room = max(self._most_tokens - len(self._before) - len(self._after), 0)
        tokens_before = count_beginning(self._tokenizer, before, room, name="query")
        if max_tokens_per_doc is not None and tokens_before + max_tokens_per_doc <= room:
            room, truncate = tokens_before + max_tokens_per_doc, True

        def encode(document: str, name: str) -> list[int]:
            middle = encode_within(self._tokenizer, document, room, name=name, truncate=truncate, before=before)
            return [*self._before, *middle, *self._after]

        return encode

    def logits(self, query: str, documents: Sequence[str], **options: Any) -> Iterator[float]:
        """Yield the logit of each document's score, in their order. The score is the logit's sigmoid.

        Arguments are checked by the call itself, not by the first step of the iterator.

        Args:
            query: the question or search text.
            documents: texts.
            options: as for `encoder`.
        """
        if isinstance(documents, (str, bytes)) or not isinstance(documents, Sequence):
            raise ArgumentError(f"documents: expected a list of texts, found {type(documents).__name__}")
        encode = self.encoder(query, **options)
        for place, document in enumerate(documents):
            check_text(document, f"documents[{place}]")
        encoded = (encode(text, f"documents[{n}]") for n, text in enumerate(documents))
        return (self.logit(state) for states in last_states(self._engine, encoded) for state in states)

    def logit(self, state: NDArray[np.float32]) -> float:
        """Return the logit of a score from the last state of a document's prompt. EngineError: it is not finite."""
        check_finite(state)
        logits = [dot(row, state) for row in self._rows]
        return logits[0] if len(logits) == 1 else logits[0] - logits[1]


def _word(tokenizer: Tokenizer, word: str, source: str) -> int:
    id_ = tokenizer.id_of(word)
    if id_ is None:
        raise CheckpointError(f"{source}: expected a token {word!r}, by which a reranker answers, found no such token")
    return id_
