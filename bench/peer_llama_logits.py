"""The worker of gguf_perplexity.py for llama.cpp: it quantises GGUF files and writes the logits of windows.

Runs under any Python that has llama-cpp-python, and imports nothing of qwen3cpu. Requests and answers as in
peer_llama.py.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import llama_cpp
import numpy as np
from peer_llama import answer_requests


class Server:
    """The operations."""

    def __init__(self) -> None:
        self._silence = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self._silence, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self._model: Any = None

    def quantize(self, source: str, out: str, file_type: int, threads: int, types: dict[str, int]) -> dict[str, Any]:
        """Call llama_model_quantize. types: pattern of tensor names -> their type, regardless of the file type."""
        parameters = llama_cpp.llama_model_quantize_default_params()
        parameters.ftype, parameters.nthread, parameters.allow_requantize = file_type, threads, True
        if types:
            overrides = (llama_cpp.llama_model_tensor_override * (len(types) + 1))()
            for override, (pattern, kind) in zip(overrides, types.items(), strict=False):
                override.pattern, override.type = pattern.encode(), kind
            parameters.tt_overrides = overrides
        code = llama_cpp.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(parameters))
        if code != 0:
            raise RuntimeError(f"llama_model_quantize returned {code}")
        return {}

    def open(self, path: str, window: int, threads: int) -> dict[str, Any]:
        """Load a file instead of the previous one."""
        if self._model is not None:
            llama_cpp.llama_free(self._context)
            llama_cpp.llama_model_free(self._model)
        self._model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        if not self._model:
            raise RuntimeError(f"llama.cpp does not load {path}")
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = window
        parameters.n_threads = parameters.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, parameters)
        vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._vocab, self._size = vocab, llama_cpp.llama_vocab_n_tokens(vocab)
        self._batch = llama_cpp.llama_batch_init(window, 0, 1)
        return {"version": llama_cpp.__version__, "system": llama_cpp.llama_print_system_info().decode()}

    def tokenize(self, text: str) -> dict[str, Any]:
        """The ids of a text, without control tokens."""
        data = text.encode()
        ids = (llama_cpp.llama_token * (len(data) + 16))()
        count = llama_cpp.llama_tokenize(self._vocab, data, len(data), ids, len(ids), False, False)
        return {"ids": list(ids[:count])}

    def logits(self, ids: list[int], first: int, out: str) -> dict[str, Any]:
        """Write the logits float32 [len(ids) - first, vocabulary] after the ids from `first` on."""
        memory = llama_cpp.llama_get_memory(self._context)
        llama_cpp.llama_memory_clear(memory, True)
        batch = self._batch
        batch.n_tokens = len(ids)
        for index, id_ in enumerate(ids):
            batch.token[index], batch.pos[index], batch.n_seq_id[index] = id_, index, 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = index >= first
        code = llama_cpp.llama_decode(self._context, batch)
        if code != 0:
            raise RuntimeError(f"llama_decode returned {code}")
        rows = [
            np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self._context, index), shape=(self._size,))
            for index in range(first, len(ids))
        ]
        np.stack(rows).astype("<f4").tofile(out)
        return {}


if __name__ == "__main__":
    try:
        answer_requests(Server())
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(1)
