"""Runs deploy/qwen3cpu.service under a systemd of its own, on a copy of this system that is deleted afterwards.

    sudo PYTHON tools/run_service.py     # PYTHON: of an environment with qwen3cpu[server], outside of home folders

The root of that systemd is an overlay: it shows the files of this machine, and writes stay in memory. The environment
of PYTHON is there as /opt/qwen3cpu. The service must start, answer, and render a text for the chat page. Its process
must not be root and must have no capability. `systemctl stop` must end it with status 0. Needs Linux, root, systemd and
a free port 8000. Exit code 1: one of these failed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

UNIT = Path(__file__).parents[1] / "deploy" / "qwen3cpu.service"
NAME = UNIT.stem
ADDRESS = "http://127.0.0.1:8000"
SYSTEMD = "/lib/systemd/systemd"
TARGET = f"[Unit]\nRequires={NAME}.service\n"
ALONE = "[Unit]\nDefaultDependencies=no\n"
"""A unit without the default dependencies, because devices and temporary files are those of this machine."""
ROOT_OF_ITS_OWN = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mkdir -p opt run/systemd/system/qwen3cpu.service.d
ln -sfn "$2" opt/qwen3cpu
cp "$3" run/systemd/system/
printf %s "$4" >run/systemd/system/only.target
printf %s "$5" >run/systemd/system/qwen3cpu.service.d/alone.conf
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=test \
  chroot . "$6" --system --unit=only.target --log-target=console --show-status=no
"""
SPACES = ["unshare", "--fork", "--pid", "--kill-child", "--mount", "--ipc", "--uts", "--cgroup"]


class Machine:
    """A running systemd, and commands to it."""

    def __init__(self, folder: str) -> None:
        script = ["sh", "-c", ROOT_OF_ITS_OWN, "sh", folder, sys.prefix, os.fspath(UNIT), TARGET, ALONE, SYSTEMD]
        self.process = subprocess.Popen([*SPACES, *script], stdin=subprocess.DEVNULL)
        self._root = f"{folder}/root"

    def inside(self, *command: str) -> str:
        """The output of a command inside; empty while systemd is not ready."""
        child = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().strip()
        enter = ["nsenter", f"--target={child}", "--mount", "--pid", "--ipc", "--uts", "--cgroup"]
        done = subprocess.run([*enter, "chroot", self._root, *command], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def property(self, name: str) -> str:
        """A property of the service."""
        return self.inside("systemctl", "show", "--value", f"--property={name}", NAME)


def wait_for_health(machine: Machine) -> None:
    """Wait until the server takes requests. Raises SystemExit if systemd has ended, or restarted the service."""
    while True:
        if machine.process.poll() is not None:
            raise SystemExit("systemd has ended")
        if machine.property("NRestarts") not in ("", "0"):
            raise SystemExit(machine.inside("systemctl", "status", "--no-pager", NAME))
        try:
            urllib.request.urlopen(f"{ADDRESS}/health", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)


def ask() -> str:
    """An answer of the embedded model."""
    body = {"messages": [{"role": "user", "content": "What is 17 + 25?"}], "reasoning_effort": "none", "temperature": 0}
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{ADDRESS}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as response:
        found: str = json.load(response)["choices"][0]["message"]["content"]
    return found


def render() -> str:
    """Markdown as rendered by the chat page's workers, which limit their own memory."""
    headers = {"content-type": "application/json", "origin": ADDRESS}
    body = json.dumps({"markdown": "**bold**"}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{ADDRESS}/page/render", body, headers)) as response:
        return str(json.load(response))


def main() -> int:
    """Run the service; returns the exit code."""
    if os.geteuid() != 0 or not Path(SYSTEMD).exists():
        print("run_service.py: error: needs root and systemd", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(folder)
        try:
            wait_for_health(machine)
            main_process = machine.property("MainPID")
            status = machine.inside("cat", f"/proc/{main_process}/status").splitlines()
            fields = dict(line.split(":\t", 1) for line in status if ":\t" in line)
            print("user", fields["Uid"].split()[0], "capabilities", fields["CapEff"], "seccomp", fields["Seccomp"])
            print("answer:", ask(), "| page:", render())
            machine.inside("systemctl", "stop", NAME)
            result = machine.property("Result"), machine.property("ExecMainStatus")
            print("stopped:", *result)
        finally:
            machine.process.kill()  # and with it the systemd
            machine.process.wait()
    right = fields["Uid"].split()[0] != "0" and int(fields["CapEff"], 16) == 0 and fields["Seccomp"] == "2"
    return 0 if right and result == ("success", "0") else 1


if __name__ == "__main__":
    sys.exit(main())
