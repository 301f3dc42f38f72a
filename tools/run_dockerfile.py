"""Runs the steps of docker/Dockerfile without a Docker engine, in a folder that becomes the root.

    sudo python tools/run_dockerfile.py ROOT     # an empty folder, on a file system that allows programs

Each stage starts from a Debian that debootstrap makes, with Debian's own Python, instead of the image that FROM names.
RUN, COPY, ENV, WORKDIR and USER work as in Docker. At the end the entry point runs as its user on a root that is
mounted read-only. The health check must succeed, an answer must come, and SIGTERM must end the process. Features of an
engine are not tested: FROM's image, layers, volumes, networks. Needs Linux, root, debootstrap, and pip install
dockerfile-parse. Exit code 1: a step failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from dockerfile_parse import DockerfileParser

SOURCE = Path(__file__).parents[1]
DOCKERFILE = SOURCE / "docker" / "Dockerfile"
DEBIAN = "bookworm"
ASK = """
import json, urllib.request as r
body = {"messages": [{"role": "user", "content": "What is 17 + 25?"}], "reasoning_effort": "none", "temperature": 0}
url, headers = "http://127.0.0.1:8000/v1/chat/completions", {"content-type": "application/json"}
print(json.load(r.urlopen(r.Request(url, json.dumps(body).encode(), headers)))["choices"][0]["message"]["content"])
"""


class Stage:
    """One stage of the image: its root, and the values that ENV, WORKDIR and USER have set so far."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/"}
        self.folder = "/"
        self.user = "0"

    def make(self, base: Path) -> None:
        """Begin with a copy of the base system."""
        subprocess.run(["cp", "--archive", base, self.root], check=True)

    def command(self, arguments: list[str]) -> list[str]:
        """The command that runs `arguments` inside, as the current user and with the current variables."""
        variables = [f"{name}={value}" for name, value in {**self.environment, **of_this_machine()}.items()]
        inside = f'cd {self.folder} && exec setpriv --reuid={self.user} --clear-groups -- "$@"'
        return ["chroot", os.fspath(self.root), "env", "-i", *variables, "sh", "-c", inside, "sh", *arguments]

    def run(self, arguments: list[str]) -> None:
        """Run to the end. Raises CalledProcessError."""
        subprocess.run(self.command(arguments), check=True)


def of_this_machine() -> dict[str, str]:
    """The environment variables that tell pip how to reach its index on this machine."""
    return {name: value for name, value in os.environ.items() if name in ("PIP_INDEX_URL", "HTTPS_PROXY", "HTTP_PROXY")}


def words(value: str) -> list[str]:
    """The arguments of an instruction in its exec form, a list in JSON, or in its shell form."""
    found: list[str] = json.loads(value) if value.startswith("[") else ["/bin/sh", "-c", value]
    return found


def make_base(folder: Path) -> None:
    """Make a small Debian with Python, which replaces the image."""
    packages = "ca-certificates,python3,python3-venv,python3-dev"
    command = ["debootstrap", "--variant=minbase", f"--include={packages}", DEBIAN, os.fspath(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for name in ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt"):
        shutil.copy(name, f"{folder}{name}")


def copy(value: str, stage: Stage, stages: dict[str, Stage]) -> None:
    """Run COPY in the two forms of this file: the context, and one folder of another stage."""
    *flags, source, target = value.split()
    to = stage.root / os.path.join(stage.folder, target).lstrip("/")
    if flags:
        (name,) = (flag.removeprefix("--from=") for flag in flags)
        subprocess.run(["cp", "--archive", stages[name].root / source.lstrip("/"), to.parent], check=True)
        return
    # The context is the list of git, to which .dockerignore is applied as well.
    ignore = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
    kept = [line[1:] for line in ignore if line.startswith("!")]
    listed = subprocess.run(["git", "ls-files", "--", *kept], cwd=SOURCE, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SOURCE / name, to / name)


def build(folder: Path) -> tuple[Stage, dict[str, list[str]]]:
    """Run every instruction; returns the last stage, and its HEALTHCHECK and ENTRYPOINT."""
    base = folder / "base"
    make_base(base)
    stages: dict[str, Stage] = {}
    found: dict[str, list[str]] = {}
    for step in DockerfileParser(os.fspath(DOCKERFILE)).structure:
        name, value = step["instruction"], step["value"]
        if name in ("COMMENT", "EXPOSE"):
            continue
        print(f"{name} {value}", flush=True)
        if name == "FROM":
            title = value.split(" AS ")[1] if " AS " in value else "last"
            stage = stages[title] = Stage(folder / title)
            stage.make(base)
        elif name == "RUN":
            stage.run(words(value))
        elif name == "COPY":
            copy(value, stage, stages)
        elif name == "ENV":
            for pair in value.split():
                variable, _, text = pair.partition("=")
                stage.environment[variable] = text.replace("$PATH", stage.environment["PATH"])
        elif name == "WORKDIR":
            stage.folder = value
            (stage.root / value.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif name == "USER":
            stage.user = value
        elif name == "HEALTHCHECK":
            found[name] = words(value.partition(" CMD ")[2])
        elif name == "ENTRYPOINT":
            found[name] = words(value)
        elif name != "VOLUME":
            raise SystemExit(f"{name}: this script does not know the instruction")
    return stage, found


def serve(stage: Stage, found: dict[str, list[str]]) -> None:
    """Start the server on a read-only root, ask it, and end it."""
    root = os.fspath(stage.root)
    subprocess.run(["mount", "--bind", root, root], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", root], check=True)
        server = subprocess.Popen(stage.command(found["ENTRYPOINT"]))
        try:
            until = time.monotonic() + 300
            while subprocess.run(stage.command(found["HEALTHCHECK"]), stderr=subprocess.DEVNULL).returncode:
                if server.poll() is not None or time.monotonic() > until:
                    raise SystemExit("the health check does not succeed")
                time.sleep(1)
            print("healthy", flush=True)
            stage.run(["python3", "-c", ASK])
        finally:
            server.send_signal(signal.SIGTERM)
            print("ended with", server.wait(timeout=60), flush=True)
    finally:
        subprocess.run(["umount", root], check=True)


def main() -> int:
    """Build and serve; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="an empty folder")
    folder: Path = parser.parse_args().root.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        parser.error(f"{folder} is not empty")
    stage, found = build(folder)
    serve(stage, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
