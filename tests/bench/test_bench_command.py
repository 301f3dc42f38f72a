"""qwen3cpu-bench from the command line to its records, on the test shape. No test depends on the speed."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_checkpoint

import qwen3cpu
from qwen3cpu import _native
from qwen3cpu.bench import main
from qwen3cpu.bench.drafting import best_length, break_even, expected_tokens, ratio

SWEEP = ["--synthetic", "test", "-p", "70", "-n", "6", "-d", "0,130", "-b", "1,3", "-t", "1", "-r", "2"]
REQUIRED = (
    *("n_prompt", "n_gen", "depth", "batch", "threads", "quant", "kv", "isa", "model"),
    *("tokens_per_second", "read_gb_s", "bytes_per_token", "peak_rss_bytes"),
)


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    """The output of `-o json` for SWEEP with two weight formats."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        assert main([*SWEEP, "--quant", "q4,bf16", "-o", "json"]) == 0
    assert errors.getvalue() == ""  # no progress line without a terminal
    loaded: list[dict[str, Any]] = json.loads(out.getvalue())
    return loaded


def test_every_combination_is_measured_once(records: list[dict[str, Any]]) -> None:
    found = [tuple(r[name] for name in ("quant", "batch", "depth", "n_prompt", "n_gen")) for r in records]
    expected = [
        (quant, batch, depth, *kind)
        for quant in ("q4", "bf16")
        for batch in (1, 3)
        for depth in (0, 130)
        for kind in ((70, 0), (0, 6))
    ]
    assert sorted(found) == sorted(expected)


def test_records_have_what_they_promise(records: list[dict[str, Any]]) -> None:
    for record in records:
        assert set(REQUIRED) <= set(record)
        speed = record["tokens_per_second"]
        assert len(speed["runs"]) == 2
        assert speed["min"] == min(speed["runs"])
        assert speed["max"] == max(speed["runs"])
        assert speed["median"] == statistics.median(speed["runs"])
        assert speed["min"] > 0
        assert record["isa"] == _native.chosen_isa()
        assert record["version"] == qwen3cpu.__version__
        assert record["kv"] == "f16"
        assert record["threads"] == 1
        assert 0 <= record["outside_engine_percent"] <= 100
        assert record["peak_rss_bytes"] > record["weight_bytes"]
        assert (record["first_token_seconds"] is None) == (record["n_prompt"] == 0)


def test_percentages_follow_from_the_other_fields(records: list[dict[str, Any]]) -> None:
    for record in records:
        speed = record["tokens_per_second"]["median"]
        read = 100 * speed * record["bytes_per_token"] / (1e9 * record["read_gb_s"])
        peak = record["int8_gmac_s"] if record["quant"] == "q4" else record["fp32_gmac_s"]
        multiplied = 100 * speed * record["macs_per_token"] / (1e9 * peak)
        assert record["read_percent"] == pytest.approx(read)
        assert record["multiply_percent"] == pytest.approx(multiplied)


def test_time_to_the_first_token_covers_the_prompt(records: list[dict[str, Any]]) -> None:
    for record in records:
        if record["n_prompt"]:
            runs = zip(record["first_token_seconds"]["runs"], record["tokens_per_second"]["runs"], strict=True)
            for first_token, speed in runs:
                assert 0 < first_token <= record["batch"] * record["n_prompt"] / speed


def test_csv_has_a_line_for_each_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SWEEP[:-1], "1", "-o", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 8
    for row in rows:
        assert float(row["tokens_per_second_median"]) > 0
        assert (row["first_token_seconds_median"] == "") == (row["n_prompt"] == "0")
        assert {row["quant"], row["kv"], row["isa"]} == {"q4", "f16", _native.chosen_isa()}


def test_markdown_puts_prompt_and_decode_of_one_setting_into_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--synthetic", "test", "-p", "16,32", "-n", "3", "-d", "0,64", "-t", "1,2", "-r", "1"]) == 0
    heading, _, *table = capsys.readouterr().out.splitlines()
    assert heading.startswith("Qwen3-test, random weights; ")
    assert _native.chosen_isa() in heading
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert len({len(row) for row in cells}) == 1
    names, _, *rows = cells
    settings = [tuple(row[names.index(name)] for name in ("threads", "depth", "prompt", "decode")) for row in rows]
    assert settings == [
        (threads, depth, *pair) for threads in ("1", "2") for depth in ("0", "64") for pair in (("16", "3"), ("32", ""))
    ]


