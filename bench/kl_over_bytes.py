"""Draws the divergence from the unrounded weights over the bytes of the same model, llama.cpp's types beside ours.

    python bench/kl_over_bytes.py results.json ours.json -o docs/pictures/kl_over_bytes.svg

results.json: of gguf_perplexity.py. ours.json: points of qwen3cpu, a list of {"name", "mib", "kl"}, measured by
`qwen3cpu eval` on the same windows; docs/quality.md has them. MiB are those of the matrices of the model as it is.
llama.cpp's types were measured on the model padded to blocks of 256 columns, and their MiB are counted without the
padding, by the bits per weight of each tensor. Needs matplotlib (extra `plot`).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

SHOWN = ("Q2_K", "Q3_K_M", "IQ4_XS", "IQ4_NL", "Q4_0", "Q4_1", "Q4_K_S", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")
PLACES = {
    "Q4_K_S": (-7, -9),
    "IQ4_XS": (-7, -9),
    "IQ4_NL": (7, -3),
    "Q4_K_M": (7, 4),
    "Q8_0": (-7, -9),
    "q4": (8, -7),
    "q4 --calibrate, 4 bits only": (-7, -9),
    "q4 --calibrate": (-7, -9),
    "q8": (0, 8),
}
"""Where the name of a point stands, in points from it, where the usual place is taken."""


def draw(theirs: list[dict[str, Any]], ours: list[dict[str, Any]], out: Path) -> None:
    """Write the picture."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot, ticker

    pyplot.rcParams |= {
        "svg.fonttype": "none",
        "svg.hashsalt": "qwen3cpu",
        "font.family": "sans-serif",
        "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
        "font.size": 11,
    }
    figure, axes = pyplot.subplots(figsize=(8.2, 4.8))
    for points, color, marker, label in (
        (theirs, "#b35900", "o", "llama.cpp"),
        (ours, "#1f5fa8", "s", "qwen3cpu"),
    ):
        axes.plot(
            [point["mib"] for point in points],
            [point["kl"] for point in points],
            marker,
            color=color,
            label=label,
            markersize=6,
        )
        for point in points:
            axes.annotate(
                point["name"],
                (point["mib"], point["kl"]),
                PLACES.get(point["name"], (7, 3)),
                textcoords="offset points",
                color=color,
                ha="right" if PLACES.get(point["name"], (1, 0))[0] < 0 else "left",
            )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.set_xlabel("MiB of weights")
    axes.set_ylabel("mean KL divergence, nats")
    axes.grid(visible=True, which="major", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(out, facecolor="white", metadata={"Date": None, "Title": "Divergence over bytes"})


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results", type=Path, help="of gguf_perplexity.py")
    parser.add_argument("ours", type=Path, help="points of qwen3cpu")
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    types = json.loads(args.results.read_text())["types"]
    theirs = [
        {"name": name, "mib": types[name]["unpadded_mib"], "kl": types[name]["llama"]["mean_kl"]}
        for name in SHOWN
        if name in types
    ]
    draw(theirs, json.loads(args.ours.read_text()), args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
