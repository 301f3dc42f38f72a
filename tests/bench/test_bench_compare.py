"""bench/compare.py with a script instead of llama.cpp, and with llama.cpp itself if it is installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from support.scripts import script_module

# Takes twice as long for every token of a prompt as for one that it decodes, and logs its requests.
PEER = """
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    answer = {"version": "0", "system": "played", "bytes": 0}
    if request["op"] == "write":
        open(request["path"], "w").write(request["kind"])
    if request["op"] == "run":
        case = request["case"]
        tokens = case["batch"] * (case["n_prompt"] or case["n_gen"])
        answer = {"tokens": tokens, "seconds": tokens * (2 if case["n_prompt"] else 1), "peak_rss_bytes": 5}
    with open(sys.argv[1] + ".log", "a") as log:
        log.write(line)
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    return script_module("bench/compare.py")


@pytest.fixture(scope="module")
def peer_llama() -> ModuleType:
    return script_module("bench/peer_llama.py")


@pytest.fixture
def played(tmp_path: Path, compare: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for GGUF files, with the script PEER as the peer; its log is next to the script."""
    script = tmp_path / "peer.py"
    script.write_text(PEER)
    own_worker = compare.Worker

    def worker(name: str, command: Any = None, environment: Any = None) -> Any:
        if command is None:
            return own_worker(name, environment=environment)
        return own_worker(name, (sys.executable, str(script), str(script)))

    monkeypatch.setattr(compare, "Worker", worker)
    return tmp_path


def run(compare: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["compare.py", *arguments])
    code: int = compare.main()
    return code


def test_table_of_cases(compare: ModuleType) -> None:
    """The cases and floors that docs/benchmarks.md lists."""
    found = {duel.name: duel.floor for duel in compare.duels(2, 64, "avx2")}
    assert found == {
        "q4 decode 64 on 2 threads": 1.4,
        "q4 prompt 512 on 2 threads": 2.6,
        "q4 decode 64 after 4096 on 2 threads": 3.8,
        "q4 decode 64 after 16384 on 2 threads": 5.0,
        "q4 prompt 4096 on 2 threads": 2.5,
        "q4 decode 64 on 1 thread": 1.4,
        "q4 prompt 512 on 1 thread": 2.3,
        "q4 decode 64 of 8 sequences on 2 threads": None,
        "q8 decode 64 on 2 threads": 1.35,
        "q8 prompt 512 on 2 threads": 1.8,
        "bf16 decode 64 on 2 threads": 1.15,
    }
    prompts = {isa: compare.duels(2, 64, isa)[1].floor for isa in ("amx", "avx512vnni", "avxvnni", "neon")}
    assert prompts == {"amx": 4.0, "avx512vnni": 2.2, "avxvnni": 2.5, "neon": None}


def test_engines_take_turns_and_medians_are_compared(
    compare: ModuleType, played: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--size",
        "test",
        "-t",
        "1",
        "-n",
        "4",
        "-r",
        "3",
        "--at-most",
        "3",
        "--gguf-folder",
        str(played),
        "-o",
        "json",
    ]
    assert run(compare, monkeypatch, *arguments, "--cases", "q4 decode 4 on", "8 sequences", "bf16") == 0
    printed = json.loads(capsys.readouterr().out)
    assert [case["name"] for case in printed["cases"]] == [
        "q4 decode 4 on 1 thread",
        "q4 decode 4 of 8 sequences on 1 thread",
        "bf16 decode 4 on 1 thread",
    ]
    for case in printed["cases"]:
        assert len(case["tokens_per_second"]["runs"]) == len(case["peer_tokens_per_second"]["runs"]) == 3
        assert case["peer_tokens_per_second"]["median"] == 1
        assert case["ratio"] == case["tokens_per_second"]["median"]
        assert case["peer_peak_rss_bytes"] == 5
        assert len(case["int8_gmac_s"]["runs"]) == len(case["int8_gmac_s_one"]["runs"]) == 3
    assert [peer["system"] for peer in printed["peers"].values()] == ["played"]
    log = [json.loads(line) for line in (played / "peer.py.log").read_text().splitlines()]
    assert [request["op"] for request in log] == ["write", "open", *["run"] * 8, "write", "open", *["run"] * 4]
    assert log[0]["shape"]["head_dim"] == 32
    assert sorted(path.name for path in played.glob("*.gguf")) == ["test-BF16.gguf", "test-Q4_0.gguf"]


def test_a_kept_file_is_not_written_again(
    compare: ModuleType, played: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (played / "test-Q8_0.gguf").write_text("kept")
    arguments = ["--size", "test", "-t", "1", "--quick", "--gguf-folder", str(played), "--cases", "q8 prompt"]
    assert run(compare, monkeypatch, *arguments) == 0
    assert "q8 prompt 512 on 1 thread; Q8_0" in capsys.readouterr().out
    log = [json.loads(line) for line in (played / "peer.py.log").read_text().splitlines()]
    assert [request["op"] for request in log] == ["open", *["run"] * 3]


def test_markdown_says_where_a_floor_was_missed(compare: ModuleType) -> None:
    def outcome(ratio: float, batch: int = 1) -> Any:
        spread = compare.Spread.of([10.0 * ratio])
        return compare.Outcome(
            name="a case",
            isa="avx2",
            case={"n_prompt": 0, "n_gen": 8, "depth": 0, "batch": batch, "quant": "q4", "threads": 2},
            tokens_per_second=spread,
            peer_type="Q4_0",
            peer_tokens_per_second=compare.Spread.of([10.0]),
            ratio=ratio,
            ratios=compare.Spread.of([ratio] * 6),
            floor=1.5 if batch == 1 else None,
            bytes_per_token=1e9,
            read_gb_s=20.0,
            read_percent=50.0,
            int8_gmac_s=compare.Spread.of([30.0, 90.0, 100.0]),
            int8_gmac_s_one=compare.Spread.of([80.0]),
            multiply_percent=1.0,
            peak_rss_bytes=2_000_000,
            peer_peak_rss_bytes=3_000_000,
        )

    text = compare.as_markdown([outcome(1.5), outcome(1.25), outcome(7.5, batch=8)])
    _, _, good, bad, together, _, peaks, _, last = text.splitlines()
    assert "| **1.50** (1.50 to 1.50) | 6, known to 0.0 % | 1.5 | 50 of 20.0 GB/s |" in good
    assert "on 2 (the threads share a multiplier, or clocks fall when all work) (it changed" in peaks
    assert "| 2; 3 |" in good
    assert "| 1.5 MISSED |" in bad
    assert "MISSED" not in together
    assert "5.00 times" in last
    assert compare.together([outcome(1.5)]) is None


def test_turns_go_on_until_the_ratio_is_known(
    compare: ModuleType, played: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A case ends after `least` turns when its runs agree, and after `most` when they never do."""
    arguments = ["--size", "test", "-t", "1", "-n", "4", "-r", "7", "--at-most", "9", "--gguf-folder", str(played)]
    for settled, turns in ((1e9, 7), (0, 9)):
        monkeypatch.setattr(compare, "SETTLED_PERCENT", settled)
        assert run(compare, monkeypatch, *arguments, "--cases", "q4 decode 4 on", "-o", "json") == 0
        (case,) = json.loads(capsys.readouterr().out)["cases"]
        assert len(case["ratios"]["runs"]) == turns


@pytest.mark.parametrize(
    ("runs", "percent"),
    [
        ([10.0] * 5, float("inf")),  # five values lie on one side of the median with probability 2 / 32: too likely
        ([8.0, 9.0, 10.0, 10.0, 11.0, 12.0], 40.0),
        ([5.0, 9.0, 10.0, 10.0, 10.0, 10.0, 10.0, 11.0, 50.0], 20.0),  # 20 of 512: the ends are left out
    ],
)
def test_how_well_a_median_is_known(compare: ModuleType, runs: list[float], percent: float) -> None:
    assert compare.Spread.of(runs).uncertain_percent == percent


def test_instruction_sets_need_their_builds(
    compare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(compare, monkeypatch, "--size", "test", "--isa", "avx2", "--peers", str(tmp_path)) == 2
    assert f"expected {tmp_path}/avx2/bin/python, found none" in capsys.readouterr().err


def test_bad_arguments(
    compare: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(compare, monkeypatch, "--size", "test", "--cases", "q9") == 2
    assert "q4 decode 64 after 4096" in capsys.readouterr().err
    arguments = ["--size", "test", "-t", "1", "--quick", "--cases", "bf16", "--peer-python", "/no/such/python"]
    assert run(compare, monkeypatch, *arguments) == 2
    assert "/no/such/python cannot be started" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "bits"), [("Q4_0", 4.5), ("Q8_0", 8.5), ("Q6_K", 6.5625), ("BF16", 16), ("F32", 32)])
def test_random_blocks_have_the_size_of_the_format(peer_llama: ModuleType, kind: str, bits: float) -> None:
    blocks = peer_llama.random_blocks(kind, 8, 512, np.random.default_rng(0))
    assert blocks.dtype == np.uint8
    assert blocks.shape == (8, bits * 512 / 8)


def test_random_blocks_hold_weights_of_a_sane_size(peer_llama: ModuleType) -> None:
    """Read back by the gguf package: spread near 1 / sqrt(cols), scales that are normal numbers in f16."""
    quants = pytest.importorskip("gguf.quants")
    gguf = pytest.importorskip("gguf")
    for kind in ("Q4_0", "Q8_0", "Q6_K", "BF16"):
        blocks = peer_llama.random_blocks(kind, 64, 2048, np.random.default_rng(0))
        values = quants.dequantize(blocks, gguf.GGMLQuantizationType[kind])
        assert values.shape == (64, 2048)
        assert values.std() * 2048**0.5 == pytest.approx(1, rel=0.1)


def test_head_of_a_q4_0_file_is_kept_in_more_bits(peer_llama: ModuleType) -> None:
    tied = {"tie_word_embeddings": True, "hidden_size": 2048}
    untied = {"tie_word_embeddings": False, "hidden_size": 4096}
    narrow = {"tie_word_embeddings": True, "hidden_size": 64}
    assert peer_llama.kind_of("token_embd.weight", "Q4_0", tied) == "Q6_K"
    assert peer_llama.kind_of("token_embd.weight", "Q4_0", untied) == "Q4_0"
    assert peer_llama.kind_of("output.weight", "Q4_0", untied) == "Q6_K"
    assert peer_llama.kind_of("token_embd.weight", "Q4_0", narrow) == "Q8_0"
    assert peer_llama.kind_of("blk.0.attn_q.weight", "Q4_0", tied) == "Q4_0"
    assert peer_llama.kind_of("token_embd.weight", "Q8_0", tied) == "Q8_0"


def test_llama_cpp_itself(
    compare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both engines on the test shape, in bf16, which every build of llama.cpp runs."""
    pytest.importorskip("llama_cpp")
    arguments = ["--size", "test", "-t", "1", "--quick", "--gguf-folder", str(tmp_path), "-o", "json"]
    assert run(compare, monkeypatch, *arguments, "--cases", "bf16") == 0
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    assert case["ratio"] > 0
