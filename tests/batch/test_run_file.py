"""`run_file`: answers are those of the model alone, in any order; other jobs are refused; no line is answered twice."""

import json

import numpy as np
import pytest
from batch_jobs import chat_line, mixed_lines

import qwen3cpu
from qwen3cpu.batch import run_file
from qwen3cpu.batch import running as running_module
from qwen3cpu.batch.journal import Journal, journal_path
from qwen3cpu.errors import ArgumentError
from qwen3cpu.generation.line_seed import line_seed


def results(output):
    return [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]


def test_each_answer_is_that_of_the_model_alone_with_the_seed_of_its_line(model, job):
    source, output = job(
        [
            {"prompt": "hello", "max_new_tokens": 9},
            "",
            chat_line("one", "hello", max_tokens=9),
            {"prompt": "hello", "max_tokens": 9, "seed": 11, "custom_id": "two"},
            chat_line("three", "hello", max_tokens=9, seed=11),
        ]
    )
    summary = run_file(model, source, output, seed=3)
    assert (summary.lines, summary.errors, summary.first_error, summary.kept) == (4, 0, None, 0)
    plain, one, two, three = results(output)
    expected = model.generate("hello", max_new_tokens=9, seed=line_seed(3, 1))
    assert plain["line"] == 1
    assert plain["custom_id"] is None
    assert plain["result"]["token_ids"] == list(expected.token_ids)
    assert plain["result"]["seed"] == line_seed(3, 1)
    message = one["response"]["body"]["choices"][0]["message"]
    expected = model.generate("hello", max_new_tokens=9, seed=line_seed(3, "one"))
    assert message["reasoning_content"] == expected.reasoning
    assert one["response"]["body"]["seed"] == line_seed(3, "one")
    assert two["result"]["seed"] == three["response"]["body"]["seed"] == 11
    assert two["result"]["reasoning"] == three["response"]["body"]["choices"][0]["message"]["reasoning_content"]


@pytest.mark.parametrize(("most", "prefix_cache"), [(4, 0), (64, 1 << 20)])
def test_company_does_not_change_the_file(job, tmp_path, monkeypatch, most, prefix_cache):
    source, output = job(mixed_lines(60))
    expected = tmp_path / "expected.jsonl"
    run_file(qwen3cpu.load("tiny", threads=1), source, expected)
    monkeypatch.setattr("qwen3cpu.batch.answering.MOST_SMALL", most)
    run_file(qwen3cpu.load("tiny", threads=2, prefix_cache=prefix_cache), source, output)
    assert output.read_bytes() == expected.read_bytes()


def test_memory_that_runs_short_sets_answers_aside(job, tmp_path, monkeypatch):
    lines = [{"prompt": f"Count to {number}", "max_new_tokens": 400, "ignore_eos": True} for number in range(8)]
    source, output = job(lines)
    expected = tmp_path / "expected.jsonl"
    model = qwen3cpu.load("tiny", threads=1, context=512)
    run_file(model, source, expected)
    preempted = []
    preempt = running_module.Answer.preempt
    monkeypatch.setattr(running_module.Answer, "preempt", lambda self: preempted.append(preempt(self)))
    model.engine.prefix_cache.clear()
    run_file(model, source, output, kv_bytes=40 * model.engine.kv_block_bytes)
    assert preempted
    assert output.read_bytes() == expected.read_bytes()


def test_a_second_run_does_nothing(model, job, monkeypatch):
    source, output = job(mixed_lines(12))
    first = run_file(model, source, output)
    before = output.read_bytes()
    monkeypatch.setattr(Journal, "__init__", None)
    second = run_file(model, source, output)
    assert (second.lines, second.errors, second.first_error, second.kept) == (12, first.errors, first.first_error, 12)
    assert output.read_bytes() == before


def stopped(model, source, output, monkeypatch, after=5, **more):
    """Run a job that ends with Ctrl-C after this many answered lines."""
    add, count = Journal.add, []

    def stop(self, *args, **kwargs):
        add(self, *args, **kwargs)
        count.append(1)
        if len(count) == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", stop)
        with pytest.raises(KeyboardInterrupt):
            run_file(model, source, output, **more)
    assert not output.exists()
    assert model.engine.kv_blocks_in_use * model.engine.kv_block_bytes == model.engine.prefix_cache.size


def test_it_goes_on_after_ctrl_c(model, job, tmp_path, monkeypatch):
    source, output = job(mixed_lines(20))
    stopped(model, source, output, monkeypatch)
    assert run_file(model, source, output).kept == 5
    run_file(model, source, tmp_path / "again.jsonl")
    assert output.read_bytes() == (tmp_path / "again.jsonl").read_bytes()


def test_a_damaged_record_is_made_again(model, job, tmp_path, monkeypatch):
    source, output = job(mixed_lines(20))
    stopped(model, source, output, monkeypatch)
    journal = journal_path(output)
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"id", b"ID", 1)
    journal.write_bytes(b"".join(lines))
    assert run_file(model, source, output).kept == 4
    run_file(model, source, tmp_path / "again.jsonl")
    assert output.read_bytes() == (tmp_path / "again.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "another seed: expected 0, found 1"),
        ({"temperature": 0.5}, 'another options: expected {}, found {"temperature": 0.5}'),
        ({"model_name": "other"}, 'another model name: expected "tiny", found "other"'),
    ],
)
def test_another_job_is_refused(model, job, monkeypatch, change, named):
    source, output = job(mixed_lines(20))
    stopped(model, source, output, monkeypatch)
    with pytest.raises(ArgumentError) as refused:
        run_file(model, source, output, **change)
    assert named in str(refused.value)
    assert "--restart" in str(refused.value)
    assert run_file(model, source, output, restart=True, **change).kept == 0


