"""Calls that need more memory than there is raise EngineError, and the model goes on."""

import sys

import checkpoints
import pytest
from cli_runs import run_code

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits the address space, whose size is in /proc")

CODE = """
import resource, sys
import qwen3cpu

model = qwen3cpu.load(sys.argv[1], quant="f32", threads=1, prefix_cache=0)
expected = model.score(range(40))
before = resource.getrlimit(resource.RLIMIT_AS)
for ids in ([1] * 30000, [1] * 256):  # the logits, and a pass
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (len(ids) << 7), before[1]))
    try:
        model.logits(ids)
        raise SystemExit("expected an error, found none")
    except qwen3cpu.EngineError as error:
        assert "memory is short" in str(error), error
    resource.setrlimit(resource.RLIMIT_AS, before)
    assert model.score(range(40)) == expected


def users_own(ids, logits):
    raise MemoryError("mine")


try:
    model.generate([1], processors=[users_own])
except MemoryError as error:
    assert type(error) is MemoryError
"""


def test_it_is_an_error_of_the_engine(tmp_path):
    folder = checkpoints.write_checkpoint(tmp_path, max_position_embeddings=32768, head_dim=256).folder
    done = run_code(CODE, folder)
    assert (done.returncode, done.stderr) == (0, "")
