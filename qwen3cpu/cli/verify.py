"""`qwen3cpu verify`: whether a packed file still has the bytes that were written into it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from time import perf_counter

from qwen3cpu.cli.commands import Commands
from qwen3cpu.errors import CheckpointError
from qwen3cpu.packed.packed_file import PackedFile
from qwen3cpu.system.progress_bar import Progress
from qwen3cpu.system.thread_count import resolve_threads


def add_command(commands: Commands) -> None:
    """Add `verify` to the command line."""
    parser = commands.add_parser(
        "verify",
        help="check a packed file against its checksums",
        allow_abbrev=False,
        description="Compare every tensor of a packed file with the SHA-256 that it had when it was written. Exit code "
        "2, and the names of the tensors, when one differs.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a packed file")
    parser.add_argument(
        "--source", type=Path, metavar="FOLDER", help="compare the weight files there with those that it was made from"
    )
    parser.add_argument("-t", "--threads", type=int, metavar="N", help="default: see `qwen3cpu generate --help`")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run_verify)


def run_verify(args: argparse.Namespace) -> int:
    """`qwen3cpu verify`."""
    start = perf_counter()
    file = PackedFile(args.file)
    threads = resolve_threads(args.threads)
    with Progress("Verifying", file.path.stat().st_size) as progress:
        tensors, size = _check_tensors(file, threads, progress)
        if args.source is not None:
            _check_source(file, args.source, progress)
    seconds = perf_counter() - start
    if args.json:
        print(json.dumps({"file": str(args.file), "tensors": tensors, "bytes": size, "source": file.origin.sha256}))
    else:
        print(f"{args.file}: {tensors} tensors, {size / 1e6:.0f} MB as written ({size / 1e6 / seconds:.0f} MB/s)")
        print(f"made from {file.origin.name}")
        for name, digest in file.origin.sha256.items():
            print(f"  {name}  SHA-256 {digest}{', the same' if args.source is not None else ''}")
    return 0


def _check_tensors(file: PackedFile, threads: int, progress: Progress) -> tuple[int, int]:
    """(tensors, bytes) that were compared. Raises CheckpointError naming those that differ."""
    from qwen3cpu.packed.checksums import damaged_tensors

    tensors, total, damaged = 0, 0, []
    for name, size, differs in damaged_tensors(file, threads):
        tensors, total = tensors + 1, total + size
        progress.advance(size)
        if differs:
            damaged.append(name)
    if damaged:
        shown = ", ".join(damaged[:8]) + (f" and {len(damaged) - 8} more" if len(damaged) > 8 else "")
        raise CheckpointError(
            f"{file.path}: damaged: {len(damaged)} of {tensors} tensors differ from their SHA-256: {shown}; pack the "
            "model again"
        )
    return tensors, total


def _check_source(file: PackedFile, folder: Path, progress: Progress) -> None:
    """Raise CheckpointError unless a folder has the weight files that a packed file was made from."""
    from qwen3cpu.packed.checksums import SumsOfFiles

    files = {name: folder / name for name in file.origin.sha256}
    for path in files.values():
        if not path.is_file():
            raise CheckpointError(f"{path}: expected the file that {file.path} was made from, found none")
    progress.start("Verifying the source", None)
    with SumsOfFiles(files) as sums:
        for name, found in sums.result().items():
            if found != file.origin.sha256[name]:
                raise CheckpointError(
                    f"{files[name]}: expected SHA-256 {file.origin.sha256[name]}, from which {file.path} was made, "
                    f"found {found}"
                )
