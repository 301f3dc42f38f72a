"""Signals that end a command: quietly, with their exit code, and without unfinished files."""

import signal
import subprocess
import sys

import pytest
from cli_runs import environment, start

SCRIPTS = {
    "qwen3cpu": "import sys\nfrom qwen3cpu.cli.main import main\nsys.exit(main())\n",
    "qwen3cpu-bench": "import sys\nfrom qwen3cpu.bench import main\nsys.exit(main())\n",
}


@pytest.mark.parametrize("program", ["-m", *SCRIPTS])
def test_ctrl_c_during_the_imports_is_quiet(program, tmp_path):
    (tmp_path / "numpy.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    variables = environment()
    variables["PYTHONPATH"] = f"{tmp_path}:{variables['PYTHONPATH']}"
    command = ["-m", "qwen3cpu"]
    if program in SCRIPTS:
        (tmp_path / program).write_text(SCRIPTS[program])
        command = [tmp_path / program]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, *command, "--version"], env=variables, **streams) as process:
        assert process.stdout.readline() == b"importing\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate() == (b"", b"")
    assert process.returncode == 130


def test_a_program_that_imports_the_package_gets_a_keyboard_interrupt():
    code = "import qwen3cpu, signal\nassert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    assert subprocess.run([sys.executable, "-c", code], env=environment()).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_leaves_no_unfinished_file(number, tmp_path):
    process = start("embed", "-", "-o", tmp_path / "out.npy", "-t", "1")
    process.stdin.write(b"hello\n" * 2000)
    process.stdin.flush()
    while not [*tmp_path.iterdir()]:
        assert process.poll() is None
    process.send_signal(number)
    assert process.communicate() == (b"", b"")
    assert process.returncode == 128 + number
    assert [*tmp_path.iterdir()] == []