def test_a_model_is_measured_as_it_lies_on_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "model"
    write_checkpoint(folder)
    assert main(["-m", str(folder), "-p", "8", "-n", "2", "-t", "1", "-r", "1", "-o", "json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["model"] for record in records] == [str(folder)] * 2
    assert [record["quant"] for record in records] == ["q4"] * 2
    assert all(0 < record["load_seconds"] < record["load_to_first_token_seconds"] for record in records)
    assert main(["-m", str(folder), "-p", "8", "-n", "0", "-t", "1", "-r", "1"]) == 0
    assert "q4, kv f16: first token " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--synthetic", "1.8B"], ["--synthetic", "1.8B"]),
        (["--synthetic", "test", "-d", "0,x"], ["-d", "'x'"]),
        (["--synthetic", "test", "-b", "0"], ["-b", "from 1 to", "'0'"]),
        (["--synthetic", "test", "--quant", "q4,q5"], ["--quant", "f32, bf16, q8, q4", "'q5'"]),
        (["--synthetic", "test", "--kv", "f8"], ["--kv", "f16", "'f8'"]),
        (["--synthetic", "test", "-m", "tiny"], ["-m", "--synthetic"]),
        ([], ["--model", "--synthetic"]),
        (["--synthetic", "test", "-r", "0"], ["-r", "from 1 to 1000", "'0'"]),
        (["--nope"], ["--nope"]),
    ],
)
def test_bad_arguments_are_refused(arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert message.startswith("qwen3cpu-bench: error: ")
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--synthetic", "test", "-p", "0", "-n", "0"], ["nothing to measure"]),
        (["--synthetic", "test", "-p", "0", "-n", "5", "-d", "1020"], ["1026 positions", "1024"]),
        (["-m", "no/such/folder"], ["no/such/folder", "none of them"]),
        (["--synthetic", "test", "--plot", "picture.jpg"], ["--plot", ".png", "picture.jpg"]),
        (["--synthetic", "test", "--plot", "no/folder/picture.png"], ["--plot", "no such folder"]),
    ],
)
def test_what_cannot_be_measured_is_explained(
    arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, message = capsys.readouterr()
    assert out == ""
    assert message.startswith("qwen3cpu-bench: error: ")
    for part in parts:
        assert part in message


def test_plot_is_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "picture.png"
    assert (
        main(["--synthetic", "test", "-p", "8", "-n", "2", "-d", "0,64", "-t", "1", "-r", "1", "--plot", str(path)])
        == 0
    )
    assert path.read_bytes().startswith(b"\x89PNG\r\n")
    assert list(tmp_path.iterdir()) == [path]


# The gain of a draft model


def with_draft(*more: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["--synthetic", "test", "--draft", "test", "-t", "1", "-r", "2", *more]) == 0
    return out.getvalue()


def test_a_draft_is_measured_and_what_follows_is_arithmetic() -> None:
    found = json.loads(with_draft("-d", "70", "-o", "json"))
    assert [len(each) for each in found["large"]] == [2] * 16
    assert len(found["small"]) == 2
    large, small = [statistics.median(each) for each in found["large"]], statistics.median(found["small"])
    assert [each["acceptance"] for each in found["gains"]] == [0.3, 0.5, 0.7, 0.8, 0.9]
    for each in found["gains"]:
        speeds = {}
        for length in range(16):
            tokens = sum(each["acceptance"] ** right for right in range(length + 1))
            speeds[length] = tokens / (large[length] + length * small)
        assert speeds[each["length"]] == max(speeds.values())
        assert each["tokens_per_second"] == pytest.approx(max(speeds.values()))
        assert each["quartiles"][0] <= each["ratio"] <= each["quartiles"][1]
    assert 0 < found["break_even"] <= 1


def test_the_forms_of_a_draft() -> None:
    text = with_draft()
    assert text.count("| **") == 5
    assert "Drafts pay from an acceptance of" in text
    rows = list(csv.DictReader(io.StringIO(with_draft("-o", "csv"))))
    assert [row["acceptance"] for row in rows] == ["0.3", "0.5", "0.7", "0.8", "0.9"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--draft", "0.5B"], "--draft: expected a size with --synthetic, one of"),
        (["--draft", "test", "-t", "1,2"], "--threads: expected one value with --draft, found 2"),
        (["--draft", "test", "--plot", "x.png"], "--plot: cannot be used with --draft"),
        (["--draft", "test", "-d", "1020"], "expected a context of 1036 positions, found 1024"),
    ],
)
def test_bad_drafts(more: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--synthetic", "test", *more]) == 2
    assert says in capsys.readouterr().err


def test_the_arithmetic_of_drafts() -> None:
    """Passes with more positions cost the same, a draft pass a tenth of them: computed by hand."""
    large = [1.0] * 4
    assert expected_tokens(0.5, 2) == 1.75
    assert ratio(large, 0.1, 0.5, 2) == pytest.approx(1.75 / 1.2)
    assert best_length(large, 0.1, 0.5) == 2  # 1.5 / 1.1, 1.75 / 1.2, 1.875 / 1.3
    assert break_even(large, 0.1) == pytest.approx(0.1)
    assert break_even(large, 4.0) == 1.0  # even four tokens for one pass take longer
