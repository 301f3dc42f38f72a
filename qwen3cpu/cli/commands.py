"""The type of what the commands of `qwen3cpu` are added to."""

from __future__ import annotations

import argparse
from typing import TypeAlias

# argparse has no public name for it, and the class takes no type arguments when the program runs.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
