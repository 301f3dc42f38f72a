"""`qwen3cpu embed`: write the vectors of texts, one for each line or file, into a file."""

from __future__ import annotations

import argparse
import os
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, Final

from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.options import EMBEDDING_MODEL, add_model_flags, open_model
from qwen3cpu.cli.terminal import note
from qwen3cpu.errors import ArgumentError, ContextLengthError
from qwen3cpu.retrieval.embedder import KINDS
from qwen3cpu.retrieval.vector_files import Origin, check_vector_path, vector_file
from qwen3cpu.retrieval.vectors import DTYPES
from qwen3cpu.system.paths import checked_path, printable
from qwen3cpu.system.progress_bar import Progress
from qwen3cpu.text.text_files import LONGEST, decode_text, read_text_file

STDIN: Final = "-"


def add_command(commands: Commands) -> None:
    """Add `embed` to the command line."""
    parser = commands.add_parser(
        "embed",
        help="vectors of texts",
        allow_abbrev=False,
        description="Write the vectors of all lines of text files, or of whole files, into one file. Its rows have the "
        "same order. The file gets its name when all is written.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="texts in UTF-8; - is stdin")
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="FILE.npy or FILE.parquet (needs pyarrow)"
    )
    parser.add_argument("--whole", action="store_true", help="one text for each file instead of one for each line")
    parser.add_argument("--kind", choices=KINDS, default="document", help="what the texts are (default: %(default)s)")
    parser.add_argument("--instruction", metavar="TEXT", help="with --kind query: what queries look for")
    parser.add_argument("--dimensions", type=int, metavar="N", help="first N numbers of each vector (default: all)")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the numbers (default: %(default)s)")
    parser.add_argument("--truncate", action="store_true", help="cut texts that are too long instead of refusing them")
    add_model_flags(parser, EMBEDDING_MODEL)
    parser.set_defaults(run=run_embed)


def run_embed(args: argparse.Namespace) -> int:
    """`qwen3cpu embed`."""
    output = checked_path("--output", args.output)
    check_vector_path("--output", output, args.files)
    if args.files.count(STDIN) > 1:
        raise ArgumentError("stdin was named more than once")
    model = open_model(args, EMBEDDING_MODEL)
    options = {"dimensions": args.dimensions, "dtype": args.dtype}
    origins: deque[Origin] = deque()
    rows = 0
    with Progress("Embedding", _bytes_of(args.files)) as progress:

        def texts() -> Iterator[str]:
            for origin, text, size in _texts(args.files, args.whole):
                origins.append(origin)
                progress.advance(size)
                yield text

        windows = model.embed_stream(
            texts(), kind=args.kind, instruction=args.instruction, truncate=args.truncate, **options
        )
        with closing(windows), vector_file(output, model.embed([], **options)) as file:
            try:
                for vectors in windows:
                    file.write(vectors, [origins.popleft() for _ in vectors])
                    rows += len(vectors)
            except ContextLengthError as reason:
                # The text that was read last is the one that does not fit.
                where, found = origins[-1], str(reason).partition(": ")[2].replace("truncate=True", "--truncate")
                raise ContextLengthError(f"{where.file}:{where.line}: {found}") from None
    if sys.stderr.isatty():
        note(f"{args.output}: {rows} vectors")
    return 0


def _texts(files: list[str], whole: bool) -> Iterator[tuple[Origin, str, int]]:
    """(where, text, bytes) of every text, read on demand."""
    for name in files:
        if whole:
            text = decode_text(_stdin(), "stdin") if name == STDIN else read_text_file(Path(name), name)
            yield Origin(printable(name), 1), text, len(text.encode())
        elif name == STDIN:
            yield from _lines(_stdin(), name)
        else:
            try:
                with open(name, "rb") as file:
                    yield from _lines(file, name)
            except OSError as reason:
                raise ArgumentError(f"{name}: cannot be read: {reason.strerror or reason}") from reason


def _lines(file: BinaryIO, name: str) -> Iterator[tuple[Origin, str, int]]:
    number = 0
    while data := file.readline(LONGEST + 1):
        number += 1
        if len(data) > LONGEST:
            raise ArgumentError(f"{name}:{number}: expected a line of at most {LONGEST} bytes, found more")
        try:
            # A byte order mark at the start of a file does not belong to its first line.
            text = data.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            found = error.object[error.start]
            raise ArgumentError(f"{name}:{number}: expected UTF-8, found byte 0x{found:02x}") from None
        yield Origin(printable(name), number), text.removesuffix("\n").removesuffix("\r"), len(data)


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise ArgumentError("-: stdin is closed")
    return sys.stdin.buffer


def _bytes_of(files: list[str]) -> int | None:
    """Bytes of all files; None when one is a pipe or its size is unknown."""
    try:
        return sum(os.path.getsize(name) for name in files) if all(map(os.path.isfile, files)) else None
    except OSError:
        return None
