"""Compare the embedding speed of qwen3cpu and other engines, in turns, on the shape of Qwen3-Embedding-0.6B.

    python bench/embedding.py --peer-python PYTHON -o json
    python bench/embedding.py --engines qwen3cpu/q8 llama.cpp/Q8_0:512:on --turns 2
    python bench/embedding.py --memory                  # the most memory for 1,000 and for 10,000 short texts

The weights are random. There are 512 texts of 20 to 500 tokens. A turn gives every engine the same part of them, one
engine after the other, each in a process of its own. After all turns each engine has embedded every text once. A part
has texts of all lengths, in groups of eight neighbours by length, so that engines that pad lose almost nothing. An
engine is written with its settings, `name/setting`; embedding_engines.py describes them. The vectors of the first turn
are compared with those of the first engine, by their least cosine. Exit code 2: an engine failed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.bench.errors import BenchError
from qwen3cpu.bench.machine import Machine
from qwen3cpu.bench.process import Worker
from qwen3cpu.bench.report import Spread, spread_text
from qwen3cpu.checkpoint.tensors import tensors_of
from qwen3cpu.errors import Qwen3CpuError
from qwen3cpu.system.thread_count import resolve_threads
from qwen3cpu.text.tokenizer import Tokenizer

ROOT = Path(__file__).parents[1]
SHAPE = {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151_669,
    "max_position_embeddings": 32_768,
    "tie_word_embeddings": True,
}
"""The shape of Qwen3-Embedding-0.6B, from its config.json."""
ENGINES = ("qwen3cpu/q8", "llama.cpp/Q8_0:512:on", "sentence-transformers/bfloat16:8", "openvino/int8:f32:8")
GROUP = 8
"""Neighbours by length that stay together."""
MEMORY_PROGRAM = """
import sys, qwen3cpu
from qwen3cpu.system.process_limits import peak_memory
model = qwen3cpu.load(sys.argv[1], quant="q8")
texts = (f"{number} words" for number in range(int(sys.argv[2])))
before = peak_memory()
done = sum(len(vectors) for vectors in model.embed_stream(texts))
print(done, before, peak_memory())
"""
"""A program that prints the number of texts, and the peak memory in bytes before and after they are embedded."""
LENGTHS = (20, 500)
"""Tokens of a text, least and most."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The results of an engine."""

    engine: str
    version: str
    tokens_per_second: Spread
    ratios: Spread
    """The first engine's speed / this engine's, of each turn."""
    seconds: float
    """For all texts."""
    peak_rss_bytes: int
    least_cosine: float
    """Between vectors of the first engine and this one, over the texts of the first turn."""


def make_texts(count: int, tokenizer: Tokenizer) -> tuple[list[str], list[list[int]]]:
    """Texts of random words, and their tokens with the end token; evenly spread over LENGTHS."""
    rng = np.random.default_rng(0)
    words = [text for text in map(tokenizer.decode, ([i] for i in range(tokenizer.size))) if text.strip().isalpha()]
    texts: list[str] = []
    ids: list[list[int]] = []
    assert tokenizer.endoftext is not None
    for length in np.linspace(*LENGTHS, count).round().astype(int):
        text, tokens = "", [tokenizer.endoftext]
        while len(tokens) < length:
            text += f" {rng.choice(words).strip()}"
            tokens = [*tokenizer.encode(text), tokenizer.endoftext]
        texts.append(text)
        ids.append(tokens)
    return texts, ids


def parts(count: int, turns: int) -> list[list[int]]:
    """Indexes of the texts of each turn, the texts being sorted by length."""
    groups = [list(range(start, min(start + GROUP, count))) for start in range(0, count, GROUP)]
    chosen = [[index for group in groups[turn::turns] for index in group] for turn in range(turns)]
    if not all(chosen):
        raise BenchError(f"--turns: expected at most {len(groups)}, a group of {GROUP} texts for each, found {turns}")
    return chosen


