"""Measure how far an expert's moments should be drawn towards those of its layer for rounding its matrices to q4.

    python bench/expert_moments.py MODEL --text FILE [--pieces 4 32] [--shared 0 0.05 0.1 0.25 0.5 1 2]

MODEL is a dense model in a folder, whose MLPs play the part of experts. Each token of a text is assigned to 8 of 128
experts: those whose randomly drawn tokens are nearest to it. Gate and down projections of three layers are rounded for
some experts, with each value of `Rounding.shared`. An expert's moments come from its tokens in `--pieces` pieces of 512
tokens. The error is the squared error of the outputs for other tokens of the same expert, divided by the error with the
moments of the layer alone. Prints the geometric mean over matrices and experts.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import qwen3cpu
from qwen3cpu import _native
from qwen3cpu.bench.machine import Machine
from qwen3cpu.packed.matrix import MatrixLayout
from qwen3cpu.quantization.gptq import InputMoments, Rounding, round_matrix, second_moments, with_share
from qwen3cpu.quantization.layer_runner import Layer

LENGTH, HELD_OUT = 512, 32  # tokens of a piece; pieces that are not used for rounding
EXPERTS, CHOSEN = 128, 8
ROUNDED = 6  # experts of a layer
ROWS = 256  # of their matrices

Floats = NDArray[np.float32]


def inputs(model: qwen3cpu.Model, ids: NDArray[np.int32]) -> Iterator[tuple[Floats, Floats, Floats]]:
    """(gate_up's input, weights of a matrix, its input) over the text, for both matrices of three layers."""
    checkpoint, config = model._checkpoint, model.config
    x, layers = model.engine.native.embed(ids), config.num_hidden_layers
    for number in range(layers):
        layer = Layer(config, checkpoint.matrices, checkpoint.vectors, number, length=LENGTH, threads=model.threads)
        if number not in (layers // 8, layers // 2, layers * 7 // 8):
            layer.run(x)
            continue
        parts = list(layer.advance(x, "gate_up", "down"))
        gate_up, down = (np.concatenate([part[name] for part in parts]) for name in ("gate_up", "down"))
        for name, read in (("gate_proj", gate_up), ("down_proj", down)):
            matrix = checkpoint.matrices[f"model.layers.{number}.mlp.{name}.weight"]
            yield gate_up, _native.unpack(matrix.format, matrix.data, matrix.rows, matrix.cols, 1, 0, ROWS), read


def choices(read: Floats, generator: np.random.Generator) -> NDArray[np.int64]:
    """The experts of each token, [tokens, CHOSEN]."""
    drawn = read[generator.choice(len(read), EXPERTS, replace=False)]
    nearness = (read @ drawn.T) / np.linalg.norm(drawn, axis=1)
    return np.argpartition(-nearness, CHOSEN, axis=1)[:, :CHOSEN]


def error(weights: Floats, moments: Floats, over: Floats) -> float:
    """Squared error of the outputs for inputs `over` [tokens, cols] when weights are rounded with these moments."""
    layout = MatrixLayout("q4", *weights.shape)
    out = layout.room()
    round_matrix(weights, InputMoments(moments, Rounding()), out, threads=1)
    change = weights - _native.unpack("q4", out, *weights.shape, 1)
    return float(np.square(over @ change.T).sum(dtype=np.float64))


def main() -> None:
    """Round, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--pieces", type=int, nargs="+", default=[4, 32])
    parser.add_argument("--shared", type=float, nargs="+", default=[0, 0.05, 0.1, 0.25, 0.5, 1, 2])
    options = parser.parse_args()
    model = qwen3cpu.load(options.model, "bf16", cache=False)
    ids = np.array(model.tokenizer.encode(options.text.read_text("utf-8")), np.int32)
    ids = ids[: (HELD_OUT + max(options.pieces)) * LENGTH]
    generator = np.random.default_rng(0)
    ratios: dict[tuple[int, float], list[float]] = {}
    tokens: dict[int, list[int]] = {}
    for routed, weights, read in inputs(model, ids):
        chosen = choices(routed, generator)
        for expert in generator.choice(EXPERTS, ROUNDED, replace=False):
            own = (chosen == expert).any(1)
            held_out = read[: HELD_OUT * LENGTH][own[: HELD_OUT * LENGTH]]
            for pieces in options.pieces:
                part = slice(HELD_OUT * LENGTH, (HELD_OUT + pieces) * LENGTH)
                everything, mine = second_moments(read[part]), second_moments(read[part][own[part]])
                expected = error(weights, everything, held_out)
                tokens.setdefault(pieces, []).append(int(own[part].sum()))
                for shared in options.shared:
                    moments = with_share(mine, everything, pieces * LENGTH, shared)
                    found = error(weights, moments, held_out)
                    ratios.setdefault((pieces, shared), []).append(found / expected)
    print(f"{Machine.here()}\n{options.model}: {EXPERTS} experts of {model.config.hidden_size} columns")
    for (pieces, shared), each in ratios.items():
        several = f"{pieces * LENGTH} tokens, of which an expert has {np.median(tokens[pieces]):.0f}"
        print(f"{several}, shared {shared:g}: {np.exp(np.log(each).mean()):.3f}")


if __name__ == "__main__":
    main()
