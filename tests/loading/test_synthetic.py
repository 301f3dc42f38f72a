"""The shape of the 1.7B with random weights: it loads within its memory, and answers."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.synthetic

# ru_maxrss is the peak over the life of the process (KiB on Linux), mapped files counted: what conversion needs besides
# the packed weights shows in it.
LOAD = """
import json, resource, sys
import qwen3cpu

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

model = qwen3cpu.load(sys.argv[1], quant="q4", threads=2)
loaded = peak()
result = model.generate("Hello", max_new_tokens=4, temperature=0, ignore_eos=True)
print(json.dumps({"weights": model.weight_bytes, "loaded": loaded, "answered": peak(), "ids": result.token_ids}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss has other units and meanings elsewhere")
def test_loading_needs_little_more_than_the_packed_weights(synthetic, tmp_path, monkeypatch):
    monkeypatch.setenv("QWEN3CPU_CACHE", str(tmp_path))
    runs = []
    for _ in range(2):  # converting, then from the packed file that the first left behind
        done = subprocess.run(
            [sys.executable, "-c", LOAD, str(synthetic)], check=True, capture_output=True, text=True, encoding="utf-8"
        )
        runs.append(json.loads(done.stdout))
    assert list(tmp_path.rglob("*.qwen3"))
    for run in runs:
        # 1.41 B weights of 4.25 bits and 0.31 B of 8.5 bits.
        assert run["weights"] == pytest.approx(1.41e9 * 4.25 / 8 + 0.311e9 * 8.5 / 8, rel=0.02)
        assert run["loaded"] <= run["weights"] + 800e6
        assert run["answered"] <= run["weights"] + 800e6
        assert len(run["ids"]) == 4
    assert runs[0]["ids"] == runs[1]["ids"]
