"""A model of the 1.7B's shape with random weights loads within its planned memory, and answers."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.synthetic

# The peak counts mapped files, so it shows what conversion needs besides the packed weights.
LOAD = """
import json, sys
import qwen3cpu
from qwen3cpu.system.process_limits import peak_memory

model = qwen3cpu.load(sys.argv[1], quant="q4", threads=2)
loaded = peak_memory()
result = model.generate("Hello", max_new_tokens=4, temperature=0, ignore_eos=True)
print(json.dumps({"weights": model.weight_bytes, "loaded": loaded, "answered": peak_memory(), "ids": result.token_ids}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mapped files count as memory only there")
def test_loading_needs_little_more_than_the_packed_weights(synthetic, tmp_path, monkeypatch):
    monkeypatch.setenv("QWEN3CPU_CACHE", str(tmp_path))
    runs = []
    for _ in range(2):  # first it converts, then it maps the packed file of the first run
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
