"""Compare the perplexity of llama.cpp and qwen3cpu on the same GGUF file, for every type of weights.

    python bench/gguf_perplexity.py --model FOLDER --text FILE --work FOLDER --peer-python PYTHON -o results.json

llama.cpp's own quantiser makes the files from the model padded to whole blocks of 256 columns (padded_model.py). The
logits of the padded model are first compared with those of the original. The text is cut into separate windows, and the
second half of each window is scored, as in llama.cpp's perplexity tool. For llama.cpp the divergence from the unrounded
weights is measured too, for tools/draw_charts.py. Results are written after each type. Types that are already in the
file are not measured again.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from padded_model import write_padded

import qwen3cpu
from qwen3cpu.bench.errors import BenchError
from qwen3cpu.bench.process import Worker
from qwen3cpu.checkpoint.gguf_file import GgufFile
from qwen3cpu.checkpoint.gguf_types import BLOCKS
from qwen3cpu.checkpoint.tensors import tensors_of
from qwen3cpu.engine.formats import ACTIVATIONS, DEFAULT_ACTIVATIONS
from qwen3cpu.loading.gguf_export import GGUF_TYPES, export_gguf
from qwen3cpu.quantization.divergence import log_softmax

WINDOW = 512
FIRST = WINDOW // 2
Array = NDArray[np.float32]
FILE_TYPES = {
    "BF16": 32,
    "Q8_0": 7,
    "Q6_K": 18,
    "Q5_K_M": 17,
    "Q4_K_M": 15,
    "Q4_K_S": 14,
    "Q4_1": 3,
    "Q4_0": 2,
    "IQ4_NL": 25,
    "IQ4_XS": 30,
    "Q3_K_M": 12,
    "Q2_K": 10,
    "F16": 1,
    "Q5_1": 9,
    "Q5_0": 8,
    "MXFP4": 2,
    "NVFP4": 2,
    "IQ3_S": 26,
    "IQ3_XXS": 23,
    "TQ2_0": 37,
    "TQ1_0": 36,
    "Q2_0": 41,
    "Q1_0": 40,
}
"""Name -> number in llama.cpp's enum llama_ftype."""
ALL_OF = {"MXFP4": {"attn_|ffn_": 39}, "NVFP4": {"attn_|ffn_": 40}}
"""Types that no file type of llama.cpp gives a dense model: pattern of tensors -> number of their type."""


class Peer:
    """llama.cpp in a process of its own."""

    def __init__(self, worker: Worker, scratch: Path, threads: int) -> None:
        self._worker = worker
        self._scratch = scratch
        self._threads = threads

    def quantize(self, source: Path, out: Path, name: str) -> None:
        """Make a file of a type. "F32" writes the decoded weights of another file."""
        self._worker.ask(
            "quantize",
            source=str(source),
            out=str(out),
            file_type=FILE_TYPES.get(name, 0),
            threads=self._threads,
            types=ALL_OF.get(name, {}),
        )

    def open(self, path: Path) -> dict[str, Any]:
        """Load a file."""
        return self._worker.ask("open", path=str(path), window=WINDOW, threads=self._threads)

    def tokenize(self, text: str) -> list[int]:
        """The ids of a text."""
        ids: list[int] = self._worker.ask("tokenize", text=text)["ids"]
        return ids

    def log_probabilities(self, ids: list[int]) -> Array:
        """float32 [ids of the second half but the last, vocabulary]."""
        self._worker.ask("logits", ids=ids[:-1], first=FIRST, out=str(self._scratch))
        return log_softmax(np.fromfile(self._scratch, "<f4").reshape(len(ids) - 1 - FIRST, -1))


def our_log_probabilities(model: qwen3cpu.Model, ids: list[int]) -> Array:
    """The same for qwen3cpu."""
    rows = np.concatenate([logits for _, logits in model.engine.every_logit(ids[:-1])])
    return log_softmax(rows[FIRST:])


def surprise(logs: Array, ids: list[int]) -> float:
    """Sum of the negative log-probabilities of a window's scored tokens, in nats."""
    targets = np.array(ids[FIRST + 1 :])
    return -float(logs[np.arange(len(targets)), targets].sum(dtype=np.float64))


def perplexity(surprises: list[float]) -> float:
    """Perplexity over windows, from their `surprise`."""
    return math.exp(sum(surprises) / len(surprises) / (WINDOW - 1 - FIRST))


