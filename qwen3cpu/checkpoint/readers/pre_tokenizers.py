"""Pre-tokenizers by the names that llama.cpp gives them (tokenizer.ggml.pre), in the form of tokenizer.json.

Each splits texts as llama.cpp does for its name (src/llama-vocab.cpp). llama.cpp has no normalizer. A row has NFC if
the tokenizer.json of its models has it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

_CONTRACTIONS: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
_REST: Final = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORD: Final = r"[^\r\n\p{L}\p{N}]?\p{L}+|"
_QWEN2: Final = _CONTRACTIONS + _WORD + r"\p{N}" + _REST
_QWEN35: Final = (
    _CONTRACTIONS + r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3: Final = _CONTRACTIONS + _WORD + r"\p{N}{1,3}" + _REST
_UFAKZEKA: Final = _WORD + r"\p{N}" + _REST
_GPT4O: Final = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_DEEPSEEK3: Final = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class PreTokenizer(NamedTuple):
    """How a text is split before merges.

    Attributes:
        parts: steps of the Sequence in tokenizer.json.
        nfc: whether the text is normalized first.
        ignore_merges: whether a piece that is a whole token becomes that token, without applying merges.
    """

    parts: tuple[dict[str, Any], ...]
    nfc: bool = False
    ignore_merges: bool = False

    def pre_tokenizer(self) -> dict[str, Any]:
        """`pre_tokenizer` of tokenizer.json."""
        return {"type": "Sequence", "pretokenizers": list(self.parts)}

    def normalizer(self) -> dict[str, Any] | None:
        """`normalizer` of tokenizer.json."""
        return {"type": "NFC"} if self.nfc else None


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def byte_level(*, use_regex: bool) -> dict[str, Any]:
    """Make the step that turns bytes into characters of the vocabulary. use_regex: it also splits as GPT-2 does."""
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": use_regex}


_BYTES: Final = byte_level(use_regex=False)
_GPT2_WORDS: Final = byte_level(use_regex=True)
_DIGITS: Final = {"type": "Digits", "individual_digits": True}

_QWEN: Final = PreTokenizer((_split(_QWEN2), _BYTES), nfc=True)
_LLAMA: Final = PreTokenizer((_split(_LLAMA3), _BYTES), ignore_merges=True)
_GPT2: Final = PreTokenizer((_GPT2_WORDS,))
_STARCODER: Final = PreTokenizer((_DIGITS, _GPT2_WORDS))

PRE_TOKENIZERS: Final[dict[str, PreTokenizer]] = {
    "qwen2": _QWEN,
    **dict.fromkeys(("deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "hunyuan", "solar-open", "stablelm2"), _QWEN),
    "qwen35": PreTokenizer((_split(_QWEN35), _BYTES), nfc=True),
    "ufakzeka": PreTokenizer((_split(_UFAKZEKA), _BYTES), nfc=True),
    "smollm": _STARCODER,
    **dict.fromkeys(("starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"), _STARCODER),
    "llama-bpe": _LLAMA,
    **dict.fromkeys(("llama3", "llama-v3", "falcon3", "lfm2", "glm4"), _LLAMA),
    **dict.fromkeys(("chatglm-bpe", "dbrx", "smaug-bpe"), PreTokenizer((_split(_LLAMA3), _BYTES))),
    "gpt-2": _GPT2,
    **dict.fromkeys(("phi-2", "mellum", "exaone4", "a.x-4.0"), _GPT2),
    "gpt-4o": PreTokenizer((_split(_GPT4O), _BYTES)),
    **dict.fromkeys(("llama4", "kanana2"), PreTokenizer((_split(_GPT4O), _BYTES))),
    "deepseek-v3": PreTokenizer(
        (_split(r"\p{N}{1,3}"), _split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"), _split(_DEEPSEEK3), _BYTES)
    ),
}
"""Name -> pre-tokenizer. If several names have equal pre-tokenizers, the first name is written to files."""


def pre_tokenizer_name(tokenizer: dict[str, Any]) -> str | None:
    """Return llama.cpp's name for the pre-tokenizer of a tokenizer.json; None: llama.cpp does not have it."""
    found = tokenizer.get("pre_tokenizer") or {}
    parts = found.get("pretokenizers") if found.get("type") == "Sequence" else [found]
    normalizer = (tokenizer.get("normalizer") or {}).get("type")
    key = [_shape(part) for part in parts or []]
    ignore_merges = bool((tokenizer.get("model") or {}).get("ignore_merges"))
    for name, each in PRE_TOKENIZERS.items():
        if [_shape(part) for part in each.parts] != key or each.ignore_merges != ignore_merges:
            continue
        if normalizer in (None, "NFC"):  # llama.cpp has no normalizer
            return name
    return None


def _shape(part: dict[str, Any]) -> dict[str, Any]:
    """Return a step without the key that does not change where it splits."""
    return {key: value for key, value in part.items() if key != "trim_offsets"}
