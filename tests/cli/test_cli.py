"""The command line: generate, inspect, and every kind of bad input with its exit code."""

import json
import re
import signal
import struct

import checkpoints
import pytest
from cli_runs import Terminal, run, run_code, run_here, start
from scripted_models import script, write_scripted

import qwen3cpu
from qwen3cpu.cli.main import main


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Thinks "ab" and answers "XYZ" to raw "Q"; answers messages without thinking by "XYZ" too."""
    follows = script(["Q", "<think>", "a", "b", "</think>", "\n", "X", "Y", "Z", "<|im_end|>"])
    return write_scripted(tmp_path_factory.mktemp("spoken"), follows)


# generate


def test_a_pipe_gets_the_answer_alone(spoken):
    done = run("generate", "Q", "--raw", "--model", spoken, "--temp", "0")
    assert (done.stdout, done.stderr, done.returncode) == ("XYZ\n", "", 0)


def test_the_prompt_may_come_from_stdin_or_a_file(spoken, tmp_path):
    (tmp_path / "prompt").write_text("Q")
    for extra, stdin in (((), "Q"), (("-",), "Q"), (("--file", tmp_path / "prompt"), "")):
        done = run("generate", "--raw", "-m", spoken, "--temp", "0", *extra, stdin=stdin)
        assert (done.stdout, done.stderr, done.returncode) == ("XYZ\n", "", 0)


def test_thinking_is_shown_on_a_pipe_only_when_asked(spoken, capsys):
    assert main(["generate", "Q", "--raw", "-m", str(spoken), "--temp", "0", "--show-thinking"]) == 0
    assert capsys.readouterr().out == "<think>\nab\n</think>\n\nXYZ\n"


def test_thinking_is_dimmed_on_a_terminal(spoken):
    with Terminal("generate", "Q", "--raw", "-m", spoken, "--temp", "0") as terminal:
        screen, code = terminal.end()
    assert code == 0
    assert "\x1b[2mab\x1b[0m\r\n\r\nXYZ\r\n" in screen
    assert re.search(r"answer 9 tokens, [0-9.]+/s", screen)
    with Terminal("generate", "Q", "--raw", "-m", spoken, "--temp", "0", NO_COLOR="1") as terminal:
        screen, _ = terminal.end()
    assert "ab\r\n\r\nXYZ\r\n" in screen
    assert "\x1b[2m" not in screen
    with Terminal("generate", "Q", "--raw", "-m", spoken, "--temp", "0", "--no-show-thinking") as terminal:
        screen, _ = terminal.end()
    assert "ab" not in screen


def test_a_model_cannot_steer_the_terminal(tmp_path):
    folder = write_scripted(tmp_path, script(["Q", "\x1b", "[", "\x07", "m", "<|im_end|>"]))
    with Terminal("generate", "Q", "--raw", "-m", folder, "--temp", "0", NO_COLOR="1") as terminal:
        screen, _ = terminal.end()
    assert "�[�m\r\n" in screen
    assert run("generate", "Q", "--raw", "-m", folder, "--temp", "0").stdout == "\x1b[\x07m\n"


def test_json_is_the_result(random, capsys):
    flags = ["--seed", "5", "--temp", "1.2", "--top-k", "30", "--top-p", "0.9", "--min-p", "0.01", "-n", "12"]
    flags += ["--repeat-penalty", "1.1", "--presence-penalty", "0.5", "--frequency-penalty", "0.25", "--logprobs", "2"]
    flags += ["--top-n-sigma", "2.5", "--typical", "0.95", "--xtc-probability", "0.5", "--xtc-threshold", "0.05"]
    flags += ["--dry-multiplier", "0.8", "--dry-base", "1.5", "--dry-allowed-length", "1", "--dry-penalty-last-n", "-1"]
    flags += ["--dry-sequence-breaker", "none", "--dry-sequence-breaker", "x", "--dry-sequence-breaker", "\n"]
    command = ["generate", "hello", "--system", "be brief", "--thinking", "off", "-m", str(random), "--quant", "q8"]
    assert main([*command, "--kv", "f32", "-t", "1", *flags, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    model = qwen3cpu.load(random, quant="q8", kv="f32", threads=1)
    expected = model.generate(
        [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}],
        thinking=False,
        seed=5,
        temperature=1.2,
        top_k=30,
        top_p=0.9,
        min_p=0.01,
        top_n_sigma=2.5,
        typical_p=0.95,
        xtc_probability=0.5,
        xtc_threshold=0.05,
        dry_multiplier=0.8,
        dry_base=1.5,
        dry_allowed_length=1,
        dry_penalty_last_n=-1,
        dry_sequence_breakers=["x", "\n"],
        max_new_tokens=12,
        repetition_penalty=1.1,
        presence_penalty=0.5,
        frequency_penalty=0.25,
        logprobs=2,
    ).to_dict()
    assert (found["model"], found["quant"], found["threads"]) == (str(random), "q8", 1)
    expected = json.loads(json.dumps(expected))
    for name in ("text", "reasoning", "token_ids", "finish_reason", "usage", "logprobs", "seed"):
        assert found[name] == expected[name]


def test_token_healing(random, capsys):
    command = [
        "generate",
        "hello wor",
        "-m",
        str(random),
        "--quant",
        "q8",
        "--seed",
        "5",
        "-n",
        "12",
        "--token-healing",
    ]
    assert main([*command, "--raw", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    model = qwen3cpu.load(random, quant="q8")
    expected = model.generate("hello wor", raw=True, seed=5, max_new_tokens=12, token_healing=True)
    assert (found["text"], found["token_ids"]) == (expected.text, list(expected.token_ids))
    plain = model.generate("hello wor", raw=True, seed=5, max_new_tokens=12)
    assert plain.usage.prompt_tokens > found["usage"]["prompt_tokens"]
    assert main(command) == 2
    assert "--token-healing: needs --raw" in capsys.readouterr().err


def test_stop_strings_and_limits(spoken, capsys):
    command = ["generate", "Q", "--raw", "-m", str(spoken), "--temp", "0"]
    assert main([*command, "--stop", "Z", "--stop", "Y"]) == 0
    assert capsys.readouterr().out == "X\n"
    assert main([*command, "-n", "6", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["text"], found["stopped_by"]) == ("X", "max_new_tokens")
    assert main([*command, "-n", "-1", "--seed", "-1", "--thinking-budget", "0"]) == 0
    assert capsys.readouterr().out == "XYZ\n"


def test_a_full_context_is_told(endless):
    done = run("generate", "Q", "-m", endless, "--temp", "0", "--ctx-size", "60")
    assert done.returncode == 0
    assert done.stdout.startswith("ABAB")
    assert "the context of 60 tokens is full" in done.stderr


STRUCK = """
import sys
from qwen3cpu.cli import doctor
from qwen3cpu.cli.main import main