def cost_of_inputs(exact: list[float], rounded: dict[str, list[float]]) -> dict[str, float]:
    """Perplexities in float32 and with each kind of activations, on the windows that all have, with standard errors."""
    windows = min(len(exact), *map(len, rounded.values()))
    found: dict[str, float] = {"windows": windows, "in_f32": perplexity(exact[:windows])}
    for kind, surprises in rounded.items():
        differences = np.subtract(surprises[:windows], exact[:windows]) / (WINDOW - 1 - FIRST)
        found[kind] = perplexity(surprises[:windows])
        if windows > 1:
            found[f"{kind}_standard_error"] = float(differences.std(ddof=1) / windows**0.5)
    return found


def file_bits(path: Path, model: Any) -> dict[str, float]:
    """Bytes of a file, bits per weight of its matrices, and the MiB of these without the padding."""
    tensors = GgufFile(path).tensors
    bits = {name: 8 * size / weights for name, weights, size in BLOCKS.values()}
    stored = unpadded = weights = 0.0
    for tensor in tensors_of(model):
        if tensor.is_matrix:
            found = tensors[tensor.gguf_name]
            stored += found.stop - found.start
            weights += math.prod(found.shape)
            unpadded += math.prod(tensor.shape) * bits[found.type] / 8
    return {
        "file_bytes": path.stat().st_size,
        "bits_per_weight": round(8 * stored / weights, 3),
        "unpadded_mib": round(unpadded / 2**20, 2),
    }


class Run:
    """The texts, the reference and the results."""

    def __init__(self, args: argparse.Namespace, peer: Peer) -> None:
        self.args, self.peer, self.folder = args, peer, args.work
        self.folder.mkdir(parents=True, exist_ok=True)
        self.original = qwen3cpu.load(args.model, quant="bf16", threads=args.threads)
        text = args.text.read_text(encoding="utf-8")
        ids = self.original.tokenizer.encode(text)
        self.windows = [ids[at : at + WINDOW] for at in range(0, args.kl_windows * WINDOW, WINDOW)]
        self.sample = text[:20000]
        self.results = json.loads(args.out.read_text()) if args.out.exists() else {"types": {}}

    def save(self) -> None:
        """Write the results so far."""
        self.args.out.write_text(json.dumps(self.results, indent=1) + "\n")

    def prepare(self) -> None:
        """Make the padded model, compare it with the original, and compute the reference's log-probabilities."""
        padded = self.folder / "padded"
        if not (padded / "model.safetensors").exists():
            write_padded(self.args.model, padded)
        ids = self.windows[0]
        ours, same = (
            qwen3cpu.load(path, quant="f32", kv="f32", threads=self.args.threads, cache=False).logits(ids[:128])
            for path in (self.args.model, padded)
        )
        self.results["padding"] = {
            "greatest_difference": float(np.abs(ours - same).max()),
            "greatest_logit": float(np.abs(ours).max()),
        }
        if not (self.folder / "padded-BF16.gguf").exists():
            export_gguf(padded, self.folder / "padded-BF16.gguf", "BF16")
        self.reference = self.folder / "reference.npy"
        if not self.reference.exists():
            np.save(self.reference, np.stack([our_log_probabilities(self.original, each) for each in self.windows]))
        self.save()

    def both(self, path: Path, windows: list[list[int]]) -> dict[str, Any]:
        """Measure both engines on a file, and both on its weights in float32."""
        found: dict[str, Any] = {}
        opened = self.peer.open(path)
        if not self.results.get("version"):
            self.results |= {"version": opened["version"], "system": opened["system"]}
        theirs, divergences, same = [], [], 0
        reference = np.load(self.reference, mmap_mode="r")
        for ids, expected in zip(windows, reference[: len(windows)], strict=True):
            logs = self.peer.log_probabilities(ids)
            theirs.append(surprise(logs, ids))
            divergences.append(np.einsum("ij,ij->i", np.exp(expected), expected - logs, dtype=np.float64))
            same += int((expected.argmax(1) == logs.argmax(1)).sum())
        found["windows"], found["divergence_windows"] = min(self.args.windows, len(windows)), len(windows)
        found["llama"] = {
            "perplexity": perplexity(theirs[: self.args.windows]),
            "perplexity_of_all": perplexity(theirs),
            "mean_kl": float(np.mean(divergences)),
            "kl_99": float(np.quantile(divergences, 0.99)),
            "same_top": same / np.size(divergences),
        }
        plain_file = path.stem.endswith(("BF16", "F16"))  # would be packed to q4, which rounds
        options: dict[str, Any] = {"threads": self.args.threads, "cache": False}
        rounded = {}
        for activations in ACTIVATIONS:
            model = qwen3cpu.load(path, "bf16" if plain_file else None, activations=activations, **options)
            rounded[activations] = self.surprises(model, self.args.windows)
        ours = rounded[DEFAULT_ACTIVATIONS]
        found["ours"] = {"quant": model.quant, "perplexity": perplexity(ours)}
        plain = self.folder / f"{self.args.out.stem}.plain.gguf"
        self.peer.quantize(path, plain, "F32")
        self.peer.open(plain)
        exact = self.surprises(qwen3cpu.load(path, "f32", "f32", **options), self.args.exact_windows)
        few = self.windows[: self.args.exact_windows]
        found["in_f32"] = {
            "llama": perplexity([surprise(self.peer.log_probabilities(ids), ids) for ids in few]),
            "ours": perplexity(exact),
        }
        found["inputs"] = cost_of_inputs(exact, rounded)
        return found

    def surprises(self, model: qwen3cpu.Model, count: int) -> list[float]:
        """The `surprise` of the first windows."""
        return [surprise(our_log_probabilities(model, ids), ids) for ids in self.windows[:count]]

    def types(self) -> Iterator[tuple[str, Path]]:
        """Every type that llama.cpp writes without an importance matrix, and its file."""
        for name in self.args.types:
            path = self.folder / f"padded-{name}.gguf"
            try:
                if not path.exists():
                    self.peer.quantize(self.folder / "padded-BF16.gguf", path, name)
            except BenchError as reason:
                path.unlink(missing_ok=True)
                print(name, reason, file=sys.stderr, flush=True)
                continue
            yield name, path

    def run(self) -> None:
        """Measure all types, and the file that `qwen3cpu export` writes of the unpadded model."""
        self.prepare()
        for name, path in self.types():
            if name not in self.results["types"]:
                found = {**file_bits(path, self.original.config), **self.both(path, self.windows)}
                self.results["types"][name] = found
                self.save()
                print(name, json.dumps(found), file=sys.stderr, flush=True)
        for kind in self.args.exported:
            if kind in self.results.setdefault("exported", {}):
                continue
            path = self.folder / f"exported-{kind}.gguf"
            export_gguf(self.args.model, path, kind)
            found = self.both(path, self.windows[: self.args.windows])
            found["same_tokens"] = self.peer.tokenize(self.sample) == self.original.tokenizer.encode(self.sample)
            self.results["exported"][kind] = found
            self.save()
            print("exported", kind, json.dumps(found), file=sys.stderr, flush=True)


