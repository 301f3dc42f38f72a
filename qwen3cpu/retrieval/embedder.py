"""Makes vectors of texts with an embedding model: the authors' prompt for queries, the end token, the last state."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.arguments import check_choice, check_flag, is_iterable
from qwen3cpu.checkpoint.purpose import Purpose
from qwen3cpu.engine.engine import Engine
from qwen3cpu.errors import ArgumentError, CheckpointError
from qwen3cpu.retrieval.passes import last_states
from qwen3cpu.retrieval.texts import INSTRUCTION, Text, count_beginning, encode_within
from qwen3cpu.retrieval.vectors import Dtype, VectorForm
from qwen3cpu.text.tokenizer import Tokenizer, check_text

Kind: TypeAlias = Literal["query", "document"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class Embedder:
    """Makes vectors with one model.

    Args:
        engine: runs the passes.
        tokenizer: of the model.
        purpose: prompts and lengths from the model's files.
        hidden_size: dimensions of a vector.
        source: what messages call the model.
    """

    def __init__(self, engine: Engine, tokenizer: Tokenizer, purpose: Purpose, hidden_size: int, source: str) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._prompts = purpose.prompts
        self._most_tokens = min(engine.context, purpose.max_length or engine.context)
        self._hidden_size = hidden_size
        if tokenizer.endoftext is None:
            raise CheckpointError(f"{source}: expected the token <|endoftext|>, which ends a text, found no such token")
        self._end = tokenizer.endoftext

    def encoder(self, kind: Kind, instruction: str | None, truncate: bool) -> Callable[[Text, str], list[int]]:
        """Return encode(text, name), which gives the ids of a text with the end token last. Raises ArgumentError."""
        check_choice("kind", kind, KINDS)
        check_flag("truncate", truncate)
        before = self._prompt(kind, instruction)
        room = self._most_tokens - 1
        if before:
            count_beginning(self._tokenizer, before, room, name="instruction")
        spelled = self._tokenizer.token_bytes(self._end).decode()

        def encode(text: Text, name: str) -> list[int]:
            # A text that already has its end token, spelled or as an id, gets no second one.
            if isinstance(text, str):
                text = text.removesuffix(spelled)
            elif isinstance(text, Sequence) and len(text) and text[-1] == self._end:
                text = text[:-1]
            ids = encode_within(self._tokenizer, text, room, name=name, truncate=truncate, before=before)
            return [*ids, self._end]

        return encode

    def _prompt(self, kind: Kind, instruction: str | None) -> str:
        if kind == "document":
            if instruction is not None:
                raise ArgumentError("instruction: expected none with kind='document': documents have no instruction")
            return self._prompts.get("document", "")
        if instruction is None:
            return self._prompts.get("query", f"Instruct: {INSTRUCTION}\nQuery:")
        check_text(instruction, "instruction")
        return f"Instruct: {instruction}\nQuery:"

    def form(self, dimensions: int | None = None, normalize: bool = True, dtype: Dtype = "float32") -> VectorForm:
        """Return the conversion from hidden states to vectors. Raises ArgumentError."""
        return VectorForm.checked(self._hidden_size, dimensions, normalize, dtype)

    def no_vectors(
        self, *, dimensions: int | None = None, normalize: bool = True, dtype: Dtype = "float32", **other: Any
    ) -> NDArray[Any]:
        """Return the empty array of vectors for no texts, [0, d]."""
        form = self.form(dimensions, normalize, dtype)
        return np.empty((0, form.columns), form.numpy)

    def windows(
        self,
        texts: Iterable[Text],
        *,
        kind: Kind = "document",
        instruction: str | None = None,
        dimensions: int | None = None,
        normalize: bool = True,
        dtype: Dtype = "float32",
        truncate: bool = False,
    ) -> Generator[NDArray[Any], None, None]:
        """Yield vectors of texts, some hundred at a time: arrays [n, d]. Arguments are checked by the call itself.

        See `Model.embed`.
        """
        if isinstance(texts, (str, bytes, Mapping)) or not is_iterable(texts):
            raise ArgumentError(f"texts: expected texts, found {type(texts).__name__}")
        form = self.form(dimensions, normalize, dtype)
        encode = self.encoder(kind, instruction, truncate)
        encoded = (encode(text, f"texts[{number}]") for number, text in enumerate(texts))
        return self._windows(encoded, form)

    def _windows(self, encoded: Iterable[list[int]], form: VectorForm) -> Generator[NDArray[Any], None, None]:
        with closing(last_states(self._engine, encoded)) as windows:
            for states in windows:
                yield np.stack([form.of(state) for state in states])
