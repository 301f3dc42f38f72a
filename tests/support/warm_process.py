"""Starts processes that need not import the package, as forks of a process that has imported it.

An import and the packing of `tiny` take half a second, most of the time of a short command. The forked process has one
thread and has run no command, so each fork equals a new interpreter after its imports. Runs with closed streams, or
with changed variables that are read at an import, need a new interpreter.
"""

import contextlib
import fcntl
import gc
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import types

READ_LATE = (
    *("QWEN3CPU_THREADS", "QWEN3CPU_CACHE", "QWEN3CPU_API_KEY", "NO_COLOR", "PYTEST_CURRENT_TEST"),
    *(
        "XDG_STATE_HOME",
        "HF_HOME",
        "HF_ENDPOINT",
        "HF_HUB_OFFLINE",
        "HF_HUB_DISABLE_XET",
        "HF_HUB_DISABLE_TELEMETRY",
        "NO_PROXY",
    ),
)
"""Variables that are not read before a command runs. A change of any other variable needs a new interpreter."""


class WarmProcess:
    """The process to fork; it ends with this process."""

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

    def start(self, arguments, environment, streams, terminal=False):
        """Start `python ARGUMENTS` (-m qwen3cpu and more, or -c and code) with three streams, which stay open here.

        terminal: whether the process leads a session of its own, whose terminal is stdin. Returns the Fork.
        """
        request = {"arguments": arguments, "environment": environment, "folder": os.getcwd(), "terminal": terminal}
        told, tell = os.pipe()
        with self._turn:
            socket.send_fds(self._here, [b"!"], [*streams, tell])
            self._here.sendall(json.dumps(request).encode() + b"\n")
        os.close(tell)
        return Fork(os.fdopen(told, "rb", buffering=0))

    def popen(self, arguments, environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE):
        """The same with pipes by default. Returns a Fork, which has the interface of subprocess.Popen."""
        theirs, ours = [], []
        for given, writes in ((stdin, True), (stdout, False), (stderr, False)):
            if given != subprocess.PIPE:
                theirs.append(os.dup(given))
                ours.append(None)
                continue
            read, write = os.pipe()
            theirs.append(read if writes else write)
            ours.append(os.fdopen(write, "wb", buffering=0) if writes else os.fdopen(read, "rb"))
        fork = self.start(arguments, environment, theirs)
        for fd in theirs:
            os.close(fd)
        fork.stdin, fork.stdout, fork.stderr = ours
        return fork


class Fork:
    """A process that has been forked, with the methods of subprocess.Popen."""

    stdin = stdout = stderr = None

    def __init__(self, told):
        self._told = told
        self.pid = int(told.readline())
        self.returncode = None

    def poll(self):
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self):
        if self.returncode is None:
            with self._told:
                self.returncode = int(self._told.readline())
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def communicate(self, text=b""):
        """Write `text`, and read the rest of stdout and stderr, all in bytes."""
        feeding = threading.Thread(target=_feed, args=(self.stdin, text))
        found = [b"", b""]
        noting = threading.Thread(target=lambda: found.__setitem__(1, self.stderr.read()))
        feeding.start()
        noting.start()
        if self.stdout is not None:
            found[0] = self.stdout.read()
        feeding.join()
        noting.join()
        self.__exit__()
        return tuple(found)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()


def _feed(file, data):
    with contextlib.suppress(BrokenPipeError), file:  # as in subprocess.run
        while data:
            data = data[file.write(data) :]


def main(number):
    """Import the modules of commands. Then fork for each request, and report how the forks end."""
    from packed_once import packing_once

    import qwen3cpu
    import qwen3cpu.server.app
    import qwen3cpu.server.serve
    from qwen3cpu.cli.chat import markdown_writer, reading  # noqa: F401
    from qwen3cpu.cli.main import make_parser

    with contextlib.suppress(ImportError):  # without the extra [chat]
        import qwen3cpu.cli.chat.editor
    packing_once().start()
    make_parser()
    qwen3cpu.load("tiny", threads=1)
    assert "huggingface_hub" not in sys.modules, "it reads its variables at the import"
    gc.collect()
    gc.freeze()  # garbage collection in the forks skips existing objects, so it does not copy their pages
    running = {}  # descriptor that is readable when a fork has ended -> its number, and where to report it
    with socket.socket(fileno=number) as requests:
        waiting = select.poll()
        waiting.register(requests, select.POLLIN)
        while True:
            for fd, _ in waiting.poll():
                if fd in running:
                    waiting.unregister(fd)
                    child, tell = running.pop(fd)
                    _tell(tell, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
                    os.close(fd)
                    os.close(tell)
                    continue
                _, passed, *_ = socket.recv_fds(requests, 1, 4)
                if not passed:
                    return
                with os.fdopen(requests.fileno(), "rb", buffering=0, closefd=False) as lines:
                    request = json.loads(lines.readline())
                *streams, tell = passed
                child = os.fork()
                if not child:
                    break
                for stream in streams:
                    os.close(stream)
                _tell(tell, child)
                ended = os.pidfd_open(child)
                running[ended] = child, tell
                waiting.register(ended, select.POLLIN)
            else:
                continue
            break
    for fd, (_, other) in running.items():
        os.close(fd)
        os.close(other)
    os.close(tell)
    _become(request, streams)


def _tell(fd, number):
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it
        os.write(fd, b"%d\n" % number)


def _become(request, streams):
    """Act as `python` with these arguments and streams, and end in the same way."""
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    for fd in {*streams} - {0, 1, 2}:
        os.close(fd)
    if request["terminal"]:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    sys.stdin, sys.stdout, sys.stderr = map(_stream, range(3), ("<stdin>", "<stdout>", "<stderr>"))
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    option, what, *rest = request["arguments"]
    if option == "-m":
        sys.argv = [what, *rest]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [option, *rest]
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(what, vars(sys.modules["__main__"]))


def _stream(number, name):
    """A standard stream, opened as in Python's UTF-8 mode."""
    file = open(number, "rb" if number == 0 else "wb", closefd=False)  # noqa: SIM115
    errors = "backslashreplace" if number == 2 else "surrogateescape"
    lines = number == 2 or file.isatty()
    stream = io.TextIOWrapper(file, "utf-8", errors, newline="\n", line_buffering=lines)
    stream.mode = "r" if number == 0 else "w"
    return stream


if __name__ == "__main__":
    main(int(sys.argv[1]))