def as_table(results: dict[str, Any]) -> str:
    """The results as two tables in Markdown: beside llama.cpp, and what the rounding of inputs costs."""
    lines = [
        "| file | bits per weight | windows | llama.cpp | qwen3cpu | | both in f32 | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    exported = {f"exported as {name}": found for name, found in results.get("exported", {}).items()}
    for name, found in {**results["types"], **exported}.items():
        theirs, ours, plain = found["llama"]["perplexity"], found["ours"]["perplexity"], found["in_f32"]
        cells = (
            name,
            f"{found['bits_per_weight']:.2f}" if "bits_per_weight" in found else "",
            str(found["windows"]),
            f"{theirs:.3f}",
            f"{ours:.3f} (`{found['ours']['quant']}`)",
            f"{100 * (ours / theirs - 1):+.2f} %",
            f"{plain['ours']:.3f}",
            f"{100 * (plain['ours'] / plain['llama'] - 1):+.3f} %",
        )
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| file | in f32 | `int8`, the default | | `int16` | |", "|---|---|---|---|---|---|"]
    for name, found in results["types"].items():
        if costs := found.get("inputs"):
            exact, *both = (costs[key] for key in ("in_f32", *ACTIVATIONS))
            cells = (name, f"{exact:.3f}", *(f"{each:.3f} | {100 * (each / exact - 1):+.2f} %" for each in both))
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="a model folder in bfloat16")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for files, a few gigabytes")
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has llama-cpp-python")
    parser.add_argument("--types", nargs="+", choices=FILE_TYPES, default=list(FILE_TYPES))
    parser.add_argument("--exported", nargs="*", choices=GGUF_TYPES, default=list(GGUF_TYPES))
    parser.add_argument("--windows", type=int, default=12, help="of perplexities (default: %(default)s)")
    parser.add_argument("--kl-windows", type=int, default=20, help="of divergences (default: %(default)s)")
    parser.add_argument("--exact-windows", type=int, default=2, help="of weights in float32 (default: %(default)s)")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-o", "--out", type=Path, required=True, help="results in JSON")
    args = parser.parse_args()
    command = (args.peer_python, str(Path(__file__).with_name("peer_llama_logits.py")))
    with Worker("llama.cpp", command) as worker:
        run = Run(args, Peer(worker, args.work / f"{args.out.stem}.f32", args.threads))
        run.run()
    print(as_table(run.results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
