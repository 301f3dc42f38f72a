"""The engines of embedding.py: a worker process that loads a checkpoint and times embedding.

    python embedding_engines.py ENGINE

Runs under any Python that has the engine. Requests are lines of JSON on stdin ({"op": "open" | "embed", ...}), answers
lines on stdout. All pool the last token and normalize. The engines that pad get batches of texts of similar lengths.
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
from numpy.typing import NDArray
from peer_llama import answer_requests, peak_rss_bytes, write_metadata


class Engine:
    """The interface of all engines."""

    def open(self, folder: str, setting: str, threads: int, gguf_names: dict[str, str]) -> dict[str, Any]:
        """Load the checkpoint in `folder` with a setting. Returns the version of the engine, for the report.

        gguf_names: names of its tensors, for engines that need a GGUF file.
        """
        self._names = gguf_names
        os.environ["OMP_NUM_THREADS"] = str(threads)
        return {"version": self.load(Path(folder), setting.split(":"), threads)}

    def embed(self, texts: list[str], ids: list[list[int]], out: str | None = None) -> dict[str, Any]:
        """Seconds for the texts, whose tokens are `ids`. out: file for the vectors (.npy)."""
        start = perf_counter()
        vectors = self.vectors(texts, ids)
        seconds = perf_counter() - start
        if out:
            np.save(out, vectors)
        return {"seconds": seconds, "peak_rss_bytes": peak_rss_bytes()}

    def load(self, folder: Path, setting: list[str], threads: int) -> str:
        """Load the checkpoint. Returns the version of the engine."""
        raise NotImplementedError

    def vectors(self, texts: list[str], ids: list[list[int]]) -> NDArray[np.float32]:
        """Vectors of length 1, float32 [texts, dimensions]."""
        raise NotImplementedError


class Qwen3Cpu(Engine):
    """Setting: the weight format."""

    def load(self, folder: Path, setting: list[str], threads: int) -> str:
        """Pack the weights, or use the packed file in the cache of the folder."""
        import qwen3cpu
        from qwen3cpu import _native

        self._model = qwen3cpu.load(folder, quant=setting[0], threads=threads)
        return f"{qwen3cpu.__version__} {_native.chosen_isa()}"

    def vectors(self, texts: list[str], ids: list[list[int]]) -> NDArray[np.float32]:
        """Embed all texts in one call."""
        vectors: NDArray[np.float32] = self._model.embed(texts)
        return vectors


class SentenceTransformers(Engine):
    """Setting: the type of the weights, and texts in a batch."""

    def load(self, folder: Path, setting: list[str], threads: int) -> str:
        """Load the model in torch."""
        import sentence_transformers
        import torch

        torch.set_num_threads(threads)
        self._batch = int(setting[1])
        self._model = sentence_transformers.SentenceTransformer(
            str(folder), device="cpu", model_kwargs={"dtype": getattr(torch, setting[0])}
        )
        return f"{sentence_transformers.__version__}, torch {torch.__version__}"

    def vectors(self, texts: list[str], ids: list[list[int]]) -> NDArray[np.float32]:
        """Embed all texts in one call; the library sorts them by length."""
        options: dict[str, Any] = {"normalize_embeddings": True, "show_progress_bar": False}
        found: NDArray[np.float32] = self._model.encode(texts, batch_size=self._batch, **options)
        return found


class OpenVino(Engine):
    """Setting: the type of the weights (int8, or float32 unchanged), the type of computation, texts in a batch."""

    def load(self, folder: Path, setting: list[str], threads: int) -> str:
        """Convert the model of transformers, with pooling in it, once for each kind of weights."""
        import openvino

        weights, precision, batch = setting
        self._batch = int(batch)
        path = folder / f"openvino-{weights}" / "model.xml"
        if not path.exists():
            self._convert(folder, weights, path)
        core = openvino.Core()
        hints = {"PERFORMANCE_HINT": "THROUGHPUT" if batch == "1" else "LATENCY", "INFERENCE_NUM_THREADS": threads}
        model = core.compile_model(str(path), "CPU", {**hints, "INFERENCE_PRECISION_HINT": precision})
        self._request = model.create_infer_request()
        return str(openvino.__version__)

    def _convert(self, folder: Path, weights: str, path: Path) -> None:
        import openvino
        import torch
        import transformers

        base = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")

        class Pooled(torch.nn.Module):
            """Returns the hidden state of the last token of texts that are padded on the right."""

            def __init__(self) -> None:
                super().__init__()
                self.base = base

            def forward(self, input_ids: Any, attention_mask: Any) -> Any:
                """float32 [texts, dimensions]."""
                state = self.base(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
                rows, last = torch.arange(input_ids.shape[0]), attention_mask.sum(1) - 1
                return torch.nn.functional.normalize(state.last_hidden_state[rows, last], dim=-1)

        example = {
            "input_ids": torch.ones(2, 8, dtype=torch.long),
            "attention_mask": torch.ones(2, 8, dtype=torch.long),
        }
        with torch.no_grad():
            converted = openvino.convert_model(Pooled().eval(), example_input=example)
        if weights == "int8":
            import nncf

            converted = nncf.compress_weights(converted, mode=nncf.CompressWeightsMode.INT8_ASYM)
        path.parent.mkdir(exist_ok=True)
        openvino.save_model(converted, str(path), compress_to_fp16=False)

    def vectors(self, texts: list[str], ids: list[list[int]]) -> NDArray[np.float32]:
        """Embed texts in the order of their lengths, from their tokens."""
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        found: dict[int, NDArray[np.float32]] = {}
        for start in range(0, len(order), self._batch):
            chosen = order[start : start + self._batch]
            longest = len(ids[chosen[-1]])
            tokens = np.zeros((len(chosen), longest), np.int64)
            mask = np.zeros_like(tokens)
            for row, index in enumerate(chosen):
                tokens[row, : len(ids[index])] = ids[index]
                mask[row, : len(ids[index])] = 1
            (out,) = self._request.infer({"input_ids": tokens, "attention_mask": mask}).values()
            found.update(zip(chosen, np.array(out), strict=True))
        return np.stack([found[index] for index in range(len(ids))])


class LlamaCpp(Engine):
    """Setting: type of the file (Q8_0), tokens of a micro-batch, flash attention (on, off)."""

    def load(self, folder: Path, setting: list[str], threads: int) -> str:
        """Write the GGUF file once."""
        import llama_cpp

        kind, self._most, flash = setting[0], int(setting[1]), setting[2]
        path = folder / f"model-{kind}.gguf"
        if not path.exists():
            write_gguf(folder, path, kind, self._names)
        self._silence = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self._silence, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self._library = llama_cpp
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        if not self._model:
            raise RuntimeError(f"llama.cpp does not load {path}")
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = self._most
        parameters.n_seq_max = SEQUENCES
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.embeddings = True
        parameters.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_LAST
        parameters.kv_unified = True
        parameters.flash_attn_type = 1 if flash == "on" else 0
        parameters.no_perf = True
        self._context = llama_cpp.llama_init_from_model(self._model, parameters)
        if not self._context:
            raise RuntimeError("llama.cpp made no context")
        self._batch = llama_cpp.llama_batch_init(self._most, 0, 1)
        self._width = llama_cpp.llama_model_n_embd(self._model)
        return f"{llama_cpp.__version__} {llama_cpp.llama_print_system_info().decode().strip(' |')}"

    def vectors(self, texts: list[str], ids: list[list[int]]) -> NDArray[np.float32]:
        """Embed as many texts in a call as the micro-batch holds, like llama.cpp's own example, from their tokens."""
        found: list[NDArray[np.float32]] = []
        waiting: list[list[int]] = []
        for tokens in ids:
            if waiting and (sum(map(len, waiting)) + len(tokens) > self._most or len(waiting) == SEQUENCES):
                found += self._call(waiting)
                waiting = []
            waiting.append(tokens)
        return np.stack(found + self._call(waiting))

    def _call(self, texts: list[list[int]]) -> list[NDArray[np.float32]]:
        library, batch = self._library, self._batch
        memory = library.llama_get_memory(self._context)
        if memory:
            library.llama_memory_clear(memory, True)
        at = 0
        for sequence, tokens in enumerate(texts):
            for position, token in enumerate(tokens):
                batch.token[at] = token
                batch.pos[at] = position
                batch.n_seq_id[at] = 1
                batch.seq_id[at][0] = sequence
                batch.logits[at] = True
                at += 1
        batch.n_tokens = at
        code = library.llama_decode(self._context, batch)
        if code:
            raise RuntimeError(f"llama_decode returned {code}")
        found = []
        for sequence in range(len(texts)):
            vector = np.ctypeslib.as_array(library.llama_get_embeddings_seq(self._context, sequence), (self._width,))
            found.append(vector / np.linalg.norm(vector))
        return found


