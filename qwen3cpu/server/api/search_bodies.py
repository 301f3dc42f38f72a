"""The bodies of requests for vectors and scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

from qwen3cpu.server.api.bodies import MOST_NAMED, ForeignBody
from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.foreign_fields import Translated
from qwen3cpu.server.api.json_words import shown
from qwen3cpu.server.api.search_fields import translate_search


class SearchBody(ForeignBody):
    """The fields that requests for vectors and scores share."""

    instruction: str | None = None
    truncate: bool = False

    @classmethod
    def translated(cls, given: Mapping[str, Any]) -> Translated:
        """See ForeignBody."""
        return translate_search(given, frozenset(cls.model_fields))


class EmbeddingsBody(SearchBody):
    """POST /v1/embeddings. Fields from `kind` on, and those of SearchBody, are not OpenAI's."""

    input: Any
    """A text, token ids, or a list of them; `texts` checks it."""
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] = "float"

    kind: Literal["query", "document"] = "document"
    normalize: bool = True

    def texts(self, most: int) -> Sequence[str | list[Any]]:
        """The texts, at most `most`. A list holds token ids, which are not checked yet. Raises ApiError."""
        given = self.input
        if isinstance(given, str) or (isinstance(given, list) and given and isinstance(given[0], int)):
            return [given]
        if not isinstance(given, list):
            raise _wrong("input", "a text, token ids, or a list of them", given)
        for place, text in enumerate(_counted(given, most, "input")):
            if not isinstance(text, (str, list)):
                raise _wrong(f"input[{place}]", "a text or token ids", text)
        return given


class RerankBody(SearchBody):
    """POST /v1/rerank, /v2/rerank and /rerank: `documents` as in Cohere's and Jina's APIs, or `texts` as in TEI's."""

    query: str
    documents: list[Any] | None = None
    texts: list[Any] | None = None
    top_n: int | None = None
    max_tokens_per_doc: int | None = None
    return_documents: bool = False
    raw_scores: bool = False

    @property
    def field(self) -> str:
        """The field with the documents."""
        return "documents" if self.texts is None else "texts"

    def contents(self, most: int) -> list[str]:
        """The documents, at most `most`. ApiError for more, for none, or for one that is not a text."""
        if self.documents is not None and self.texts is not None:
            raise ApiError(400, "texts: expected either documents or texts, found both", param="texts")
        given = _counted(self.documents if self.texts is None else self.texts, most, self.field)
        found = []
        for place, document in enumerate(given):
            text = document.get("text") if isinstance(document, dict) else document
            if not isinstance(text, str):
                raise _wrong(f"{self.field}[{place}]", "a text, or an object with a text", document)
            found.append(text)
        return found

    def without_effect(self, context: int) -> Iterator[str]:
        """The fields of documents besides their texts, which are ignored."""
        given = (self.documents if self.texts is None else self.texts) or ()
        objects = ((place, document) for place, document in enumerate(given) if isinstance(document, dict))
        names = (f"{self.field}[{place}].{name}" for place, document in objects for name in document if name != "text")
        yield from islice(names, MOST_NAMED)


def _counted(given: list[Any] | None, most: int, name: str) -> list[Any]:
    if given is None:
        raise ApiError(400, f"{name}: field required", code="missing_required_parameter", param=name)
    if not given:
        raise ApiError(400, f"{name}: expected at least one text, found an empty list", param=name)
    if len(given) > most:
        raise ApiError(400, f"{name}: expected at most {most} texts, found {len(given)}", param=name)
    return given


def _wrong(name: str, expected: str, found: Any) -> ApiError:
    return ApiError(400, f"{name}: expected {expected}, found {shown(found)}", code="invalid_type", param=name)
