"""Endless answers are ended, and intended repetition is not."""

import random

import checkpoints
import pytest
from dictation import dictate

import qwen3cpu
from qwen3cpu.generation import loops
from qwen3cpu.generation.loops import IN_ANSWER, LoopDetector, LoopSize


def honest():
    """Repetition that users ask for."""
    rng = random.Random(7)
    yield "a sentence a hundred times", "I will not talk in class again, ever.\n" * 100
    yield "a thousand zeros", "0, " * 1000
    yield "1/3", "0." + "3" * 4000
    yield "22/7", "3." + "142857" * 600
    yield "zero matrix", ("[" + ", ".join("0" * 32) + "],\n") * 32
    yield "identity matrix", "".join(" ".join("01"[i == j] for j in range(40)) + "\n" for i in range(40))
    yield "array in C", "int table[] = {\n" + ("    " + "0x00, " * 8 + "\n") * 70 + "};\n"
    yield "base64 of zeros", "A" * 4000 + "=="
    yield "refrain", "Around the world, around the world\n" * 72
    yield "Hey Jude", ("Na, na, na, " + "nananana, " * 2 + "hey Jude\n") * 19
    yield "chorus", ("We all live in a yellow submarine,\n" * 3 + "Yellow submarine, yellow submarine.\n\n") * 8
    yield (
        "bottles",
        "".join(f"{n} bottles of beer on the wall, {n} bottles of beer.\nTake one down.\n" for n in range(99)),
    )
    yield "laughing", "ha" * 1500
    yield "buffalo", "buffalo " * 200
    yield "emoji", "🎉" * 400
    yield "table of equal rows", "| a | b | c |\n|---|---|---|\n" + "| 0 | 0 | 0 |\n" * 200
    yield "table with a counter", "".join(f"| {n} | 0 | 0 |\n" for n in range(1000))
    yield "empty table in HTML", "<tr><td></td><td></td><td></td></tr>\n" * 100
    yield "JSON of equal objects", "[" + '{"x": 0, "y": 0, "z": 0},\n' * 140 + "]"
    yield "SQL", "INSERT INTO points (x, y, z) VALUES (0, 0, 0);\n" * 80
    yield "CSV", "".join(f"{rng.random():.3f},0,0,0\n" for _ in range(1000))
    yield "assembler", "    nop\n" * 480
    yield "code", "".join(f"    if x == {n}:\n        return {n % 7}\n" for n in range(300))
    yield "unrolled tests", "    assert f(0) == 0\n" * 180
    yield "rules", ("-" * 80 + "\n") * 24 + ("=" * 80 + "\n") * 24
    yield "box", "+" + "-" * 78 + "+\n" + ("|" + " " * 78 + "|\n") * 40 + "+" + "-" * 78 + "+\n"
    yield "chessboard", ("# " * 8 + "\n" + " #" * 8 + "\n") * 100
    yield "sine in ASCII", "".join(" " * int(20 + 20 * (n % 40) / 40) + "*\n" for n in range(120))
    yield "maze", "".join(rng.choice(["|  ", "+--"]) for _ in range(1500))
    yield "guitar tab", ("e|" + "-" * 60 + "|\n") * 48
    yield "drum pattern", "x---x---x---x---|" * 120
    yield "binary counting", " ".join(f"{n:016b}" for n in range(2000))
    yield "hex dump", "".join(f"{16 * n:08x}  " + "00 " * 16 + "\n" for n in range(500))
    yield "DNA", "ATG" * 1200
    yield "multiples", "\n".join(f"{n} x 7 = {7 * n}" for n in range(1000))
    yield "Thue-Morse", "".join("ab"[n.bit_count() % 2] for n in range(8192))
    yield "list of equal items", "- TODO\n" * 500
    yield "numbered list", "".join(f"{n}. Buy milk.\n" for n in range(1500))
    yield "log", "2026-11-26 12:00:00 INFO ok\n" * 120
    yield "lorem ipsum", (" ".join(rng.choice(["lorem", "ipsum", "dolor", "sit"]) for _ in range(60)) + "\n\n") * 7
    yield "blank lines", "\n" * 3000


@pytest.fixture(scope="module")
def tiny():
    return qwen3cpu.load("tiny")


@pytest.mark.parametrize(("name", "text"), list(honest()), ids=lambda value: value[:24])
def test_honest_repetition_is_no_loop(tiny, name, text):
    """Also byte by byte, where repetitions have the most tokens."""
    for tokens in (list(text.encode()), tiny.tokenizer.encode(text)):
        detector = LoopDetector(IN_ANSWER)
        assert not any(detector.push(token) for token in tokens)


@pytest.mark.parametrize("length", [1, 2, 7, 40, 300, 1000])
def test_a_loop_is_found(length):
    rng = random.Random(length)
    before = [rng.randrange(1000) for _ in range(500)]
    piece = [rng.randrange(1000) for _ in range(length)]
    detector = LoopDetector(IN_ANSWER)
    found = next(n for n, token in enumerate(before + piece * 20_000, 1) if detector.push(token)) - len(before)
    needed = max(IN_ANSWER.span, IN_ANSWER.repeats * length)
    assert needed <= found < needed + 70


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = checkpoints.write_checkpoint(tmp_path_factory.mktemp("model"), max_position_embeddings=4096).folder
    return qwen3cpu.load(folder, quant="f32", threads=1)


@pytest.fixture
def short_loops(monkeypatch):
    """Makes loops of 256 tokens long enough."""
    monkeypatch.setattr(loops, "IN_ANSWER", LoopSize(span=256, repeats=8))


SAID = "<think>\nhm\n</think>\n\n" + "It is so. " * 200
MESSAGES = [{"role": "user", "content": "x"}]


def test_a_loop_ends_the_answer(monkeypatch, model, short_loops):
    dictate(monkeypatch, model, *[SAID] * 4)
    result = model.generate("x", seed=1)
    assert (result.stopped_by, result.finish_reason, result.stop) == ("loop", "length", None)
    assert result.thinking_closed_by is None
    answer = result.usage.completion_tokens - result.usage.reasoning_tokens
    assert 256 <= answer < 256 + 70
    assert result.text.startswith("It is so. It is so. ")
    *_, chunk = model.stream(MESSAGES, seed=1)
    assert (chunk.result.stopped_by, chunk.result.token_ids) == ("loop", result.token_ids)
    assert [each.stopped_by for each in model.generate_batch(["x", [1, 2]], seed=1)] == ["loop", "eos"]


@pytest.mark.parametrize(
    ("prompt", "options"),
    [
        ("x", {"loop_detection": False}),
        ("x", {"raw": True}),
        ([1, 2, 3], {}),
        ("x", {"ignore_eos": True, "max_new_tokens": 1500}),
        ("x", {"thinking": False, "schema": {"type": "string"}, "max_new_tokens": 1500}),
    ],
    ids=["switched off", "raw text", "ids", "benchmark", "schema"],
)
def test_what_may_repeat(monkeypatch, model, short_loops, prompt, options):
    said = '"' + "a" * 1400 + '"' if "schema" in options else SAID
    dictate(monkeypatch, model, said)
    result = model.generate(prompt, seed=1, **options)
    assert result.stopped_by == ("max_new_tokens" if "ignore_eos" in options else "eos")
    assert result.text.count("It is so. ") == 200 or len(result.text) > 1000


def test_thinking_does_not_count_for_the_answer(monkeypatch, model, short_loops):
    dictate(monkeypatch, model, "<think>\n" + "Wait, no. " * 40 + "</think>\n\n" + "Wait, no. " * 20)
    assert model.generate("x", seed=1).stopped_by == "eos"