def measure(
    folder: Path, engines: Sequence[str], count: int, turns: int, threads: int, peer_python: str
) -> list[Outcome]:
    """Take turns, and report each on stderr as it ends. A run with the first texts, which is not timed, warms up."""
    import qwen3cpu

    model = qwen3cpu.load(folder, quant="q8", threads=threads)
    texts, ids = make_texts(count, model.tokenizer)
    # The checkpoint has the flat names of embedding models.
    gguf_names = {tensor.name.removeprefix("model."): tensor.gguf_name for tensor in tensors_of(model.config)}
    del model
    rows: dict[str, list[tuple[int, dict[str, Any]]]] = {engine: [] for engine in engines}
    versions, cosines = {}, {}
    with ExitStack() as stack:
        workers = {}
        for engine in engines:
            name, _, setting = engine.partition("/")
            python = sys.executable if name == "qwen3cpu" else peer_python
            command = (python, str(Path(__file__).with_name("embedding_engines.py")), name)
            workers[engine] = stack.enter_context(Worker(engine, command))
            given = {"folder": str(folder), "setting": setting, "threads": threads, "gguf_names": gguf_names}
            opened = workers[engine].ask("open", **given)
            versions[engine] = opened["version"]
            workers[engine].ask("embed", texts=texts[:: count // 8], ids=ids[:: count // 8])
        out = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qwen3cpu-"))) / "vectors.npy"
        first: NDArray[np.float32] | None = None
        for turn, part in enumerate(parts(count, turns)):
            asked: dict[str, Any] = {"texts": [texts[i] for i in part], "ids": [ids[i] for i in part]}
            tokens = sum(len(ids[i]) for i in part)
            for engine, worker in workers.items():
                answer = worker.ask("embed", **asked, out=None if turn else str(out))
                rows[engine].append((tokens, answer))
                if not turn:
                    vectors = np.load(out)
                    first = vectors if first is None else first
                    cosines[engine] = float((first * vectors).sum(axis=1).min())
                speed = tokens / answer["seconds"]
                print(f"{turn + 1}/{turns} {engine}: {speed:.0f} tok/s", file=sys.stderr, flush=True)
    speeds = {engine: [tokens / row["seconds"] for tokens, row in rows[engine]] for engine in engines}
    return [
        Outcome(
            engine=engine,
            version=versions[engine],
            tokens_per_second=Spread.of(speeds[engine]),
            ratios=Spread.of(ours / theirs for ours, theirs in zip(speeds[engines[0]], speeds[engine], strict=True)),
            seconds=sum(row["seconds"] for _, row in rows[engine]),
            peak_rss_bytes=max(row["peak_rss_bytes"] for _, row in rows[engine]),
            least_cosine=cosines[engine],
        )
        for engine in engines
    ]


def memory(folder: Path) -> str:
    """A table: the most memory of a process that embeds texts of a few tokens, before and after them."""
    lines = ["| texts | peak RSS MB before | after |", "| ---: | ---: | ---: |"]
    for count in (1000, 10_000):
        command = (sys.executable, "-c", MEMORY_PROGRAM, str(folder), str(count))
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        texts, before, after = map(int, done.stdout.split())
        lines.append(f"| {texts:,} | {before / 1e6:.0f} | {after / 1e6:.0f} |")
    return "\n".join(lines) + "\n"


def as_markdown(outcomes: Sequence[Outcome]) -> str:
    """A table for people and docs."""
    lines = [
        "| engine | tok/s | ratio of the first | all texts, s | peak RSS MB | least cosine |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for outcome in outcomes:
        cells = (
            f"{outcome.engine} ({outcome.version.split()[0].strip(',')})",
            spread_text(outcome.tokens_per_second),
            f"{outcome.ratios.median:.2f} ({outcome.ratios.min:.2f} to {outcome.ratios.max:.2f})",
            f"{outcome.seconds:.0f}",
            f"{outcome.peak_rss_bytes / 1e6:.0f}",
            f"{outcome.least_cosine:.4f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write_model(folder: Path) -> None:
    """A checkpoint in the released layout, bfloat16, with the tests' tokenizer."""
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    from retrieval_models import write_embedding_model

    print("writing the checkpoint (1.2 GB)", file=sys.stderr)
    write_embedding_model(folder, dtype="bfloat16", **SHAPE)


def main() -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", default=ENGINES, metavar="ENGINE", help="default: %(default)s")
    parser.add_argument("--texts", type=int, default=512, help="default: %(default)s")
    parser.add_argument("--turns", type=int, default=8, help="default: %(default)s")
    parser.add_argument("-t", "--threads", type=int, metavar="N", help="default: what qwen3cpu takes by itself")
    parser.add_argument("--peer-python", default=sys.executable, metavar="PYTHON", help="interpreter of the others")
    parser.add_argument("--folder", type=Path, help="keep the checkpoint there and use it again")
    parser.add_argument("--memory", action="store_true", help="measure memory instead of speed")
    parser.add_argument("-o", "--output", choices=("md", "json"), default="md", help="default: %(default)s")
    args = parser.parse_args()
    try:
        with ExitStack() as stack:
            folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qwen3cpu-"))) / "model"
            if not (folder / "model.safetensors").exists():
                write_model(folder)
            if args.memory:
                print(memory(folder), end="")
                return 0
            threads = resolve_threads(args.threads)
            outcomes = measure(folder, args.engines, args.texts, args.turns, threads, args.peer_python)
    except Qwen3CpuError as error:
        print(f"embedding.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    machine = Machine.here()
    if args.output == "json":
        where = {**dataclasses.asdict(machine), "threads": threads, "texts": args.texts, "turns": args.turns}
        print(json.dumps({**where, "engines": [dataclasses.asdict(outcome) for outcome in outcomes]}, indent=1))
        return 0
    print(f"Qwen3-Embedding-0.6B shape, random weights, {args.texts} texts; {machine.cpu}, {threads} threads\n")
    print(as_markdown(outcomes), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
