"""Forks of a process that has used a model: the child gives the same answers, or a clear error. Nothing hangs.

Each test runs in an interpreter of its own, which has only the threads that the test is about.
"""

import multiprocessing
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")

BEGIN = """
import multiprocessing, os, threading, warnings
import qwen3cpu
from qwen3cpu.errors import EngineError, Qwen3CpuError
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: a process with threads forks, which is the subject
model = qwen3cpu.load("tiny", quant="q8", threads=3)
def ask(model=model):
    return model.generate("What is 17 + 25?", thinking=False, seed=1).text
def in_child(run):
    pid = os.fork()
    if not pid:
        try:
            run()
            os._exit(0)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def same():
    assert ask() == expected, ask()
"""


def run(program):
    done = subprocess.run([sys.executable, "-c", BEGIN + program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "", done.stderr
    return done.stdout


def test_a_child_answers_like_its_parent_after_use():
    run("""
expected = ask()
assert in_child(same) == 0
same()  # the parent goes on
assert in_child(lambda: in_child(same) and os._exit(1)) == 0  # and a child's child
""")


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_a_child_uses_several_threads():
    run("""
expected = ask()
def threads():
    before = len(os.listdir("/proc/self/task"))
    seen, stop = [], threading.Event()
    def watch():
        while not stop.is_set():
            seen.append(len(os.listdir("/proc/self/task")))
    watcher = threading.Thread(target=watch)
    watcher.start()
    model.generate("What is 17 + 25?", seed=1)
    stop.set()
    watcher.join()
    assert before == 1
    assert max(seen) >= 5, max(seen)  # main, watcher, the pass's first thread and two more
assert in_child(threads) == 0
""")


def test_a_pool_of_forked_workers_answers():
    run("""
def ask_again(_):
    return ask()
expected = ask()
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(ask_again, range(4)) == [expected] * 4
    # Not ended by SIGTERM at the end of the block: a handler in Python, such as coverage's, may never run in a worker
    # that waits for a lock which another worker took with it.
    pool.close()
    pool.join()
""")


def test_a_model_loaded_in_the_child_answers():
    run("""
expected = ask()
def load_anew():
    assert ask(qwen3cpu.load("tiny", quant="q8", threads=2)) == expected
assert in_child(load_anew) == 0
""")


def test_an_answer_begun_before_the_fork_goes_on_in_both():
    run("""
expected = ask()
stream = model.stream("What is 17 + 25?", thinking=False, seed=1)
first = next(stream).text
def rest():
    assert first + "".join(chunk.text for chunk in stream) == expected
assert in_child(rest) == 0
rest()
""")


def test_a_fork_during_another_threads_pass_is_told_in_the_child_only():
    run("""
expected = ask()
inside, forked = threading.Event(), threading.Event()
real = model.engine.native
class Slow:  # a pass that lasts until the process has forked
    def __getattr__(self, name):
        return getattr(real, name)
    def forward(self, *arguments):
        inside.set()
        forked.wait()
        return real.forward(*arguments)
model.engine.native = Slow()
answers = []
thread = threading.Thread(target=lambda: answers.append(ask()))
thread.start()
inside.wait()
def refused():
    model.engine.native = real
    for call in (ask, lambda: model.logits([1, 2]), lambda: model.score([1, 2, 3])):
        try:
            call()
        except Qwen3CpuError as error:
            assert isinstance(error, EngineError) and "forked during a call" in str(error), error
        else:
            raise AssertionError("no error")
    assert ask(qwen3cpu.load("tiny", quant="q8", threads=2)) == expected
assert in_child(refused) == 0
forked.set()
thread.join()
assert answers == [expected]
model.engine.native = real
same()
assert in_child(same) == 0
""")


def test_a_fork_while_another_thread_reads_the_vocabulary_for_grammars_is_told():
    pytest.importorskip("llguidance")
    run("""
from qwen3cpu.generation import grammar
schema = {"type": "integer"}
def ask_schema():
    return model.generate("What is 17 + 25?", thinking=False, seed=1, schema=schema).text
inside, forked = threading.Event(), threading.Event()
real = grammar._Vocabulary
class Slow(real):  # reading that lasts until the process has forked
    def __init__(self, *arguments):
        inside.set()
        forked.wait()
        super().__init__(*arguments)
grammar._Vocabulary = Slow
answers = []
thread = threading.Thread(target=lambda: answers.append(ask_schema()))
thread.start()
inside.wait()
def refused():
    grammar._Vocabulary = real
    try:
        ask_schema()
    except EngineError as error:
        assert "forked during a call" in str(error), error
    else:
        raise AssertionError("no error")
    ask()  # without a schema the model goes on
assert in_child(refused) == 0
forked.set()
thread.join()
expected = ask_schema()
assert answers == [expected] and int(expected)
""")


@pytest.mark.parametrize("forks", [50, pytest.param(200, marks=pytest.mark.heavy)])
def test_forks_beside_busy_threads_answer_or_are_told(forks):
    """The other threads may run a pass, sample, compile a grammar, prepare a history or encode at that moment."""
    pytest.importorskip("llguidance")
    run(
        f"forks = {forks}"
        + """
import time
schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
def ask_schema():
    return model.generate("What is 17 + 25?", thinking=False, seed=1, schema=schema, max_new_tokens=4).text
expected = {ask: ask(), ask_schema: ask_schema()}
stop = threading.Event()
def chat():
    conversation = model.chat(prepare="idle", thinking=False, max_new_tokens=4)
    conversation.send("What is 1 + 1?")
    conversation.close()
work = [ask, ask_schema, chat, lambda: model.tokenizer.encode("What is 17 + 25? " * 50), lambda: model.logits([1, 2])]
def busy(task):
    while not stop.is_set():
        task()
threads = [threading.Thread(target=busy, args=(task,)) for task in work]
for thread in threads:
    thread.start()
def answers_or_is_told(question):
    try:
        assert question() == expected[question]
    except EngineError as error:
        assert "forked during a call" in str(error), error
def ends(question):
    pid = os.fork()
    if not pid:
        code = 1
        try:
            answers_or_is_told(question)
            code = 0
        except BaseException as error:
            os.write(1, repr(error).encode())
        finally:
            os._exit(code)
    hangs_at = time.monotonic() + 60
    while time.monotonic() < hangs_at:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return "hang"
codes = [ends((ask, ask_schema)[number % 2]) for number in range(forks)]
stop.set()
for thread in threads:
    thread.join()
assert codes == [0] * forks, codes
assert ask() == expected[ask] and ask_schema() == expected[ask_schema]
"""
    )


def test_a_lock_that_is_held_but_says_free_is_noticed():
    """`locked()` returns False between the acquisition of a lock and the return of the GIL to its new holder."""
    run("""
from qwen3cpu.system.fork_guard import ForkLock
lock = ForkLock()
class SaysFree:
    locked = staticmethod(lambda: False)
    acquire = staticmethod(lambda blocking=True: False)
lock._lock = SaysFree()
def refused():
    try:
        with lock.held():
            raise AssertionError("inside")
    except EngineError as error:
        assert "forked during a call" in str(error), error
assert in_child(refused) == 0
lock.check()  # the parent goes on
""")


def test_a_child_of_a_process_that_used_asyncio_answers():
    """The child has none of the worker threads that its parent started."""
    run("""
import asyncio
def ask_later():
    return asyncio.run(model.agenerate("What is 17 + 25?", thinking=False, seed=1)).text
expected = ask()
assert ask_later() == expected
def same_later():
    assert ask_later() == expected
assert in_child(same_later) == 0
same_later()
""")
