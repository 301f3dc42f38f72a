"""The lifetime of a loaded model: closing frees its memory, and pickling loads it again elsewhere."""

from __future__ import annotations

import html
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qwen3cpu.errors import ArgumentError, ClosedModelError
from qwen3cpu.generation.draft_model import use_draft_model
from qwen3cpu.generation.text_drafts import draft_from_file
from qwen3cpu.loading.described_model import DescribedModel
from qwen3cpu.loading.model_card import model_card
from qwen3cpu.system.closed import close_object, closed_name, missing

if TYPE_CHECKING:
    from typing_extensions import Self

    from qwen3cpu.generation.answerer import Answerer
    from qwen3cpu.loading.adapters import Adapters
    from qwen3cpu.loading.loaded_model import Checkpoint
    from qwen3cpu.loading.reload import Reload


class ClosableModel(DescribedModel):
    """Gives `qwen3cpu.Model` its `close`, `with`, pickling and text for display."""

    adapters: Adapters
    answerer: Answerer
    draft_model: ClosableModel | None = None
    """The smaller model that drafts this one's answers."""
    _checkpoint: Checkpoint
    _reload: Reload | None

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise missing(self, name)

    def __enter__(self) -> Self:
        if closed_name(self) is not None:
            raise missing(self, "engine")
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the memory of weights, KV caches and adapters. Every later use raises ClosedModelError.

        Closing waits for a forward pass that another thread runs. Answers that are running raise ClosedModelError at
        their next step, and so do conversations. Closing a model twice is allowed.
        """
        with suppress(ClosedModelError):
            source, checkpoint = self.source, self._checkpoint
            if self.draft_model is not None:
                self.draft_model.close()
            self.engine.close(source)
            self.adapters.close()
            checkpoint.give_back()
            close_object(self, source)

    def draft_with(self, small: ClosableModel) -> None:
        """Let a smaller model draft answers. This model owns and closes it. ArgumentError: the two do not fit."""
        if not isinstance(small, ClosableModel):
            raise ArgumentError(f"draft: expected a loaded model, found {type(small).__name__}")
        try:
            use_draft_model(self.answerer, small.answerer, (self.source, small.source))
        except ArgumentError:
            small.close()
            raise
        self.draft_model = small

    def draft_from(self, path: str | os.PathLike[str] | None) -> None:
        """Draft answers from a file of texts, unless it is None. DraftFileError: it is damaged, or of other tokens."""
        if path is not None:
            draft_from_file(self.answerer, path, self.source)

    def load_arguments(self) -> dict[str, Any]:
        """The arguments of the `load` that made it, with absolute paths; none if something else made it."""
        return {} if self._reload is None else self._reload.arguments()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._reload is None:
            raise ArgumentError(f"{self.source}: expected a model that `load` made, found one that cannot be pickled")
        return self._reload.reduced(self, {name: named.path for name, named in self.adapters.items()})

    def __repr__(self) -> str:
        if closed_name(self) is not None:
            return f"<qwen3cpu.Model {closed_name(self)}: closed>"
        return (
            f"<qwen3cpu.Model {self.source}: {self.config.parameters() / 1e9:.2f} B parameters, {self.quant}, "
            f"context {self.context}, {self.threads} threads>"
        )

    def _repr_html_(self) -> str:
        return html.escape(repr(self)) if closed_name(self) is not None else model_card(self)
