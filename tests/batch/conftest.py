"""The embedded models, and jobs for them."""

import json

import pytest

import qwen3cpu


@pytest.fixture(scope="session")
def model():
    return qwen3cpu.load("tiny", threads=1)


@pytest.fixture(scope="session")
def embedding_model():
    return qwen3cpu.load("tiny-embedding", threads=1)


@pytest.fixture
def job(tmp_path):
    """Make an input file of lines, which are objects or text. Returns its path and that of its output."""

    def write(lines, name="in.jsonl"):
        path = tmp_path / name
        texts = [line if isinstance(line, (str, bytes)) else json.dumps(line, ensure_ascii=False) for line in lines]
        path.write_bytes(b"".join((text.encode() if isinstance(text, str) else text) + b"\n" for text in texts))
        return path, tmp_path / "out.jsonl"

    return write
