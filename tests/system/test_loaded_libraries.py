"""Effects of importing qwen3cpu, and of loading a model, on an OpenBLAS that is already loaded.

Each test is a process of its own, because loaded libraries and their threads cannot be removed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import qwen3cpu
from qwen3cpu.cli import machine_report as doctor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="OpenBLAS is looked for in /proc")

needs_calls = pytest.mark.skipif(
    not Path("/proc/self/syscall").exists(), reason="needs a kernel that tells what a thread waits for"
)
DEFAULT = 0
"""The timeout that an OpenBLAS reports while it uses its built-in time."""
SHORT = 20
BEGIN = """
import ctypes, json, os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import numpy as np

def libraries():
    with open("/proc/self/maps") as maps:
        paths = {line.split(maxsplit=5)[5].strip() for line in maps if "openblas" in line}
    return [ctypes.CDLL(path) for path in sorted(paths)]

def waits():
    return [library.openblas_thread_timeout() for library in libraries()]

def threads():
    names = [f"{a}openblas_get_num_threads{b}" for a in ("", "scipy_") for b in ("", "64_")]
    return [getattr(library, name)() for library in libraries() for name in names if hasattr(library, name)]

def tell(**found):
    environment = {name for name in os.environ if name.startswith(("OPENBLAS_", "GOMP_"))}
    print(json.dumps(found | {"environment": sorted(environment)}))

