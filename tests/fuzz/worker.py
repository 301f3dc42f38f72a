"""Runs cases in a process of their own: worker.py TARGET SEED FIRST STOP. It writes one line of JSON for each case."""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import files
from bodies import Bodies
from calls import Calls
from schemas import Schemas

from qwen3cpu.errors import Qwen3CpuError

Run = Callable[[random.Random], None]


def runner(target: str, folder: Path) -> Run:
    """Return the function that runs one case of a target, given its random generator."""
    if target == "bodies":
        return Bodies(folder).send_damaged
    if target == "schemas":
        return Schemas(folder).ask_at_random
    if target == "calls":
        return Calls(folder).read
    made = files.Files(folder)
    return lambda rng: made.use(target, made.damaged(target, rng))


def main() -> None:
    """Run the cases."""
    target, seed, first, stop = sys.argv[1], *map(int, sys.argv[2:5])
    # Only outcomes may reach the parent.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        run = runner(target, Path(name))
        for case in range(first, stop):
            outcome = {"case": case, "kind": "fine"}
            start = time.process_time()
            try:
                run(random.Random(f"{target} {seed} {case}"))
            except Qwen3CpuError as error:
                outcome |= {"kind": "refused", "detail": str(error)[:300]}
            except BaseException as error:  # a panic of a Rust library is not an Exception
                outcome |= {"kind": "foreign", "detail": f"{type(error).__name__}: {error}"[:4000]}
            outcome["cpu_seconds"] = time.process_time() - start
            answers.write(json.dumps(outcome) + "\n")
            answers.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
