"""Command lines in processes that need not import the package: forks of a process that has done so.

An import and the packing of `tiny` take half a second, which is most of what a short command takes. The process that
is forked has one thread and has run no command, so each fork is what a new interpreter is after its imports. Closed
streams, terminals, and variables that are read at the import need an interpreter of their own.
"""

import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

READ_LATE = "QWEN3CPU_THREADS", "QWEN3CPU_CACHE", "PYTEST_CURRENT_TEST"
"""Variables that nothing reads before a command runs. A change of another one needs a new interpreter."""


class WarmProcess:
    """The process that is forked; it ends with this one."""

    def __init__(self, environment):
        self.environment = environment
        self._here, there = socket.socketpair()
        self._turn = threading.Lock()
        with there:
            command = [sys.executable, __file__, str(there.fileno())]
            self._process = subprocess.Popen(command, env=environment, pass_fds=[there.fileno()])

    def serves(self, environment):
        """Whether a process with these variables may be a fork."""
        return {name for name, _ in environment.items() ^ self.environment.items()} <= {*READ_LATE}

    def run(self, arguments, stdin, environment, out=None):
        """Run `python -m qwen3cpu` to the end: (exit code, stdout, stderr), all in bytes. out: a file for stdout."""
        request = json.dumps({"arguments": arguments, "environment": environment, "folder": os.getcwd()}).encode()
        (read, feed), (shown, write), (noted, note) = (os.pipe() for _ in range(3))
        target = write if out is None else os.open(out, os.O_WRONLY)
        theirs = {read, write, note, target}
        with self._turn, ThreadPoolExecutor(3) as pool:
            socket.send_fds(self._here, [b"!"], [read, target, note])
            self._here.sendall(request + b"\n")
            for fd in theirs:
                os.close(fd)
            pool.submit(_feed, feed, stdin)
            texts = [pool.submit(_drain, fd) for fd in (shown, noted)]
            stdout, stderr = (text.result() for text in texts)
            with os.fdopen(self._here.fileno(), "rb", buffering=0, closefd=False) as back:
                return int(back.readline()), stdout, stderr


def _feed(fd, data):
    try:
        with open(fd, "wb") as file:
            file.write(data)
    except BrokenPipeError:
        pass  # as subprocess.run does


def _drain(fd):
    with open(fd, "rb") as file:
        return file.read()


def main(number):
    """Import what commands import, then fork for each request."""
    from packed_once import packing_once

    import qwen3cpu
    from qwen3cpu.cli.main import make_parser

    packing_once().start()
    make_parser()
    qwen3cpu.load("tiny", threads=1)
    with socket.socket(fileno=number) as requests:
        while True:
            _, streams, *_ = socket.recv_fds(requests, 1, 3)
            if not streams:
                return
            with os.fdopen(requests.fileno(), "rb", buffering=0, closefd=False) as lines:
                request = json.loads(lines.readline())
            child = os.fork()
            if not child:
                break
            for fd in streams:
                os.close(fd)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            requests.send(b"%d\n" % code)
    _become(request, streams)


def _become(request, streams):
    """Be `python -m qwen3cpu` with these arguments and streams; ends as that does."""
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    sys.stdin, sys.stdout, sys.stderr = map(_stream, range(3), ("<stdin>", "<stdout>", "<stderr>"))
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["qwen3cpu", *request["arguments"]]
    runpy.run_module("qwen3cpu", run_name="__main__", alter_sys=True)


def _stream(number, name):
    """A standard stream as Python opens it in UTF-8 mode."""
    file = open(number, "rb" if number == 0 else "wb", closefd=False)  # noqa: SIM115
    errors = "backslashreplace" if number == 2 else "surrogateescape"
    stream = io.TextIOWrapper(file, "utf-8", errors, newline="\n", line_buffering=number == 2)
    stream.mode = "r" if number == 0 else "w"
    return stream


if __name__ == "__main__":
    main(int(sys.argv[1]))
