"""`qwen3cpu verify`: check a packed file against its checksums, or a model's answers against transformers."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from time import perf_counter
from typing import Final

from qwen3cpu.cli.commands import Commands
from qwen3cpu.errors import ArgumentError, CheckpointError
from qwen3cpu.loading.sources import may_be_packed
from qwen3cpu.packed.packed_file import PackedFile
from qwen3cpu.system.outputs import check_output
from qwen3cpu.system.paths import checked_path
from qwen3cpu.system.progress_bar import Progress
from qwen3cpu.system.thread_count import resolve_threads

WINDOWS: Final = 8
"""Windows of a text, of 256 tokens each, that are compared by default."""


def add_command(commands: Commands) -> None:
    """Add `verify` to the command line."""
    parser = commands.add_parser(
        "verify",
        help="check a packed file against its checksums, or a model against transformers",
        allow_abbrev=False,
        description="Compare every tensor of a packed file with the SHA-256 that it had when it was written. If some "
        "differ, their names are printed and the exit code is 2. With --reference: run a model in transformers and "
        "here, and compare prompts, logits, greedy answers and, on a text, the perplexity. The exit code is 1 if they "
        "differ.",
    )
    parser.add_argument(
        "file", metavar="FILE", help="a packed file; with --reference a folder, a GGUF file or a hub id"
    )
    parser.add_argument(
        "--source",
        type=Path,
        metavar="FOLDER",
        help="compare the weight files of FOLDER with those that FILE was made from",
    )
    parser.add_argument("--reference", action="store_true", help="compare with transformers: takes minutes")
    parser.add_argument(
        "--text", type=Path, metavar="TEXT", help="with --reference: measure the perplexity of this text"
    )
    parser.add_argument("--quant", metavar="NAME", help="with --text: the format to measure (default: the model's own)")
    parser.add_argument("--windows", type=int, metavar="N", help=f"windows of the text at most (default: {WINDOWS})")
    parser.add_argument("-o", "--output", metavar="FILE", help="with --reference: write the receipt here")
    parser.add_argument("-t", "--threads", type=int, metavar="N", help="default: see `qwen3cpu generate --help`")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run_verify)


def run_verify(args: argparse.Namespace) -> int:
    """`qwen3cpu verify`."""
    if args.reference:
        return _compare(args)
    for name in ("text", "quant", "windows", "output"):
        if getattr(args, name) is not None:
            raise ArgumentError(f"--{name}: only with --reference")
    path = Path(args.file)
    if path.is_dir() or (path.exists() and not may_be_packed(path)):
        found = "a folder" if path.is_dir() else "a checkpoint"
        raise ArgumentError(
            f"{path}: expected a packed file, whose checksums are compared, found {found}; "
            "`--reference` compares such a model with transformers, and `qwen3cpu quantize` makes packed files"
        )
    start = perf_counter()
    file = PackedFile(path)
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


def _compare(args: argparse.Namespace) -> int:
    """`qwen3cpu verify --reference`."""
    # Imported here: few users compare.
    from qwen3cpu.evaluation.parity import compare
    from qwen3cpu.text.text_files import read_text_file

    if args.source is not None:
        raise ArgumentError("--source: only for packed files")
    output = None if args.output is None else checked_path("--output", args.output)
    if output is not None:
        start = f"# {args.file} beside transformers\n".encode()
        check_output("--output", output, "a receipt of this model", (start,), [args.file, *filter(None, [args.text])])
    text = None if args.text is None else read_text_file(args.text, f"--text {args.text}")
    with Progress("loading", None) as progress:
        found = compare(
            args.file,
            quant=args.quant,
            text=text,
            windows=args.windows or WINDOWS,
            threads=args.threads,
            progress=progress,
        )
    if output is not None:
        try:
            output.write_text(found.receipt(), "utf-8")
        except OSError as reason:
            raise ArgumentError(f"--output: {output} cannot be written: {reason.strerror or reason}") from reason
    print(json.dumps(found.to_dict()) if args.json else found.receipt(), end="\n" if args.json else "")
    return 0 if found.good else 1


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