matrix = np.random.default_rng(0).standard_normal((500, 500)).astype(np.float32)
product = matrix @ matrix
"""


def run(code, **variables):
    """Run code in a process that has already multiplied with NumPy, and return what it reports."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS_", "GOMP_", "OMP_"))}
    kept["PYTHONPATH"] = str(Path(qwen3cpu.__file__).parents[1])
    command = [sys.executable, "-c", BEGIN + code]
    done = subprocess.run(command, capture_output=True, text=True, env=kept | variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module", autouse=True)
def restartable():
    """Skip the test if NumPy has no OpenBLAS, or one whose threads cannot be restarted."""
    code = "tell(exported=[hasattr(library, 'openblas_read_env') for library in libraries()])"
    if run(code)["exported"] != [True]:
        pytest.skip("this NumPy has no OpenBLAS that exports what it takes")


def test_a_numpy_that_is_there_gets_the_short_wait():
    found = run("""
before = waits(), threads()
import qwen3cpu
between = waits(), threads()
same = bool((matrix @ matrix == product).all())
tell(before=before, between=between, after=[waits(), threads()], same=same)
""")
    _, count = found["before"]
    assert found["before"] == [[DEFAULT], count]
    assert found["between"] == found["after"] == [[SHORT], count]
    assert found["same"]
    assert found["environment"] == []


@pytest.mark.parametrize("limit", [1, 3])
def test_a_limit_on_its_threads_stays(limit):
    found = run(f"""
for library in libraries():
    for name in ("openblas_set_num_threads", "openblas_set_num_threads64_"):
        for prefix in ("", "scipy_"):
            if hasattr(library, prefix + name):
                getattr(library, prefix + name)({limit})
before = threads()
import qwen3cpu
tell(waits=waits(), before=before, after=threads(), close=bool(np.allclose(matrix @ matrix, product, atol=1e-3)))
""")
    assert found["before"] == found["after"] == [limit]
    assert found["waits"] == [SHORT]
    assert found["close"]


def test_what_the_user_has_set_stays():
    code = "import qwen3cpu\ntell(waits=waits())"
    found = run(code, OPENBLAS_THREAD_TIMEOUT="24")
    assert (found["waits"], found["environment"]) == ([24], ["OPENBLAS_THREAD_TIMEOUT"])
    found = run('del os.environ["OPENBLAS_THREAD_TIMEOUT"]\n' + code, OPENBLAS_THREAD_TIMEOUT="24")
    assert (found["waits"], found["environment"]) == ([24], [])
    found = run('os.environ["OPENBLAS_THREAD_TIMEOUT"] = "22"\n' + code)
    assert (found["waits"], found["environment"]) == ([DEFAULT], ["OPENBLAS_THREAD_TIMEOUT"])


def test_while_another_thread_may_run_it_is_left_alone():
    """One that sleeps for a while wakes by itself, and may go on with a product. `doctor` says what to do."""
    found = run(
        """
thread = threading.Thread(target=threading.Event().wait, args=(3600,), daemon=True)
thread.start()
before = len(os.listdir("/proc/self/task"))
import qwen3cpu
from qwen3cpu.cli import machine_report as doctor
after = len(os.listdir("/proc/self/task"))
facts, warned = doctor.versions()
tell(waits=waits(), before=before, after=after, files=len(facts["openblas"]), remedies=[each.remedy for each in warned])
""",
        OPENBLAS_NUM_THREADS="2",
    )
    assert found["waits"] == [DEFAULT]
    assert found["before"] == found["after"]
    assert found["files"] == 1
    assert any("OPENBLAS_THREAD_TIMEOUT=20" in remedy for remedy in found["remedies"])


REPEAT = """
from qwen3cpu.system.blas_threads import shorten_waits
for _ in range(1000):  # until all have fallen asleep
    shorten_waits()
    if not 0 in waits():
        break
    time.sleep(0.01)
"""


@needs_calls
def test_threads_that_sleep_until_they_are_woken_do_no_harm():
    """Threads of Python, and of OpenBLAS itself, which fall asleep a tenth of a second after a product."""
    found = run(
        """
go_on, queue = threading.Event(), ThreadPoolExecutor(1)
thread = threading.Thread(target=go_on.wait)
thread.start()
queue.submit(int).result()
import qwen3cpu
"""
        + REPEAT
        + """
go_on.set()
thread.join()
same = queue.submit(lambda: bool((matrix @ matrix == product).all())).result()
tell(waits=waits(), same=same, threads=threads())
""",
        OPENBLAS_NUM_THREADS="2",
    )
    assert found == {"waits": [SHORT], "same": True, "threads": [2], "environment": ["OPENBLAS_NUM_THREADS"]}


@needs_calls
@pytest.mark.parametrize(
    ("work", "sleeps"),
    [
        ("lock.acquire()", True),
        ("lock.acquire(timeout=3600)", False),
        ("os.read(os.pipe()[0], 1)", False),
        ("run_on()", False),
    ],
)
def test_others_sleep(work, sleeps):
    found = run(
        f"""
from qwen3cpu.system.sleeping_threads import others_sleep
def run_on():
    while True:
        pass
lock, began = threading.Lock(), threading.Event()
lock.acquire()
alone = others_sleep()
threading.Thread(target=lambda: (began.set(), {work}), daemon=True).start()
began.wait()
seen = False
for _ in range(100):
    seen = seen or others_sleep()
    time.sleep(0.002)
tell(alone=alone, seen=seen)
sys.stdout.flush()
os._exit(0)
""",
        OPENBLAS_NUM_THREADS="1",
    )
    assert (found["alone"], found["seen"]) == (True, sleeps)


def test_a_thread_that_python_does_not_know_counts_too():
    found = run("""
libc = ctypes.CDLL(None)
identity = ctypes.c_void_p()
libc.pthread_create(ctypes.byref(identity), None, ctypes.cast(libc.pause, ctypes.c_void_p), None)
known = threading.active_count()
import qwen3cpu
tell(waits=waits(), known=known)
""")
    assert (found["waits"], found["known"]) == ([DEFAULT], 1)


def test_products_go_on_after_a_fork():
    found = run("""
import qwen3cpu
def child_is_right():
    child = os.fork()
    if child == 0:
        os._exit(0 if (matrix @ matrix == product).all() and waits() == [20] else 1)
    return os.waitpid(child, 0)[1] == 0
children = [child_is_right(), child_is_right()]
tell(children=children, same=bool((matrix @ matrix == product).all()), waits=waits())
""")
    assert found["children"] == [True, True]
    assert found["same"]
    assert found["waits"] == [SHORT]


def test_a_child_that_imports_it():
    """The parent's OpenBLAS ends its threads for the fork. The child's threads start with the short wait."""
    found = run("""
child = os.fork()
if child == 0:
    import qwen3cpu
    os._exit(0 if (matrix @ matrix == product).all() and waits() == [20] else 1)
tell(status=os.waitpid(child, 0)[1], waits=waits())
""")
    assert (found["status"], found["waits"]) == (0, [DEFAULT])


SCIPY = """
import scipy.linalg
vectors = scipy.linalg.eigh(matrix @ matrix.T)[0]
before = waits(), threads()
"""
ASKED = """
same = bool((scipy.linalg.eigh(matrix @ matrix.T)[0] == vectors).all())
tell(before=before, after=[waits(), threads()], same=same)
"""


def check_scipy(found):
    if len(found["before"][0]) != 2:
        pytest.skip("SciPy has no OpenBLAS of its own")
    assert sorted(found["before"][0]) == [DEFAULT, SHORT]
    assert found["after"] == [[SHORT, SHORT], found["before"][1]]
    assert found["same"]


def test_scipy_imported_later_is_reached_when_a_model_is_loaded():
    pytest.importorskip("scipy")
    check_scipy(run(f'import qwen3cpu\n{SCIPY}\nqwen3cpu.load("tiny", threads=1)\n{ASKED}'))


@needs_calls
def test_scipy_imported_after_the_model_has_worked_is_reached_at_the_end_of_an_answer():
    pytest.importorskip("scipy")
    ask = 'model.generate("2 + 2?", max_tokens=4, thinking=False)'
    answers = f"""
for _ in range(1000):  # OpenBLAS's threads fall asleep a tenth of a second after the product
    {ask}
    if not 0 in waits():
        break
    time.sleep(0.01)
"""
    code = f'import qwen3cpu\nmodel = qwen3cpu.load("tiny", threads=2)\n{ask}\n{SCIPY}\n{answers}\n{ASKED}'
    check_scipy(run(code, OPENBLAS_NUM_THREADS="2"))


def test_doctor_has_nothing_to_say_of_the_short_wait():
    facts, _ = doctor.versions()
    assert all("openblas" in path for path in facts["openblas"])
    found = run("""
import qwen3cpu
from qwen3cpu.cli import machine_report as doctor
tell(remedies=[each.remedy for each in doctor.versions()[1]])
""")
    assert not any("OPENBLAS" in remedy for remedy in found["remedies"])