async def never():
    pass

def start(work):
    raise KeyboardInterrupt

doctor.run_doctor = lambda args: start(never())
sys.exit(main(["doctor"]))
"""


def test_ctrl_c_before_a_coroutine_starts_says_nothing():
    done = run_code(STRUCK)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_ends_with_130_and_keeps_what_was_said(endless):
    with start("generate", "Q", "-m", endless, "--temp", "0") as process:
        assert process.stdout.read(4) == b"ABAB"
        process.send_signal(signal.SIGINT)
        rest, errors = process.stdout.read(), process.stderr.read()
    assert process.returncode == 130
    assert rest.endswith(b"\n")
    assert errors == b""


def test_a_reader_that_goes_away_is_no_error(endless):
    with start("generate", "Q", "-m", endless, "--temp", "0") as process:
        assert process.stdout.read(4) == b"ABAB"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


# inspect


def test_inspect(random, capsys):
    assert main(["inspect", str(random)]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^layers +2 of hidden size 64, FFN 96$", text, re.MULTILINE)
    assert re.search(r"^attention +4 query heads, 2 KV heads of 32$", text, re.MULTILINE)
    assert main(["inspect", "--model", str(random), "--quant", "f32", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    model = qwen3cpu.load(random, quant="f32")
    assert found["parameters"] == model.config.parameters() == 26624 + 2 * 43_200 + 64
    assert found["weight_bytes"] == sum(found["format_bytes"].values()) == model.weight_bytes
    assert found["kv_bytes_per_token"] == 2 * 2 * 2 * 32 * 2
    assert found["context"] == 512
    assert found["config"]["num_hidden_layers"] == 2
    assert main(["inspect", str(random), "--model", str(random)]) == 2
    assert "twice" in capsys.readouterr().err


# Bad input


def refused(done, *says):
    """Check exit code 2, nothing on stdout, and one line on stderr with all of these texts."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("qwen3cpu: error: ")
    assert done.stderr.count("\n") == 1
    for word in says:
        assert word in done.stderr


def test_a_missing_folder(tmp_path):
    refused(run_here("generate", "Q", "-m", tmp_path / "nowhere"), "nowhere")


def damaged(tmp_path, **options):
    return checkpoints.write_checkpoint(tmp_path, **options).folder


def test_a_missing_tensor(tmp_path):
    tensors = dict(checkpoints.random_tensors(checkpoints.qwen3_config()))
    del tensors["model.layers.1.self_attn.k_norm.weight"]
    refused(
        run_here("generate", "Q", "-m", damaged(tmp_path, tensors=tensors)), "model.layers.1.self_attn.k_norm.weight"
    )


