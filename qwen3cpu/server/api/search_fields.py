"""Fields of other servers in requests for vectors and scores: renamed, ignored, or refused.

docs/serving.md shows the tables; a test compares both with OpenAI's client.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.api.foreign_fields import Translated, is_one_of
from qwen3cpu.server.api.json_words import shown

RENAMED = {
    "inputs": "input",
    "texts": "input",
    "content": "input",
    "input_type": "kind",
    "prompt_name": "kind",
    "task": "kind",
    "output_dimension": "dimensions",
    "normalized": "normalize",
    "embedding_type": "encoding_format",
    "truncation": "truncate",
    "top_k": "top_n",
    "return_text": "return_documents",
}
"""Name of a field in other servers -> its name here."""
KINDS = {
    "query": ("query", "search_query", "retrieval.query"),
    "document": ("document", "search_document", "retrieval.passage", "passage"),
}
"""Kind of text -> the words for it in `kind` and in the fields that mean the same."""
TRUNCATE = {"END": True, "RIGHT": True, "NONE": False}
"""Words that `truncate` may have instead of true and false."""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "add_special_tokens": (True,),
    "truncation_direction": ("right", "Right"),
    "truncation_side": ("right",),
    "output_dtype": ("float", "float32"),
    "embed_dtype": ("float32",),
    "embedding_types": (["float"],),
    "endianness": ("little", "native"),
    "embd_normalize": (2,),
    "late_chunking": (False,),
    "return_multivector": (False,),
    "use_activation": (True,),
    "activation": (True,),
    "softmax": (True,),
    "rank_fields": (["text"],),
    "priority": (0,),
}
"""Values that ask for the default behaviour. Other values are refused for the fields in REFUSED, else ignored."""
REFUSED = {
    "messages": "input",
    "images": "texts",
    "add_special_tokens": "true; the end token is always added",
    "truncation_direction": "right",
    "truncation_side": "right",
    "truncate_prompt_tokens": "truncate, or max_tokens_per_doc",
    "output_dtype": "float",
    "embed_dtype": "float32",
    "embedding_types": "encoding_format",
    "endianness": "little",
    "embd_normalize": "normalize",
    "late_chunking": "false",
    "return_multivector": "false",
    "use_activation": "raw_scores",
    "activation": "raw_scores",
    "softmax": "raw_scores",
    "rank_fields": "documents that are texts",
}
"""Fields that would change the result -> what the error message expects instead."""


def translate_search(given: Mapping[str, Any], known: frozenset[str]) -> Translated:
    """The body under the names of this server.

    Args:
        given: the JSON object of a request.
        known: the fields of the body here.

    Raises:
        ApiError: a field that cannot be ignored.
    """
    body = {name: value for name, value in given.items() if value is not None}
    places: dict[str, str] = {}
    for name, own in RENAMED.items():
        if name in body and name not in known and own in known:
            value = body.pop(name)
            if own not in body:
                body[own] = value
                places[own] = name
    if "kind" in body:
        body["kind"] = _kind(body["kind"], places.get("kind", "kind"))
    if isinstance(word := body.get("truncate"), str):
        if word.upper() not in TRUNCATE:
            name = places.get("truncate", "truncate")
            raise ApiError(400, f"{name}: expected true, false, END or NONE, found {shown(word)}", param=name)
        body["truncate"] = TRUNCATE[word.upper()]
    if is_one_of(body.get("truncate_prompt_tokens"), (-1,)):
        del body["truncate_prompt_tokens"]
        body.setdefault("truncate", True)
    ignored = []
    for name in [name for name in body if name not in known]:
        value = body.pop(name)
        if is_one_of(value, NEUTRAL.get(name, ())):
            continue
        if name in REFUSED:
            expected = f"not supported; expected {REFUSED[name]}"
            raise ApiError(400, f"{name}: {expected}", code="unsupported_parameter", param=name)
        ignored.append(name)
    return Translated(body, ignored, places)


def _kind(value: Any, name: str) -> str:
    for kind, words in KINDS.items():
        if value in words:
            return kind
    expected = ", ".join(word for words in KINDS.values() for word in words)
    raise ApiError(400, f"{name}: expected one of {expected}, found {shown(value)}", code="invalid_value", param=name)