SEQUENCES = 64
"""Texts in one call of llama.cpp at most."""


def write_gguf(folder: Path, path: Path, kind: str, names: dict[str, str]) -> None:
    """Write the checkpoint as a GGUF file, quantised by the gguf package. names: tensor -> its name in the file."""
    import gguf

    shape = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(f"{path}.part", "qwen3")
    write_metadata(writer, shape, getattr(gguf.LlamaFileType, f"MOSTLY_{kind}"))
    writer.add_pooling_type(gguf.PoolingType.LAST)
    with (folder / "model.safetensors").open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        for name, about in header.items():
            if name == "__metadata__":
                continue
            begin, end = about["data_offsets"]
            file.seek(8 + size + begin)
            bits = np.frombuffer(file.read(end - begin), np.uint16).reshape(about["shape"])
            values = (bits.astype(np.uint32) << 16).view(np.float32)
            dtype = gguf.GGMLQuantizationType[kind if values.ndim == 2 else "F32"]
            stored = gguf.quants.quantize(values, dtype)
            writer.add_tensor(names[name], stored, raw_dtype=dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(f"{path}.part", path)


ENGINES = {
    "qwen3cpu": Qwen3Cpu,
    "sentence-transformers": SentenceTransformers,
    "openvino": OpenVino,
    "llama.cpp": LlamaCpp,
}


def main() -> None:
    """Answer requests until stdin ends."""
    # Other scripts in this folder have the names of packages that transformers looks for.
    sys.path.remove(str(Path(__file__).parent))
    answer_requests(ENGINES[sys.argv[1]]())


if __name__ == "__main__":
    try:
        main()
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(1)
