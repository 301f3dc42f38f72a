"""Windows of texts: shared passes, reserved memory, pauses, and equal states whatever runs in between."""

import random

import checkpoints
import pytest

import qwen3cpu
from qwen3cpu.engine.engine import CHUNK
from qwen3cpu.retrieval import passes
from qwen3cpu.retrieval.passes import last_states
from qwen3cpu.retrieval.window import LEAST_PIECE, Window


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = checkpoints.write_checkpoint(tmp_path_factory.mktemp("window"), max_position_embeddings=2048).folder
    return qwen3cpu.load(folder, quant="f32", threads=1, prefix_cache=0).engine


def random_texts(rng, count, shared, longest=700):
    """Make texts that begin with the same `shared` ids."""
    beginning = [rng.randrange(200) for _ in range(shared)]
    return [beginning + [rng.randrange(200) for _ in range(1 + rng.randrange(longest))] for _ in range(count)]


def run(engine, window, tokens=CHUNK, blocks=None):
    """Run a pass over the items of a window. Returns the number of finished texts."""
    return window.receive(engine.forward(window.take(tokens, blocks)))


def same(found, expected):
    return all((mine == theirs).all() for mine, theirs in zip(found, expected, strict=True))


@pytest.mark.parametrize("shared", [0, 20, 64, 100, 600])
def test_no_more_blocks_are_taken_than_were_set_aside(engine, shared):
    rng = random.Random(shared)
    texts = random_texts(rng, 12, shared)
    (expected,) = last_states(engine, texts)
    window = Window(engine, texts)
    done = 0
    while not window.done:
        free = window.blocks_to_go_on + rng.randrange(6)
        limit = window.blocks + free
        items = window.take(rng.choice([LEAST_PIECE, 100, CHUNK, 512]), free)
        assert items
        assert window.blocks <= limit
        done += window.receive(engine.forward(items))
        assert engine.kv_blocks_in_use <= limit
        assert engine.kv_blocks_in_use <= window.blocks
    assert done == len(texts)
    assert engine.kv_blocks_in_use == window.blocks == 0
    assert same(window.states, expected)


def test_short_texts_take_no_more_blocks_than_there_are(engine):
    window = Window(engine, [[place, 1] for place in range(20)])
    assert len(window.take(CHUNK, 7)) == window.blocks == 7
    window.close()


def test_texts_of_one_call_share_a_limit_of_memory(engine, monkeypatch):
    monkeypatch.setattr(passes, "KV_BYTES", 7 * engine.kv_block_bytes)
    taken = []

    def forward(items, forward=engine.forward):
        rows = forward(items)
        taken.append(engine.kv_blocks_in_use)
        return rows

    monkeypatch.setattr(engine, "forward", forward)
    states = [state for window in last_states(engine, [[place, 1] for place in range(30)]) for state in window]
    assert (len(states), max(taken), len(taken)) == (30, 7, 5)


@pytest.mark.parametrize("shared", [0, 100])
def test_windows_that_share_passes_and_pause(engine, shared):
    rng = random.Random(shared)
    lists = [random_texts(rng, count, shared) for count in (1, 5, 9)]
    windows = [Window(engine, texts) for texts in lists]
    while left := [window for window in windows if not window.done]:
        if rng.random() < 0.5:
            rng.choice(left).pause()
        room, batch, taken = 600, [], []
        for window in rng.choices(left, k=4):  # with repetitions
            items = window.take(min(room, rng.choice([LEAST_PIECE, CHUNK])))
            room -= sum(len(item.ids) for item in items)
            batch += items
            taken.append((window, len(items)))
        rows = engine.forward(batch) if batch else []
        for window in left:
            mine, at = [], 0
            for owner, count in taken:
                mine += rows[at : at + count] if owner is window else []
                at += count
            window.receive(mine)
    for window, texts in zip(windows, lists, strict=True):
        assert same(window.states, next(last_states(engine, texts)))
    assert engine.kv_blocks_in_use == 0


def test_too_little_room_takes_nothing(engine):
    texts = [[1] * 100, [1] * 101]
    window = Window(engine, texts)
    assert window.blocks_to_go_on == 3, "two of the beginning; the second is copied"
    assert window.take(CHUNK, 2) == []
    assert window.take(LEAST_PIECE - 1, 3) == []
    assert (window.blocks, window.blocks_to_go_on) == (0, 3)
    run(engine, window, tokens=LEAST_PIECE, blocks=3)
    assert window.blocks == 3, "the blocks of a text are reserved, so that the beginning can be used"
    assert window.blocks_to_go_on == 0
    run(engine, window, blocks=0)
    assert run(engine, window, blocks=0) == 1
    assert (window.blocks, window.blocks_to_go_on) == (2, 1)
    assert window.take(CHUNK, 0) == []
    window.pause()
    assert (window.blocks, window.blocks_to_go_on, engine.kv_blocks_in_use) == (0, 3, 0)
    run(engine, window)
    assert run(engine, window) == 1
    assert window.done


def test_closing_gives_everything_back(engine):
    window = Window(engine, [[1] * 600, [1] * 400 + [2]])
    for _ in range(2):
        run(engine, window)
    assert engine.kv_blocks_in_use > 0
    window.close()
    assert engine.kv_blocks_in_use == window.blocks == 0
