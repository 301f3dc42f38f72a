"""A job that is killed at any moment and run again gives the file of an undisturbed run, byte for byte."""

import random
import time

import pytest
from batch_jobs import mixed_lines
from cli_runs import run_code, start

from qwen3cpu.batch import run_file
from qwen3cpu.batch.journal import journal_path

TORN = """
import os, signal, sys
import qwen3cpu
from qwen3cpu.batch import journal, run_file

class Dies:
    # A file that takes so many bytes and a part of the next record; then the process is killed.
    def __init__(self, file, most):
        self.file, self.most = file, most

    def write(self, data):
        self.most -= len(data)
        if self.most < 0:
            self.file.write(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)

class Dying(journal.Journal):
    def _load(self, about):
        super()._load(about)
        self._file = Dies(self._file, int(sys.argv[3]))

import qwen3cpu.batch.run
qwen3cpu.batch.run.Journal = Dying
run_file(qwen3cpu.load("tiny", threads=1), sys.argv[1], sys.argv[2], seed=5)
"""


@pytest.mark.heavy
@pytest.mark.parametrize(("lines", "kills"), [(2000, 20)])
def test_killed_at_random(model, job, tmp_path, lines, kills):
    source, output = job(mixed_lines(lines))
    undisturbed = tmp_path / "undisturbed.jsonl"
    run_file(model, source, undisturbed, seed=5)
    size = undisturbed.stat().st_size
    chance = random.Random(lines)
    grown = []
    for _ in range(kills):
        # A random share of the work, so that kills are spread over all of it, some of them at the start.
        goal = length(output) + chance.random() * size / (2 * kills)
        process = start("batch", source, output, "-s", "5", "-t", "1")
        while length(output) <= goal and process.poll() is None:
            time.sleep(0.001)
        process.kill()
        process.communicate()
        assert process.returncode == -9
        assert not output.exists()
        grown.append(length(output))
    assert grown == sorted(grown)
    assert 0 < grown[0] < grown[-1]
    again = start("batch", source, output, "-s", "5", "-t", "1")
    again.communicate()
    assert again.returncode == 1  # some lines are wrong
    assert output.read_bytes() == undisturbed.read_bytes()
    assert not journal_path(output).exists()


def test_killed_in_the_middle_of_a_record(model, job, tmp_path):
    source, output = job(mixed_lines(60))
    undisturbed = tmp_path / "undisturbed.jsonl"
    run_file(model, source, undisturbed, seed=5)
    for most in (0, 3_000, 9_000):
        assert run_code(TORN, source, output, most).returncode == -9
        assert not journal_path(output).read_bytes().endswith(b"\n")
    summary = run_file(model, source, output, seed=5)
    assert 0 < summary.kept < 60
    assert output.read_bytes() == undisturbed.read_bytes()


def length(output):
    path = journal_path(output)
    return path.stat().st_size if path.exists() else 0
