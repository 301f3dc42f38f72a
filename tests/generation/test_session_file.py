"""Saved conversations: they continue where they stopped, and files that `save` did not write are refused."""

import gc
import json
import os
import random
import shutil

import checkpoints
import numpy as np
import pytest
from cli_runs import run_code
from drafters import without_drafts

import qwen3cpu
from qwen3cpu.checkpoint.safetensors_file import SafetensorsFile
from qwen3cpu.generation import session_file
from qwen3cpu.packed import sealed_file as sealed

OPTIONS = {"temperature": 0.8, "max_new_tokens": 12, "ignore_eos": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    # An odd number of dimensions, which are padded in the cache.
    return checkpoints.write_checkpoint(
        tmp_path_factory.mktemp("session"), head_dim=34, max_position_embeddings=2048
    ).folder


def load(folder, **options):
    return without_drafts(qwen3cpu.load(folder, threads=1, **{"quant": "f32", "prefix_cache": 0, **options}))


@pytest.fixture(scope="module", params=["f32", "f16", "q8"])
def model(request, folder):
    return load(folder, kv=request.param)


@pytest.fixture
def saved(model, tmp_path):
    """A conversation and its file."""
    chat = model.chat("be brief", **OPTIONS)
    chat.send("hello " * 30, seed=1)
    path = tmp_path / "chat.session"
    chat.save(path)
    return chat, path


def processed(model):
    return model.engine.native.counters()["tokens"]


# Going on


@pytest.mark.parametrize("words", [0, 1, 5, 40])
def test_it_goes_on_where_it_was_left(model, tmp_path, words):
    chat = model.chat(**OPTIONS)
    if words:
        chat.send("hello " * words, seed=1)
    path = tmp_path / "chat.session"
    chat.save(path)
    resumed = model.resume(path)
    assert (resumed.messages, resumed.options) == (chat.messages, chat.options)
    assert resumed.cached_tokens == chat.cached_tokens
    expected = chat.send("and now?", seed=2)
    before = processed(model)
    result = resumed.send("and now?", seed=2)
    assert processed(model) - before == expected.usage.prompt_tokens - expected.usage.cached_tokens + 11
    assert (result.token_ids, result.text, result.usage) == (expected.token_ids, expected.text, expected.usage)
    assert resumed.messages == chat.messages
    chat.close()
    resumed.close()
    assert model.engine.native.kv_blocks_in_use() == 0


@pytest.mark.parametrize("length", [1, 7, 8, 9, 63, 64, 65, 128, 200])
def test_every_length_goes_on_bit_for_bit(model, tmp_path, length):
    chat = model.chat()
    ids = random.Random(length).choices(range(256), k=length)
    # Used blocks, so that the memory after the last position is not zero.
    dirty = model.engine.new_sequence()
    model.engine.forward([(dirty, ids[::-1] + ids, [])])
    dirty.release()
    model.engine.forward([(chat._sequence, ids, [])])
    path = tmp_path / "chat.session"
    chat.save(path)
    resumed = model.resume(path)
    assert resumed._sequence.ids == ids
    tail = list(range(20))
    for sequence in (chat._sequence, resumed._sequence):
        (logits,) = model.engine.forward([(sequence, tail, range(20))])
        assert np.array_equal(logits, model.logits(ids + tail)[length:])


@pytest.mark.parametrize("positions", [1, 7, 8, 9, 40, 63])
def test_what_no_position_uses_is_not_written(model, saved, positions):
    """That memory may contain other conversations."""
    size, planes = model.engine.native.kv_block_bytes(), session_file.Planes(model.config, model.kv)
    used = planes.used(np.full(size, 255, np.uint8), positions)
    assert used.shape == planes.shape(positions)
    assert used.nbytes == size * (-(-positions // 8) * 8) // 64
    assert np.count_nonzero(used) == size * positions // 64
    mask = planes.block(used, positions) == 255
    assert np.count_nonzero(mask) == size * positions // 64
    block = np.random.default_rng(1).integers(1, 256, size, dtype=np.uint8)
    assert np.array_equal(planes.block(planes.used(block, positions), positions), np.where(mask, block, 0))
    chat, path = saved
    per_position = size // 64
    assert chat.cached_tokens % 64
    assert path.stat().st_size < 16384 + chat.cached_tokens * (per_position + 4) + 8 * per_position


PROGRAM = """
import sys, qwen3cpu
folder, path, kv = sys.argv[1:]
model = qwen3cpu.load(folder, quant="f32", kv=kv, threads=2)
chat = model.resume(path)
before = model.engine.native.counters()["tokens"]
result = chat.send("and now?", seed=2, speculate=False)
print(list(result.token_ids), model.engine.native.counters()["tokens"] - before)
"""


@pytest.mark.parametrize("isa", [None, "scalar"])
def test_a_new_process_goes_on_with_the_same_tokens(model, folder, saved, isa):
    chat, path = saved
    run = run_code(PROGRAM, folder, path, model.kv, **({"QWEN3CPU_ISA": isa} if isa else {}))
    assert (run.returncode, run.stderr) == (0, "")
    result = chat.send("and now?", seed=2)
    new = result.usage.prompt_tokens - result.usage.cached_tokens + len(result.token_ids) - 1
    assert run.stdout.split("] ") == [str(list(result.token_ids))[:-1], f"{new}\n"]


def test_options_survive_and_give_way(model, tmp_path):
    path = tmp_path / "chat.session"
    options = {"stop": {"b", "a"}, "logit_bias": {5: -1.5}, "seed": np.int64(3), "max_new_tokens": 4}
    chat = model.chat("sys", prepare="idle", **options)
    expected = chat.send("hello")
    chat.wait_prepared()
    chat.save(path)
    resumed = model.resume(path, max_new_tokens=6)
    assert resumed.options == {"stop": ["a", "b"], "logit_bias": {5: -1.5}, "seed": 3, "max_new_tokens": 6}
    assert resumed.cached_tokens == chat.cached_tokens
    *_, last = resumed.retry(max_new_tokens=4)
    assert last.result.token_ids == expected.token_ids
    resumed.wait_prepared()
    chat.close()


def test_saving_again_replaces_the_file(model, saved):
    chat, path = saved
    chat.send("more")
    chat.save(path)
    assert model.resume(path).messages == chat.messages
    assert list(path.parent.iterdir()) == [path]


def test_saving_lets_the_preparation_go_on(model, tmp_path):
    chat = model.chat("sys " * 40, prepare="idle", **OPTIONS)
    chat.send("hello")
    chat.save(tmp_path / "chat.session")
    chat.wait_prepared()
    prompts = [
        model.answerer.encode([*chat.messages, {"role": "user", "content": c}], model.answerer.request()) for c in "ab"
    ]
    assert chat.cached_tokens == qwen3cpu.engine.sequence.common_prefix(*prompts)


# Refusals


def test_every_flipped_byte_is_refused(model, saved):
    _, path = saved
    data = path.read_bytes()
    rng = random.Random(1)
    header = 8 + int.from_bytes(data[:8], "little")
    places = [*range(120), *rng.sample(range(header), 150), *rng.sample(range(header, len(data)), 250), len(data) - 1]
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(qwen3cpu.SessionError, match=r"chat\.session"):
            model.resume(path)
    path.write_bytes(data)
    model.resume(path)
    assert len(places) > 500


def test_every_cut_is_refused(model, saved):
    _, path = saved
    data = path.read_bytes()
    rng = random.Random(2)
    for length in [*range(20), *rng.sample(range(len(data)), 100), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(qwen3cpu.SessionError, match=r"chat\.session"):
            model.resume(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(qwen3cpu.SessionError, match="found"):
        model.resume(path)
    # Pieces that changed places.
    path.write_bytes(data[:-2000] + data[-1000:] + data[-2000:-1000])
    with pytest.raises(qwen3cpu.SessionError, match="damaged"):
        model.resume(path)


def test_another_model_is_refused(folder, tmp_path):
    model = load(folder)
    chat = model.chat(**OPTIONS)
    chat.send("hello " * 30)
    path = tmp_path / "chat.session"
    chat.save(path)
    other = checkpoints.write_checkpoint(tmp_path / "other", head_dim=34, max_position_embeddings=2048).folder
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}
    wrong = [
        (load(other), "fingerprint: expected"),
        (load(folder, quant="bf16"), "quant: expected bf16, found 'f32'"),
        (load(folder, kv="q8"), "kv: expected q8, found 'f16'"),
        (load(folder, rope_scaling=yarn), "rope: expected"),
        (load(folder, activations="int16"), "activations: expected int16, found 'int8'"),
        (load(folder, context=40), "expected at most 39 positions"),
    ]
    for each, message in wrong:
        with pytest.raises(qwen3cpu.SessionError, match=message):
            each.resume(path)
        assert each.engine.native.kv_blocks_in_use() == 0
    # A longer or shorter context that can hold it, and a copy of the folder, count as the same model.
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert load(copy, context=500).resume(path).messages == chat.messages


def test_other_files_are_refused(model, folder, tmp_path):
    for path in (folder / "model.safetensors", folder / "config.json", folder, tmp_path / "none"):
        with pytest.raises(qwen3cpu.SessionError, match=path.name):
            model.resume(path)
    with pytest.raises(qwen3cpu.CheckpointError):
        qwen3cpu.load(saved_elsewhere(model, tmp_path))


def saved_elsewhere(model, tmp_path):
    path = tmp_path / "chat.session"
    chat = model.chat()
    chat.save(path)
    return path


def forged(path, change):
    """Write the file again, sealed, with metadata and tensors that `change` has modified."""
    file = SafetensorsFile(path)
    metadata = {name: text for name, text in file.metadata.items() if name not in ("header_sha256", "format")}
    data = {name: (entry.dtype, list(entry.shape), file.raw(name).copy()) for name, entry in file.tensors.items()}
    change(metadata, data)
    sums = {name: session_file.hashlib.sha256(raw.data).hexdigest() for name, (_, _, raw) in data.items()}
    metadata.setdefault("sha256", "")
    metadata["sha256"] = json.dumps(sums)
    tensors = [(name, dtype, shape, raw.nbytes) for name, (dtype, shape, raw) in data.items()]
    header = sealed.seal("qwen3cpu-session", metadata, tensors)
    path.write_bytes(header + b"".join(raw.tobytes() for _, _, raw in data.values()))


def in_conversation(**changes):
    def change(metadata, data):
        metadata["conversation"] = json.dumps({**json.loads(metadata["conversation"]), **changes})

    return change


def an_id(value):
    def change(metadata, data):
        data["ids"][2].view("<i4")[3] = value

    return change


def without(name):
    return lambda metadata, data: metadata.pop(name, None) or data.pop(name, None)


NEVER_WRITTEN = [
    (an_id(-1), "ids: expected 0 to"),
    (an_id(1 << 30), "ids: expected 0 to"),
    (without("ids"), "tensors: expected"),
    (without("last"), "tensors: expected"),
    (without("conversation"), "conversation"),
    (without("kv"), "kv: expected"),
    (without("format_version"), "format_version: expected 2, found null"),
    (lambda metadata, data: metadata.update(format_version="9"), "another version"),
    (lambda metadata, data: metadata.update(conversation="\ud800"), "conversation"),
    (lambda metadata, data: data.update(more=("U8", [1], np.zeros(1, np.uint8))), "tensors: expected"),
    (lambda metadata, data: data["blocks"][1].reverse(), "tensors: expected"),
    (in_conversation(messages=3), "conversation"),
    (in_conversation(messages=[3]), "conversation"),
    (in_conversation(messages=[{"role": "wizard"}]), "wizard"),
    (in_conversation(options={"temperature": "hot"}), "temperature"),
    (in_conversation(options={"magic": 1}), "magic"),
    (in_conversation(options=3), "conversation"),
    (in_conversation(options=None), "conversation"),
    (in_conversation(options={"logit_bias": {"x": 1}}), "conversation"),
    (in_conversation(prepare="always"), "prepare"),
]
"""(change of the metadata and tensors of a saved conversation, expected error)"""


def test_what_save_never_writes_is_refused(model, saved):
    chat, path = saved
    good = path.read_bytes()
    forged(path, lambda metadata, data: None)
    resumed = model.resume(path)
    assert resumed.messages == chat.messages
    resumed.close()
    gc.collect()
    gc.freeze()  # so that each of the collections below is fast
    for change, message in NEVER_WRITTEN:
        path.write_bytes(good)
        forged(path, change)
        with pytest.raises(qwen3cpu.SessionError, match=message):
            model.resume(path)
        gc.collect()
        assert model.engine.native.kv_blocks_in_use() == len(chat._sequence.native.block_ids()), message


def test_the_callers_own_mistakes_are_told_apart(model, saved):
    with pytest.raises(qwen3cpu.ArgumentError, match="temperature"):
        model.resume(saved[1], temperature="hot")


def test_what_cannot_be_written_leaves_the_old_file(model, saved):
    chat, path = saved
    before = path.read_bytes()
    chat.messages[0]["note"] = object()
    with pytest.raises(qwen3cpu.ArgumentError, match="a object in it cannot be saved"):
        chat.save(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(qwen3cpu.SessionError, match="cannot be written"):
        model.chat().save(path.parent / "no" / "such" / "folder")


def test_only_a_saved_conversation_is_replaced(model, folder, saved, tmp_path):
    """Anything else at the path stays: a text, a packed model, a link, a FIFO, a folder."""
    chat, path = saved
    text, packed, link, fifo = (tmp_path / name for name in ("notes.txt", "m.q3c", "link", "fifo"))
    text.write_text("mine")
    qwen3cpu.pack(folder, packed, quant="q8")
    link.symlink_to(path)
    os.mkfifo(fifo)
    before = {each: each.read_bytes() for each in (text, packed, path)}
    for other in (text, packed, link, fifo, tmp_path, "/dev/null"):
        with pytest.raises(qwen3cpu.ArgumentError, match="path: expected no file or a saved conversation to replace"):
            chat.save(other)
    assert all(each.read_bytes() == data for each, data in before.items())
    assert link.is_symlink()
    for wrong in (None, 5, b"a", "", "\0", "\ud800", "x" * 100_000):
        with pytest.raises(qwen3cpu.ArgumentError, match=r"^path: expected a path"):
            chat.save(wrong)
        with pytest.raises(qwen3cpu.ArgumentError, match=r"^path: expected a path"):
            model.resume(wrong)
    with pytest.raises(qwen3cpu.SessionError, match="File name too long"):
        chat.save("x" * 5000)
