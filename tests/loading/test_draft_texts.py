"""Files of texts to draft from: answers stay the same; damaged files and those of other tokenizers are refused."""

import pickle

import pytest
from checkpoints import write_checkpoint
from drafters import Free, timeless

import qwen3cpu
from qwen3cpu.cli.main import main
from qwen3cpu.packed.draft_file import DraftFile

QUESTION = "What is 17 + 25?"
TEXTS = ["The sky is blue, and the sea is green.", "What is 17 + 25? 42", ""]


@pytest.fixture(scope="module")
def answers():
    """Earlier answers of the embedded model, with their prompts."""
    model = qwen3cpu.load("tiny", threads=1)
    prompts = [QUESTION, "Tell me a story.", "Anna has 3 apples and buys 4. How many has she?"]
    return prompts, [model.generate(prompt, seed=1, max_new_tokens=120) for prompt in prompts]


@pytest.fixture(scope="module")
def file(tmp_path_factory, answers):
    path = tmp_path_factory.mktemp("drafts") / "answers.drafts"
    texts = [result.reasoning + "\n</think>\n\n" + result.text for result in answers[1]]
    assert qwen3cpu.write_drafts("tiny", texts, path) == len(DraftFile(path).tokens) - 3
    return path


def test_answers_are_those_without(file, answers):
    model = qwen3cpu.load("tiny", threads=1, drafts_from=file)
    model.engine.pass_times = Free()
    accepted = 0
    for prompt, result in zip(*answers, strict=True):
        before = model.engine.native.counters()["calls"]
        found = model.generate(prompt, seed=1, max_new_tokens=120)
        assert timeless(found) == timeless(result)
        accepted += found.timings.accepted
        saved = len(found.token_ids) - (model.engine.native.counters()["calls"] - before)
        assert saved >= 0.5 * found.timings.accepted
    assert accepted > 0.6 * sum(len(result.token_ids) for result in answers[1])
    together = model.generate_batch(answers[0], seed=1, max_new_tokens=120)
    assert [each.token_ids for each in together] == [each.token_ids for each in answers[1]]
    others = {"seed": 4, "temperature": 1.1, "max_new_tokens": 60}
    plain = model.generate(answers[0][1], speculate=False, **others)
    assert timeless(model.generate(answers[0][1], **others)) == timeless(plain)


def test_a_file_of_another_tokenizer_is_refused(file, tmp_path):
    folder = write_checkpoint(tmp_path / "model").folder
    with pytest.raises(qwen3cpu.DraftFileError, match=r"expected the tokenizer of .*model, found texts of another tok"):
        qwen3cpu.load(folder, drafts_from=file)


def test_a_model_that_writes_no_text_is_refused(file):
    with pytest.raises(qwen3cpu.ArgumentError, match="expected a model that writes text"):
        qwen3cpu.load("tiny-embedding", drafts_from=file)


