"""engine_check: the engine without Python gives the golden logits and tokens: natively, with musl and on Windows.

Golden are the results of `qwen3cpu.load` and the extension of this machine for the same packed file.
"""

import itertools
from pathlib import Path
from typing import NamedTuple

import checkpoints
import numpy as np
import pytest
from engine_descriptions import describe, golden
from random_models import SHAPES, random_ids
from standalone import Machine

import qwen3cpu
from qwen3cpu import _native

pytestmark = pytest.mark.heavy

ANSWER = 5
EXPERTS = checkpoints.EXPERTS | {"num_hidden_layers": 3, "num_experts": 7, "num_experts_per_tok": 3}
MODELS = [
    ("q4", "int8", dict(SHAPES["three_queries_bias"])),
    ("q8", "int8", dict(SHAPES["five_queries_odd"], vocab_size=416)),
    ("q8", "int16", EXPERTS),
    ("f32", "int8", dict(SHAPES["yarn_bias_untied_odd"])),
    ("bf16", "int8", EXPERTS),
]
"""Quant, activations and shape: biases, YaRN, sizes that are not multiples of 8, experts fetched when chosen."""


class Task(NamedTuple):
    """One model to run: its packed file, its description, and KV format -> the engine's answers."""

    model: Path
    description: Path
    golden: dict[str, bytes]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[Task]:
    made = []
    for quant, activations, shape in MODELS:
        folder = tmp_path_factory.mktemp(f"{quant}-{activations}")
        written = checkpoints.write_checkpoint(folder / "model", **shape)
        model = folder / "model.qwen3"
        qwen3cpu.pack(written.folder, model, quant=quant)
        prompts = [random_ids(written.config, n, n).tolist() for n in (70, 1, 19)]  # more than a block of the KV cache
        config = qwen3cpu.load(model).config.native(512, fits=False, int16_inputs=activations == "int16")
        description = folder / "description"
        description.write_text(describe(model, config, prompts, ANSWER))
        answers = {kv: golden(model, kv, activations, prompts, ANSWER) for kv in _native.KV_FORMATS}
        made.append(Task(model, description, answers))
    return made


def assert_golden(machine: Machine, tasks: list[Task], folder: Path, *, program: str = "engine_check") -> None:
    """Every task with each instruction set and KV format, on 1 to 3 threads, the prompts whole and in pieces."""
    ways = itertools.cycle((threads, chunk) for threads in (1, 3, 2) for chunk in (100, 7))
    for task, isa in itertools.product(tasks, machine.runnable()):
        runs = {kv: (*next(ways), folder / kv) for kv in task.golden}
        arguments = itertools.chain.from_iterable((kv, *map(str, run)) for kv, run in runs.items())
        result = machine.run(program, task.model, task.description, *arguments, isa=isa)
        assert result.returncode == 0, result.stderr
        assert result.stdout == f"{isa} kernels, {_native.physical_cores()} cores\n"
        for kv, expected in task.golden.items():
            same = (folder / kv).read_bytes() == expected  # pytest would compare megabytes for minutes
            assert same, (task.model.parent.name, isa, kv, runs[kv])


@pytest.mark.parametrize("program", ["engine_check", "engine_check_std_threads"])
def test_this_machine_gives_the_golden_bits(native: Machine, tasks: list[Task], tmp_path: Path, program: str) -> None:
    assert_golden(native, tasks, tmp_path, program=program)


def test_musl_gives_the_golden_bits(musl: Machine, tasks: list[Task], tmp_path: Path) -> None:
    assert_golden(musl, tasks, tmp_path)


def test_windows_gives_the_golden_bits(windows: Machine, tasks: list[Task], tmp_path: Path) -> None:
    assert_golden(windows, tasks, tmp_path)


def test_golden_logits_are_of_several_tokens(tasks: list[Task]) -> None:
    """A model with the same answer everywhere would prove little."""
    for task in tasks:
        for written in task.golden.values():
            assert len(set(np.frombuffer(written[-4 * ANSWER :], np.int32).tolist())) > 1, task.model


@pytest.mark.parametrize(("kept", "message"), [(slice(None, -1), "ends too early"), (slice(1, None), "unknown word")])
def test_a_damaged_description_is_an_error(
    native: Machine, tasks: list[Task], tmp_path: Path, kept: slice, message: str
) -> None:
    words = tasks[0].description.read_text().split()
    (tmp_path / "damaged").write_text(" ".join(words[kept]))
    result = native.run("engine_check", tasks[0].model, tmp_path / "damaged", "f32", "1", "1", tmp_path / "out")
    assert result.returncode == 1
    assert message in result.stderr
