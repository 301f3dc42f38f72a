"""Memory that was used in a busy moment returns to the system."""

import ctypes
import subprocess
import sys

import pytest

BUSY = """
import sys
import threading
from pathlib import Path
from qwen3cpu.system.allocator import return_large_blocks

def resident():
    fields = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in fields if line.startswith("VmRSS:"))

def work(barrier):
    texts = [str(number) * 2_000_000 for number in range(4)]
    barrier.wait()
    del texts
    barrier.wait()

if sys.argv[1] == "returned":
    return_large_blocks()
# Freeing a large block is what makes glibc keep the next ones.
for _ in range(8):
    bytearray(30 << 20)
before = resident()
barrier = threading.Barrier(9)
threads = [threading.Thread(target=work, args=(barrier,)) for _ in range(8)]
for thread in threads:
    thread.start()
barrier.wait()
barrier.wait()
print(resident() - before)
for thread in threads:
    thread.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_texts_of_many_threads_do_not_stay_in_memory():
    """Eight threads hold 64 MB of texts at once and free them."""

    def kilobytes(mode):
        done = subprocess.run([sys.executable, "-c", BUSY, mode], check=True, capture_output=True, text=True)
        return int(done.stdout)

    kept = kilobytes("as it comes")
    if kept < 8_000:
        pytest.skip("this C library returns large blocks by itself")
    assert kilobytes("returned") < 4_000


HELD = """
from pathlib import Path
from qwen3cpu.system.allocator import return_free_pages

def resident():
    fields = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in fields if line.startswith("VmRSS:"))

blocks = [bytearray(10_000) for _ in range(8_000)]
last = bytearray(10_000)
before = resident()
blocks.clear()
held = resident()
return_free_pages()
print(before - held, before - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library has no such call")
def test_free_memory_below_a_block_that_is_kept_goes_back():
    """80 MB are freed. By default glibc keeps them, because a block behind them is in use."""
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    by_itself, asked = map(int, done.stdout.split())
    assert by_itself < 40_000 < 60_000 < asked