def test_damaged_files_are_refused(file, tmp_path):
    whole = file.read_bytes()
    damaged = tmp_path / "damaged"
    cuts = [0, 1, 7, 8, 100, 4095, 4096, len(whole) // 2, len(whole) - 1]
    for data in (whole[:cut] for cut in cuts):
        damaged.write_bytes(data)
        with pytest.raises(qwen3cpu.DraftFileError, match="damaged"):
            DraftFile(damaged)
    for place in (0, 30, 60, 200, 4000, 4096, len(whole) - 300, len(whole) - 1):
        data = bytearray(whole)
        data[place] ^= 4
        damaged.write_bytes(data)
        with pytest.raises(qwen3cpu.DraftFileError, match=str(damaged)):
            DraftFile(damaged)
    damaged.write_bytes(whole + b"\0" * 64)
    with pytest.raises(qwen3cpu.DraftFileError, match=str(damaged)):
        DraftFile(damaged)
    with pytest.raises(qwen3cpu.DraftFileError, match="nowhere"):
        qwen3cpu.load("tiny", drafts_from=tmp_path / "nowhere")


def test_a_file_that_was_cut_meanwhile_ends_nothing(file, tmp_path):
    path = tmp_path / "own"
    path.write_bytes(file.read_bytes())
    model = qwen3cpu.load("tiny", threads=1, drafts_from=path)
    expected = model.generate(QUESTION, seed=1, max_new_tokens=60)
    path.write_bytes(b"")
    assert timeless(model.generate(QUESTION, seed=1, max_new_tokens=60)) == timeless(expected)


@pytest.mark.parametrize("at", ["a text", "the sorting", "the writing"])
def test_ctrl_c_leaves_nothing(tmp_path, monkeypatch, at):
    def interrupted(*_):
        raise KeyboardInterrupt

    def texts():
        yield TEXTS[0]
        if at == "a text":
            raise KeyboardInterrupt

    if at != "a text":
        name = {"the sorting": "loading.draft_texts.sorted_places", "the writing": "packed.sealed_file.os.replace"}[at]
        monkeypatch.setattr(f"qwen3cpu.{name}", interrupted)
    with pytest.raises(KeyboardInterrupt):
        qwen3cpu.write_drafts("tiny", texts(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written(tmp_path):
    other = tmp_path / "other"
    other.write_text("somebody's")
    for path, words in ((other, "found something else"), (tmp_path / "no" / "folder", "cannot be written")):
        with pytest.raises(qwen3cpu.DraftFileError, match=words):
            qwen3cpu.write_drafts("tiny", TEXTS, path)
    assert other.read_text() == "somebody's"
    for texts in ([], ["", ""]):
        with pytest.raises(qwen3cpu.ArgumentError, match="expected at least one token"):
            qwen3cpu.write_drafts("tiny", texts, tmp_path / "out")
    assert qwen3cpu.write_drafts("tiny", TEXTS, tmp_path / "out") > 10
    assert qwen3cpu.write_drafts("tiny", TEXTS[:1], tmp_path / "out") < 25  # replaced


def test_a_pickled_model_finds_its_files_again(file, tmp_path, monkeypatch):
    monkeypatch.chdir(file.parent)
    data = pickle.dumps(qwen3cpu.load("tiny", threads=1, draft="tiny", drafts_from=file.name))
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(data)
    assert again.draft_model.source == "tiny"
    assert len(again.answerer.surroundings.make_drafters()) == 3


def test_the_command(tmp_path, capsys):
    text, lines, out = tmp_path / "a.txt", tmp_path / "b.jsonl", tmp_path / "out"
    text.write_text("one two three")
    lines.write_text(
        '{"id": "1", "result": {"text": "four five"}, "error": null}\n\n'
        '{"response": {"body": {"choices": [{"message": {"content": "six"}}, {"text": "seven"}, 3]}}}\n'
        '{"result": null, "error": {"message": "no"}}\n{"choices": [{"message": null}]}\n'
        '{"response": 5, "text": "eight"}\n'
    )
    assert main(["drafts", str(text), str(lines), "-o", str(out)]) == 0
    assert "MB" in capsys.readouterr().err
    ids, found = DraftFile(out).tokens.tolist(), []
    while ids:
        end = ids.index(-1)
        found.append(qwen3cpu.load("tiny", threads=1).tokenizer.decode(ids[:end]))
        del ids[: end + 1]
    assert found == ["one two three", "four five", "six", "seven", "eight"]
    flags = ["generate", QUESTION, "--seed", "1", "-n", "20", "--threads", "1"]
    assert main(flags) == 0
    expected = capsys.readouterr().out
    assert main([*flags, "--drafts-from", str(out)]) == 0
    assert capsys.readouterr().out == expected
    for line, message in (
        ("[]", "b.jsonl:2: expected a JSON object"),
        ("[" * 100_000, "b.jsonl:2: expected a JSON object"),
        ('{"choices": 5}', "b.jsonl:2: choices: expected a list, found int"),
    ):
        lines.write_text(f'{{"text": "ok\u2028\u0085"}}\n{line}\n')
        assert main(["drafts", str(lines), "-o", str(out)]) == 2
        (told,) = capsys.readouterr().err.splitlines()
        assert message in told
