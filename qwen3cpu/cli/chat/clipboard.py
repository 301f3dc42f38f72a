"""Copies a text: with a program of the desktop, or by asking the terminal, which works over SSH too."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Final, TextIO

_PROGRAMS: Final = (
    ("pbcopy", None, ()),
    ("wl-copy", "WAYLAND_DISPLAY", ()),
    ("xclip", "DISPLAY", ("-selection", "clipboard")),
    ("xsel", "DISPLAY", ("--clipboard", "--input")),
    ("clip.exe", "WSL_DISTRO_NAME", ()),
)
"""Program, the variable that is set if its desktop is running, arguments."""


def copy(text: str, terminal: TextIO, environment: Mapping[str, str] = os.environ) -> str:
    """Copy a text. Returns the name of the program that took it, for a message.

    Args:
        text: the text to copy.
        terminal: gets the escape sequence OSC 52 if there is no program. Terminals that do not know it ignore it.
        environment: the environment variables.
    """
    remote = "SSH_CONNECTION" in environment
    for program, variable, arguments in _PROGRAMS:
        wanted = variable is None or variable in environment
        if wanted and not remote and shutil.which(program, path=environment.get("PATH")):
            done = subprocess.run(
                [program, *arguments],
                input=text.encode("utf-8", "replace"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=dict(environment),
                check=False,
            )
            if done.returncode == 0:
                return program
    encoded = base64.b64encode(text.encode("utf-8", "replace")).decode()
    terminal.write(f"\x1b]52;c;{encoded}\x07")
    terminal.flush()
    return "the terminal, if it allows it (OSC 52)"
