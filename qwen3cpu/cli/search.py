"""`qwen3cpu search`: find passages of a folder's files that answer a question, and answer it from them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing

from qwen3cpu.arguments import whole_number
from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.options import EMBEDDING_MODEL, add_model_flags, open_model
from qwen3cpu.cli.terminal import AnswerWriter, json_text, note
from qwen3cpu.errors import ArgumentError
from qwen3cpu.loading.locate import is_name
from qwen3cpu.model import Model, load
from qwen3cpu.search import INDEX_NAME, Hit, SearchIndex, Update, answer_messages, sources
from qwen3cpu.system.paths import checked_path
from qwen3cpu.system.progress_bar import Progress
from qwen3cpu.system.standard_streams import CONTROLS
from qwen3cpu.text.tokenizer import check_text


def add_command(commands: Commands) -> None:
    """Add `search` to the command line."""
    parser = commands.add_parser(
        "search",
        help="passages of a folder's files that answer a question",
        allow_abbrev=False,
        description="Search the text, Markdown, code and PDF files of a folder by meaning. Their passages and vectors "
        "are kept in an index of one file; new and changed files are embedded first. Hidden and binary files are left "
        "out.",
    )
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("question", metavar="QUESTION")
    parser.add_argument("--top-n", type=int, default=5, metavar="N", help="passages at most (default: %(default)s)")
    parser.add_argument("--rerank", metavar="MODEL", help="let a reranker read the nearest passages and order them")
    parser.add_argument("--answer", metavar="MODEL", help="let a chat model answer from the passages")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--index", metavar="FILE", help=f"default: FOLDER/{INDEX_NAME}")
    parser.add_argument("--instruction", metavar="TEXT", help="what questions look for, in one sentence")
    parser.add_argument("--dimensions", type=int, metavar="N", help="first N numbers of each vector (default: all)")
    add_model_flags(parser, EMBEDDING_MODEL)
    parser.set_defaults(run=run_search)


def run_search(args: argparse.Namespace) -> int:
    """`qwen3cpu search`."""
    folder = checked_path("FOLDER", args.folder)
    if not folder.is_dir():
        raise ArgumentError(f"{folder}: expected a folder, found {'a file' if os.path.exists(folder) else 'none'}")
    path = None if args.index is None else checked_path("--index", args.index)
    _check(args)
    model = open_model(args, EMBEDDING_MODEL)
    with SearchIndex(folder, model, path=path, dimensions=args.dimensions) as index:
        with Progress("Reading and embedding", None, "files") as progress:
            update = index.update(progress)
        for each in update.skipped:
            note(f"qwen3cpu: left out {each.file}: {each.reason}")
        options = {"top_n": args.top_n, "instruction": args.instruction}
        if args.rerank is None:
            hits = index.search(args.question, **options)
        else:
            reranker = _load(args.rerank, args)
            with Progress("Reranking", None, "texts") as progress:
                hits = index.search(args.question, reranker=reranker, progress=progress, **options)
        if sys.stderr.isatty():
            note(_figures(update, len(index)))
    if args.answer is not None:
        _answer(args, hits)
    elif args.json:
        _print_json(args.question, hits, None)
    else:
        print(_listed(hits))
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raise ArgumentError for what would be refused after the index is updated."""
    check_text(args.question, "QUESTION")
    if not args.question.strip():
        raise ArgumentError("QUESTION: expected a text, found white space")
    whole_number("--top-n", args.top_n, 1, 1000, what="a number of passages")
    for flag, source in (("--rerank", args.rerank), ("--answer", args.answer)):
        if source is not None and not is_name(source):
            raise ArgumentError(
                f"{flag}: expected a folder, a file, a released model's name or a hub id, found {source!r}"
            )


def _load(source: str, args: argparse.Namespace) -> Model:
    with Progress(f"loading {source}", None) as progress:
        return load(source, threads=args.threads, cache=not args.no_cache, progress=progress)


def _figures(update: Update, passages: int) -> str:
    files = (
        f"{update.added} files new, {update.changed} changed, {update.removed} removed, {update.unchanged} unchanged"
    )
    return f"{files}; {passages} passages"


def _listed(hits: Sequence[Hit]) -> str:
    """The place and the score of each passage, with its text below."""
    blocks = [f"{hit.place}  {hit.score:.3f}\n" + _indented(hit.text) for hit in hits]
    text = "\n\n".join(blocks) or "no passages: the folder has no text"
    return text.translate(CONTROLS) if sys.stdout.isatty() else text


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())


def _answer(args: argparse.Namespace, hits: Sequence[Hit]) -> None:
    """Print the answer of a chat model while it is generated, and the sources."""
    model = _load(args.answer, args)
    messages = answer_messages(args.question, hits)
    if args.json:
        _print_json(args.question, hits, model.generate(messages).text)
        return
    writer = AnswerWriter(sys.stdout)
    try:
        with closing(model.stream(messages, progress=True)) as chunks:
            for chunk in chunks:
                writer.write(chunk)
    finally:
        writer.end()
    listed = sources(hits)
    print("\n" + (listed.translate(CONTROLS) if sys.stdout.isatty() else listed))


def _print_json(question: str, hits: Sequence[Hit], answer: str | None) -> None:
    found = {"question": question, "hits": [hit.to_dict() for hit in hits]}
    print(json_text(found if answer is None else {**found, "answer": answer}))
