"""`qwen3cpu search`: find passages of a folder's files that answer a question, and answer it from them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from qwen3cpu.cli.commands import Commands
from qwen3cpu.cli.options import EMBEDDING_MODEL, add_model_flags, open_model
from qwen3cpu.cli.terminal import CONTROLS, AnswerWriter, note
from qwen3cpu.errors import ArgumentError
from qwen3cpu.model import Model, load
from qwen3cpu.search import INDEX_NAME, Hit, SearchIndex, Update, answer_messages, sources
from qwen3cpu.system.progress_bar import Progress


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
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("question", metavar="QUESTION")
    parser.add_argument("--top-n", type=int, default=5, metavar="N", help="passages at most (default: %(default)s)")
    parser.add_argument("--rerank", metavar="MODEL", help="let a reranker read the nearest passages and order them")
    parser.add_argument("--answer", metavar="MODEL", help="let a chat model answer from the passages")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--index", type=Path, metavar="FILE", help=f"default: FOLDER/{INDEX_NAME}")
    parser.add_argument("--instruction", metavar="TEXT", help="what questions look for, in one sentence")
    parser.add_argument("--dimensions", type=int, metavar="N", help="first N numbers of each vector (default: all)")
    add_model_flags(parser, EMBEDDING_MODEL)
    parser.set_defaults(run=run_search)


def run_search(args: argparse.Namespace) -> int:
    """`qwen3cpu search`."""
    if not args.folder.expanduser().is_dir():
        raise ArgumentError(f"{args.folder}: expected a folder, found {'a file' if args.folder.exists() else 'none'}")
    model = open_model(args, EMBEDDING_MODEL)
    with SearchIndex(args.folder, model, path=args.index, dimensions=args.dimensions) as index:
        with Progress("Reading and embedding", None, "files") as progress:
            update = index.update(progress)
        for each in update.skipped:
            print(f"qwen3cpu: left out {each.file}: {each.reason}", file=sys.stderr, flush=True)
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
    print(json.dumps(found if answer is None else {**found, "answer": answer}, ensure_ascii=False))
