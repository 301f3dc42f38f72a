"""How fast each weight format reads a prompt, of llama.cpp's types and ours, for tools/draw_charts.py.

    python bench/gguf_perplexity.py --model FOLDER --text FILE --work WORK --peer-python PYTHON -o types.json
    qwen3cpu quantize WORK/padded q4.qwen3
    qwen3cpu quantize WORK/padded calibrated.qwen3 --calibrate
    python bench/prompt_over_kl.py --work WORK --peer-python PYTHON --ours q4=q4.qwen3 "q4 --calibrate=calibrated.qwen3"

The first command leaves a file of every type in WORK, and the padded model that they were made from. Each file is held
by a process of its own. Each turn reads one prompt in every format, in changing order, so changes of the machine affect
all of them. The divergences come from gguf_perplexity.py and from `qwen3cpu eval`.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qwen3cpu.bench.cases import Case
from qwen3cpu.bench.machine import Machine
from qwen3cpu.bench.process import Worker
from qwen3cpu.bench.report import Spread
from qwen3cpu.loading.open import read_config
from qwen3cpu.system.progress_bar import Progress


def measure(args: argparse.Namespace) -> tuple[dict[tuple[str, str], list[float]], str]:
    """Tokens per second of every format, turn by turn, and the version of llama.cpp."""
    case = asdict(Case(args.n_prompt, 0, depth=0, batch=1, threads=args.threads, quant=None, kv="f16"))
    config = read_config(args.work / "padded")[0]
    peer = (args.peer_python, str(Path(__file__).with_name("peer_llama.py")))
    version = ""
    with ExitStack() as stack:
        workers: dict[tuple[str, str], Worker] = {}
        for name, path in (each.rsplit("=", 1) for each in args.ours):
            worker = stack.enter_context(Worker(name))
            worker.ask("open", model=path, synthetic=None, quant=None, kv="f16", threads=args.threads)
            workers["qwen3cpu", name] = worker
        there = sorted(path.stem.removeprefix("padded-") for path in args.work.glob("padded-*.gguf"))
        for name in args.types or there:
            worker = stack.enter_context(Worker(name, peer))
            path = args.work / f"padded-{name}.gguf"
            version = worker.ask("open", path=str(path), vocab_size=config.vocab_size)["version"]
            workers["llama.cpp", name] = worker
        found: dict[tuple[str, str], list[float]] = {key: [] for key in workers}
        with Progress("Measuring", args.turns, unit="turns") as progress:
            for turn in range(args.turns + 1):
                for key in list(workers) if turn % 2 else reversed(workers):
                    run = workers[key].ask("run", case=case)
                    if turn:  # the first one warms up
                        found[key].append(run["tokens"] / run["seconds"])
                if turn:
                    progress.advance(1)
    return found, version


def as_markdown(results: dict[str, Any]) -> str:
    """A table for people."""
    lines = ["| engine | format | tok/s (least to largest) |", "|---|---|---:|"]
    for each in results["speeds"]:
        speed = each["tokens_per_second"]
        lines.append(
            f"| {each['engine']} | {each['name']} | {speed:.0f} ({each['least']:.0f} to {each['largest']:.0f}) |"
        )
    return "\n".join(lines)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="the folder of gguf_perplexity.py")
    parser.add_argument("--ours", nargs="+", required=True, metavar="NAME=FILE", help="packed files of WORK/padded")
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has llama-cpp-python")
    parser.add_argument("--types", nargs="+", help="of llama.cpp (default: all that have a file in WORK)")
    parser.add_argument("-p", "--n-prompt", type=int, default=512)
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-o", "--out", type=Path, help="results in JSON, such as bench/measured/prompt_speed.json")
    args = parser.parse_args()
    found, version = measure(args)
    results = {
        "command": "python bench/prompt_over_kl.py",
        **asdict(Machine.here()),
        "llama_cpp": version,
        "n_prompt": args.n_prompt,
        "threads": args.threads,
        "turns": args.turns,
        "speeds": [
            {
                "engine": engine,
                "name": name,
                "tokens_per_second": round((speed := Spread.of(runs)).median, 1),
                "least": round(speed.min, 1),
                "largest": round(speed.max, 1),
            }
            for (engine, name), runs in found.items()
        ],
    }
    if args.out:
        args.out.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(as_markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