def test_a_tensor_of_the_wrong_shape(tmp_path):
    tensors = dict(checkpoints.random_tensors(checkpoints.qwen3_config()))
    tensors["model.norm.weight"] = tensors["model.norm.weight"][:-1]
    refused(run_here("generate", "Q", "-m", damaged(tmp_path, tensors=tensors)), "model.norm.weight", "64", "63")


def overwrite(folder, change):
    path = folder / "model.safetensors"
    path.write_bytes(change(path.read_bytes()))
    return folder


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-100],
        lambda data: data[:5],
        lambda data: b"",
        lambda data: bytes(range(256)) * 100,
        lambda data: struct.pack("<Q", len(data) * 2) + data[8:],
        lambda data: struct.pack("<Q", 2**63) + data[8:],
        lambda data: data[:8] + b"{" * 50 + data[58:],
    ],
    ids=["truncated", "five bytes", "empty", "garbage", "long header", "huge header", "header not JSON"],
)
def test_damaged_safetensors(tmp_path, change):
    refused(run_here("generate", "Q", "-m", overwrite(damaged(tmp_path), change)), "model.safetensors")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "llama"}, "llama"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_hidden_layers": 10**12}, "num_hidden_layers"),
        ({"num_attention_heads": 5, "num_key_value_heads": 2}, "num_key_value_heads"),
        ({"hidden_size": -64}, "hidden_size"),
        ({"rms_norm_eps": float("inf")}, "rms_norm_eps"),
        ({"vocab_size": "many"}, "vocab_size"),
        ({"rope_scaling": {"rope_type": "spiral"}}, "spiral"),
    ],
)
def test_impossible_configs(tmp_path, config, says):
    folder = damaged(tmp_path)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    refused(run_here("generate", "Q", "-m", folder), "config.json", says)


def test_a_prompt_longer_than_the_context(random):
    refused(run("generate", "--raw", "-m", random, "-c", "50", stdin="x" * 70), "70", "50")


def test_a_context_beyond_the_trained_one_is_told(random):
    done = run("generate", "Q", "-m", random, "-c", "1024", "-n", "1")
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert "YaRN with factor 2 stretches them to the context of 1024" in done.stderr


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--temp", "-1"], "--temp"),
        (["--temp", "nan"], "--temp"),
        (["--top-p", "7"], "--top-p"),
        (["--top-k", "-3"], "--top-k"),
        (["--seed", "-7"], "seed"),
        (["-n", "0"], "-n: expected"),
        (["-t", "0"], "threads"),
        (["-c", "0"], "--ctx-size"),
        (["-c", "100000000"], "33554432"),
        (["--rope-scaling", "yarn"], "--rope-scaling: expected JSON"),
        (["--thinking-budget", "-1"], "--thinking-budget"),
        (["--stop", ""], "stop"),
        (["--raw", "--system", "s"], "--system"),
        (["--logprobs", "2"], "--json"),
        (["--file", "nowhere"], "nowhere"),
    ],
)
def test_bad_flags(random, flags, says):
    prompt = [] if "--file" in flags else ["Q"]
    refused(run_here("generate", *prompt, "-m", random, *flags), says)


@pytest.mark.parametrize(
    "flags", [["--quant", "q5"], ["--kv", "q4"], ["--temp", "warm"], ["--thinking", "maybe"], ["--threa"]]
)
def test_flags_that_the_parser_refuses(random, flags):
    done = run_here("generate", "Q", "-m", random, *flags)
    assert done.returncode == 2
    assert flags[-1] in done.stderr


def test_text_that_is_not_unicode(random):
    done = run("generate", "-m", random, stdin=b"caf\xe9")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"qwen3cpu: error: stdin: expected UTF-8, found byte 0xe9 at 3\n"
    refused(run("generate", b"caf\xe9", "-m", random), "U+DCE9")


def test_no_prompt(random):
    with Terminal("generate", "-m", random) as terminal:
        screen, code = terminal.end()
    assert code == 2
    assert "no prompt" in screen
    refused(run("generate", "-m", random, "--raw"), "empty")


def test_a_hub_id_without_network(tmp_path):
    offline = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    refused(run("generate", "Q", "-m", "Nobody/Nothing-1B", **offline), "Nobody/Nothing-1B", "HF_HUB_OFFLINE")
    refused(run("generate", "Q", "-m", "Nobody/Nothing-1B", **offline, HF_HUB_OFFLINE="1"), "Nobody/Nothing-1B")


def test_a_bad_environment_variable(random):
    refused(run("generate", "Q", "-m", random, QWEN3CPU_THREADS="some"), "QWEN3CPU_THREADS")
    done = run("generate", "Q", "-m", random, QWEN3CPU_ISA="z80")
    assert done.returncode == 2
    assert "z80" in done.stderr


# The rest


@pytest.mark.parametrize("command", [[], ["generate"], ["chat"], ["inspect"], ["demo"]])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert "usage: qwen3cpu" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"qwen3cpu {qwen3cpu.__version__}\n"
