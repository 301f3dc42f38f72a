"""The worker of compare.py for llama.cpp: a process that writes random GGUF files and times llama_decode.

Runs under any Python that has llama-cpp-python and gguf, and imports nothing of qwen3cpu. Requests are lines of JSON on
stdin ({"op": "write" | "open" | "run", ...}), answers are lines on stdout. It uses the low-level API with one call for
each step. So Python adds only microseconds, and there is neither sampling nor text. All settings but the thread count
have llama.cpp's defaults: memory-mapped weights, repacking, automatic flash attention, f16 KV, ubatches of 512.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

PATTERN_ROWS = 256  # different rows of random blocks; tensors repeat them
ROUTER = "ffn_gate_inp.weight"
N_BATCH = 2048  # tokens in one call at most; llama.cpp cuts it into ubatches of 512
PROCESSED = 4096  # tokens of a depth that are processed; the others are copies, because 16,384 would take minutes


# Writing


def random_blocks(kind: str, rows: int, cols: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 [rows, bytes of a row]: weights of about 1 / sqrt(cols), with no scale that is subnormal in f16."""
    spread = cols**-0.5
    if kind in ("F32", "BF16"):
        values = rng.standard_normal((rows, cols), dtype=np.float32) * np.float32(spread)
        return (
            values.view(np.uint8) if kind == "F32" else (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
        )
    if kind in ("Q4_0", "Q8_0"):
        # f16 scale, then 32 nibbles (offset 8) or signed bytes.
        size, deviation = (16, 4.6) if kind == "Q4_0" else (32, 74.0)
        blocks = rng.integers(256, size=(rows, cols // 32, 2 + size), dtype=np.uint8)
        blocks[..., :2] = np.frombuffer(np.float16(spread / deviation).tobytes(), np.uint8)
        return blocks.reshape(rows, -1)
    if kind == "Q6_K":
        # Per 256 weights: 128 + 64 bytes of six-bit numbers (offset 32), 16 signed byte scales, f16 scale.
        blocks = rng.integers(256, size=(rows, cols // 256, 210), dtype=np.uint8)
        blocks[..., 192:208] = rng.integers(1, 9, size=(rows, cols // 256, 16), dtype=np.uint8)
        blocks[..., 208:] = np.frombuffer(np.float16(spread / (18.5 * 5)).tobytes(), np.uint8)
        return blocks.reshape(rows, -1)
    raise ValueError(f"kind: expected F32, BF16, Q4_0, Q8_0 or Q6_K, found {kind!r}")


def matrices(shape: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """GGUF name -> (rows, cols) of every matrix of a Qwen3 shape, given in the keys of its config.json.

    The matrices of a layer's experts are one tensor, (experts, rows, cols).
    """
    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    queries = shape["num_attention_heads"] * shape["head_dim"]
    keys = shape["num_key_value_heads"] * shape["head_dim"]
    experts = shape.get("experts")
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (shape["vocab_size"], hidden)}
    for layer in range(shape["num_hidden_layers"]):
        at = f"blk.{layer}."
        found[at + "attn_q.weight"] = (queries, hidden)
        found[at + "attn_k.weight"] = (keys, hidden)
        found[at + "attn_v.weight"] = (keys, hidden)
        found[at + "attn_output.weight"] = (hidden, queries)
        if experts:
            count, width = experts["count"], experts["width"]
            found[at + ROUTER] = (count, hidden)
            found[at + "ffn_gate_exps.weight"] = found[at + "ffn_up_exps.weight"] = (count, width, hidden)
            found[at + "ffn_down_exps.weight"] = (count, hidden, width)
            continue
        found[at + "ffn_gate.weight"] = (inner, hidden)
        found[at + "ffn_up.weight"] = (inner, hidden)
        found[at + "ffn_down.weight"] = (hidden, inner)
    if not shape["tie_word_embeddings"]:
        found["output.weight"] = (shape["vocab_size"], hidden)
    return found


def vectors(shape: dict[str, Any]) -> dict[str, int]:
    """GGUF name -> length of every norm weight."""
    found = {"output_norm.weight": shape["hidden_size"]}
    for layer in range(shape["num_hidden_layers"]):
        at = f"blk.{layer}."
        found[at + "attn_norm.weight"] = found[at + "ffn_norm.weight"] = shape["hidden_size"]
        found[at + "attn_q_norm.weight"] = found[at + "attn_k_norm.weight"] = shape["head_dim"]
    return found


def kind_of(name: str, kind: str, shape: dict[str, Any]) -> str:
    """The type of a matrix in a file of type `kind`. Routers stay in F32; llama.cpp's Q4_0 keeps the head in Q6_K."""
    if name.endswith(ROUTER):
        return "F32"
    head = "token_embd.weight" if shape["tie_word_embeddings"] else "output.weight"
    if kind == "Q4_0" and name == head:
        return "Q6_K" if shape["hidden_size"] % 256 == 0 else "Q8_0"
    return kind


def write(path: str, shape: dict[str, Any], kind: str) -> dict[str, Any]:
    """Write a GGUF file of random weights next to `path`, and rename it to `path`."""
    import gguf

    rng = np.random.default_rng(0)
    part = f"{path}.part"
    writer = gguf.GGUFWriter(part, "qwen3moe" if shape.get("experts") else "qwen3")
    write_metadata(writer, shape, getattr(gguf.LlamaFileType, f"MOSTLY_{kind}"))
    patterns: dict[tuple[str, int], np.ndarray] = {}
    for name, (*rows, cols) in matrices(shape).items():
        own = kind_of(name, kind, shape)
        if (own, cols) not in patterns:
            patterns[own, cols] = random_blocks(own, PATTERN_ROWS, cols, rng)
        row_bytes = patterns[own, cols].shape[1]
        dtype = gguf.GGMLQuantizationType[own]
        size = int(np.prod(rows)) * row_bytes
        writer.add_tensor_info(name, (*rows, row_bytes), np.dtype(np.uint8), size, raw_dtype=dtype)
    for name, length in vectors(shape).items():
        writer.add_tensor_info(name, (length,), np.dtype(np.float32), 4 * length)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, (*rows, cols) in matrices(shape).items():
        pattern = patterns[kind_of(name, kind, shape), cols]
        writer.write_tensor_data(np.resize(pattern, (*rows, pattern.shape[1])))
    for length in vectors(shape).values():
        writer.write_tensor_data(np.ones(length, dtype=np.float32))
    writer.close()
    os.replace(part, path)
    return {"bytes": os.path.getsize(path)}


def write_metadata(writer: Any, shape: dict[str, Any], file_type: int) -> None:
    """Write the keys that llama.cpp's loader expects for Qwen3. "none" is a vocabulary of ids without texts."""
    writer.add_name("random weights")
    writer.add_file_type(int(file_type))
    writer.add_block_count(shape["num_hidden_layers"])
    writer.add_context_length(shape["max_position_embeddings"])
    writer.add_embedding_length(shape["hidden_size"])
    writer.add_feed_forward_length(shape["intermediate_size"])
    writer.add_head_count(shape["num_attention_heads"])
    writer.add_head_count_kv(shape["num_key_value_heads"])
    writer.add_key_length(shape["head_dim"])
    writer.add_value_length(shape["head_dim"])
    writer.add_layer_norm_rms_eps(shape["rms_norm_eps"])
    writer.add_rope_freq_base(shape["rope_theta"])
    if shape.get("experts"):
        writer.add_expert_count(shape["experts"]["count"])
        writer.add_expert_used_count(shape["experts"]["chosen"])
        writer.add_expert_feed_forward_length(shape["experts"]["width"])
    writer.add_vocab_size(shape["vocab_size"])
    writer.add_tokenizer_model("none")


# Measuring


class Context:
    """A llama.cpp context for one case, whose sequences have been filled once to the depth of the case."""

    def __init__(self, library: Any, model: Any, case: dict[str, Any], vocab_size: int) -> None:
        self._library = library
        self._vocab_size = vocab_size
        self._rng = np.random.default_rng(0)
        self._depth, self._sequences = case["depth"], case["batch"]
        parameters = library.llama_context_default_params()
        # Each sequence gets an equal part of the positions; llama.cpp pads them to 256.
        each = -(-(case["depth"] + case["n_prompt"] + case["n_gen"] + 1) // 256) * 256
        parameters.n_ctx = each * self._sequences
        parameters.n_seq_max = self._sequences
        if self._depth > PROCESSED:  # one more sequence for the copies, in the same buffer
            parameters.n_seq_max += 1
            parameters.kv_unified = True
        parameters.n_batch = N_BATCH
        parameters.n_threads = parameters.n_threads_batch = case["threads"]
        parameters.no_perf = True
        self._context = library.llama_init_from_model(model, parameters)
        if not self._context:
            raise RuntimeError(f"llama.cpp made no context of {parameters.n_ctx} positions")
        self._memory = library.llama_get_memory(self._context)
        self._batch = library.llama_batch_init(N_BATCH, 0, 1)
        for sequence in range(self._sequences):
            self._fill(sequence)

    def run(self, n_prompt: int, n_gen: int) -> float:
        """Seconds that a prompt, or decoding, takes for all sequences."""
        for sequence in range(self._sequences):
            self._library.llama_memory_seq_rm(self._memory, sequence, self._depth, -1)
        start = perf_counter()
        if n_prompt:
            for sequence in range(self._sequences):
                self._feed(sequence, self._depth, n_prompt)
        for step in range(n_gen):
            self._decode([(sequence, self._depth + step, True) for sequence in range(self._sequences)])
        return perf_counter() - start

    def _fill(self, sequence: int) -> None:
        """Fill a sequence with `depth` tokens: processed ones, then shifted copies of their keys and values."""
        library, memory, spare = self._library, self._memory, self._sequences
        first = min(self._depth, PROCESSED)
        self._feed(sequence, 0, first)
        if first == self._depth:
            return
        size = library.llama_state_seq_get_size(self._context, sequence)
        state = (ctypes.c_uint8 * size)()
        library.llama_state_seq_get_data(self._context, state, size, sequence)
        for start in range(first, self._depth, first):
            if not library.llama_state_seq_set_data(self._context, state, size, spare):
                raise RuntimeError(f"llama.cpp holds no {start + first} positions")
            library.llama_memory_seq_add(memory, spare, -1, -1, start)
            library.llama_memory_seq_cp(memory, spare, sequence, -1, -1)
            library.llama_memory_seq_rm(memory, spare, -1, -1)
        if library.llama_memory_seq_pos_max(memory, sequence) + 1 < self._depth:
            raise RuntimeError(f"llama.cpp holds fewer than {self._depth} positions")

    def _feed(self, sequence: int, start: int, count: int) -> None:
        """Process `count` tokens of one sequence, with logits for the last one, as a prompt."""
        for first in range(start, start + count, N_BATCH):
            last = min(first + N_BATCH, start + count)
            self._decode([(sequence, position, position + 1 == start + count) for position in range(first, last)])

    def _decode(self, tokens: list[tuple[int, int, bool]]) -> None:
        """Make one call with random tokens: (sequence, position, whether its logits are wanted) for each."""
        batch = self._batch
        batch.n_tokens = len(tokens)
        ids = self._rng.integers(self._vocab_size, size=len(tokens))
        for index, (sequence, position, wanted) in enumerate(tokens):
            batch.token[index] = int(ids[index])
            batch.pos[index] = position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = sequence
            batch.logits[index] = wanted
        code = self._library.llama_decode(self._context, batch)
        if code != 0:
            raise RuntimeError(f"llama_decode returned {code}")
        self._library.llama_synchronize(self._context)


class Server:
    """The operations."""

    write = staticmethod(write)

    def open(self, path: str, vocab_size: int) -> dict[str, Any]:
        """Load a GGUF file."""
        import llama_cpp

        self._silence = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self._silence, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self._library = llama_cpp
        self._vocab_size = vocab_size
        self._contexts: dict[str, Context] = {}
        start = perf_counter()
        self._model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        if not self._model:
            raise RuntimeError(f"llama.cpp does not load {path}")
        return {
            "load_seconds": perf_counter() - start,
            "version": llama_cpp.__version__,
            "system": llama_cpp.llama_print_system_info().decode(),
        }

    def run(self, case: dict[str, Any]) -> dict[str, Any]:
        """Measure a case once."""
        key = json.dumps(case, sort_keys=True)
        if key not in self._contexts:
            self._contexts[key] = Context(self._library, self._model, case, self._vocab_size)
        seconds = self._contexts[key].run(case["n_prompt"], case["n_gen"])
        return {
            "tokens": case["batch"] * (case["n_prompt"] or case["n_gen"]),
            "seconds": seconds,
            "peak_rss_bytes": peak_rss_bytes(),
        }


def peak_rss_bytes() -> int:
    """The most memory that this process has had resident (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def answer_requests(server: Any) -> None:
    """Call the methods of `server` that requests on stdin name, until it ends. Their results go to stdout."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(server, request.pop("op"))(**request)
        except Exception as error:  # the parent reports every error
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    try:
        answer_requests(Server())
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(1)