def test_another_input_or_weight_format_is_refused(model, job, monkeypatch):
    source, output = job(mixed_lines(20))
    stopped(model, source, output, monkeypatch)
    with pytest.raises(ArgumentError, match='another weight format: expected "q4", found "q8"'):
        run_file(qwen3cpu.load("tiny", threads=1, quant="q8"), source, output)
    with open(source, "ab") as file:
        file.write(b"\n")
    with pytest.raises(ArgumentError, match="another input file"):
        run_file(model, source, output)


def test_other_weights_of_the_same_source_are_refused(model, job, monkeypatch):
    source, output = job(mixed_lines(20))
    stopped(model, source, output, monkeypatch)
    other = qwen3cpu.load("tiny", threads=1)
    # A model whose file was rounded in another way has the same fingerprint.
    monkeypatch.setattr(type(other), "logits", lambda self, ids: np.zeros((len(ids), 4), np.float32))
    with pytest.raises(ArgumentError, match="another rounding of the weights"):
        run_file(other, source, output)


def test_an_output_of_another_job_is_refused(model, job):
    source, output = job([{"prompt": "a", "max_tokens": 2}])
    output.write_text("precious\n")
    with pytest.raises(ArgumentError, match="expected no such file, or the output of this job"):
        run_file(model, source, output)
    with pytest.raises(ArgumentError, match="expected no file or answers of a batch to replace"):
        run_file(model, source, output, restart=True)
    assert output.read_text() == "precious\n"
    output.write_bytes(b"")
    run_file(model, source, output, restart=True)
    first = output.read_bytes()
    with pytest.raises(ArgumentError, match="expected no such file"):
        run_file(model, source, output, seed=1)
    output.write_bytes(first * 2)
    with pytest.raises(ArgumentError, match="expected no such file"):
        run_file(model, source, output)


def test_a_file_that_is_no_journal_is_left_alone(model, job):
    source, output = job([{"prompt": "a", "max_tokens": 2}])
    journal_path(output).write_text("precious\n")
    with pytest.raises(ArgumentError, match="expected the journal of a job, found something else"):
        run_file(model, source, output)
    assert journal_path(output).read_text() == "precious\n"


def test_two_processes_do_not_work_on_one_output(model, job):
    source, output = job([{"prompt": "a", "max_tokens": 2}, {"prompt": "b", "max_tokens": 2}])

    class Second:
        def start(self, *args):
            with pytest.raises(ArgumentError, match="another process is working on it"):
                run_file(model, source, output)
            with pytest.raises(ArgumentError, match="another process is working on it"):
                run_file(model, source, output, restart=True)

        def advance(self, n):
            pass

    assert run_file(model, source, output, progress=Second()).errors == 0


def test_an_input_that_changes_meanwhile_ends_the_job(model, job):
    source, output = job([{"prompt": f"{'word ' * 50}{number}", "max_tokens": 2} for number in range(80)])

    class Changes:
        def start(self, *args):
            pass

        def advance(self, n):
            with open(source, "r+b") as file:  # in place: another thread reads the lines that come next
                if (place := file.read().find(b" 79")) >= 0:
                    file.seek(place)
                    file.write(b" 80")

    with pytest.raises(ArgumentError, match=r"in.jsonl:80: the file has been changed"):
        run_file(model, source, output, progress=Changes())


def test_options_of_the_job_hold_where_a_line_has_none(model, job):
    source, output = job([{"prompt": "a"}, {"prompt": "a", "max_tokens": 3}, {"prompt": "a", "max_new_tokens": None}])
    run_file(model, source, output, max_new_tokens=5, ignore_eos=True, logit_bias={7: -100.0})
    assert [len(each["result"]["token_ids"]) for each in results(output)] == [5, 3, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"deadline": 1.0}, "deadline: expected none in a job"),
        ({"num_return_sequences": 2}, "num_return_sequences: expected none in a line"),
        ({"tools": [len]}, "options: expected what JSON can carry"),
        ({"temprature": 1}, "did you mean 'temperature'"),
        ({"seed": -1}, "seed: expected a whole number"),
    ],
)
def test_wrong_options_are_refused_at_once(model, job, options, message):
    source, output = job([{"prompt": "a"}])
    with pytest.raises(ArgumentError, match=message):
        run_file(model, source, output, **options)
    assert not journal_path(output).exists()


def test_an_empty_input_has_an_empty_output(model, job):
    source, output = job([])
    assert run_file(model, source, output).lines == 0
    assert output.read_bytes() == b""


def test_what_cannot_be_written_is_told(model, job, tmp_path):
    source, _ = job([{"prompt": "a"}])
    with pytest.raises(ArgumentError, match="cannot be written: No such file"):
        run_file(model, source, tmp_path / "nowhere" / "out.jsonl")
    with pytest.raises(ArgumentError, match="cannot be read: No such file"):
        run_file(model, tmp_path / "nothing.jsonl", tmp_path / "out.jsonl")
    with pytest.raises(ArgumentError, match="expected a regular file"):
        run_file(model, "/dev/null", tmp_path / "out.jsonl")
