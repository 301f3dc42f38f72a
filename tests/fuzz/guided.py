"""Feeds the package with inputs that atheris mutates, guided by coverage: python tests/fuzz/guided.py --help.

    pip install -e '.[test,fuzz]'
    python tests/fuzz/guided.py tokenizer.json --runs 20000
    python tests/fuzz/guided.py bodies -max_total_time=600          # any flag of libFuzzer
    python tests/fuzz/guided.py gguf build/fuzz/gguf/found/crash-…  # repeats an input

build/fuzz/TARGET/corpus keeps the inputs that reached new code, and the next run goes on with them. An input that ends
the run is kept in build/fuzz/TARGET/found. It caused a foreign exception, a 5xx or a signal, or it took more than two
seconds of CPU time, 300 seconds in total or 2 GiB of memory.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import logging
import random
import resource
import shutil
import sys
import time
import warnings
from pathlib import Path
from types import FunctionType
from typing import Any

from targets import GUIDED, MOST_CPU_SECONDS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MOST_MEGABYTES = 2048
"""Megabytes of memory that inputs may take, in addition to the memory before the first input."""


def functions_to_watch() -> list[FunctionType]:
    """Return the functions of the package's imported modules. The import hook of atheris misses editable installations.

    Those of quantization/ are left out. They do not read input, and atheris keeps every array that a watched function
    compares.
    """
    functions = [(each, str(each.__module__)) for each in gc.get_objects() if isinstance(each, FunctionType)]
    return [
        each
        for each, module in functions
        if module.startswith("qwen3cpu.") and not module.startswith("qwen3cpu.quantization.")
    ]


def main() -> None:
    """Run atheris, which ends the process."""
    parser = argparse.ArgumentParser(
        description="Feed the package with inputs that atheris makes from those that reached new code.",
        epilog="Flags of libFuzzer, which begin with one dash and hold a '=', and files of inputs are passed on.",
    )
    parser.add_argument("target", choices=GUIDED)
    parser.add_argument("--runs", type=int, default=-1, help="inputs; without it the run has no end")
    parser.add_argument("--folder", type=Path, help="for corpus and findings (build/fuzz/TARGET)")
    parser.add_argument("--no-clock", action="store_true", help="let an input take as long as it likes")
    args, passed_on = parser.parse_known_args()
    try:
        import atheris
    except ImportError as reason:
        parser.exit(2, f"guided.py: atheris cannot be imported ({reason}): pip install 'qwen3cpu[fuzz]'\n")
    sys.path.insert(0, str(HERE.parent / "support"))
    from harnesses import Harness

    from qwen3cpu.errors import Qwen3CpuError

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    folder = args.folder or ROOT / "build" / "fuzz" / args.target
    corpus, found, files = (folder / name for name in ("corpus", "found", "files"))
    shutil.rmtree(files, ignore_errors=True)
    for each in (corpus, found, files):
        each.mkdir(parents=True, exist_ok=True)
    harness = Harness(args.target, files)
    for seed in harness.seeds():
        (corpus / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
        with contextlib.suppress(Qwen3CpuError):
            harness.use(seed)  # imports the modules that such inputs need
    for function in functions_to_watch():
        atheris.instrument_func(function)

    def use(data: bytes) -> None:
        start = time.process_time()
        with contextlib.suppress(Qwen3CpuError):
            harness.use(data)
        seconds = time.process_time() - start
        assert args.no_clock or seconds <= MOST_CPU_SECONDS, f"{seconds:.1f} seconds of CPU time"

    def damage(data: bytes, most: int, seed: int) -> bytes:
        return harness.damage(data, most, random.Random(seed), atheris.Mutate)

    # libFuzzer reads the peak with getrusage, which on Linux starts with the peak of the parent.
    most_megabytes = MOST_MEGABYTES + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    limits = [f"-rss_limit_mb={most_megabytes}", "-timeout=300"]
    flags = [f"-runs={args.runs}", f"-artifact_prefix={found}/", *limits, *passed_on]
    if all(each.startswith("-") for each in passed_on):
        flags.append(str(corpus))
    options: dict[str, Any] = {"custom_mutator": damage}
    atheris.Setup([sys.argv[0], *flags], use, **options)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
