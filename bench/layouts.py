"""Measure the loss of loading each layout of the hub: quantise a plain folder to the layout, load it, and compare.

    python bench/layouts.py FOLDER --text TEXT [--layouts AWQ nf4] [--windows 8]

Every layout is written as its documentation describes it, with plain rounding to the nearest level. Makers round
better, which changes the second column and not the fourth. Two divergences are measured on the text. The loss of the
layout is the divergence of the maker's values from the folder's own. The loss that loading adds is the divergence of
the loaded model from the maker's values. Needs the extra `reference`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file

import qwen3cpu
from qwen3cpu.checkpoint.weight_source import original_matrix
from qwen3cpu.evaluation.measuring import measure
from qwen3cpu.loading.sources import open_unpacked

Tensor = torch.Tensor
Parts = dict[str, Tensor]
"""The part of a tensor's name after the module -> tensor."""

GROUP: Final = 64  # divides the columns of smolqwen3
AWQ_ORDER: Final = (0, 2, 4, 6, 1, 3, 5, 7)
NF4: Final = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334),
    *(-0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)


def grid(w: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """(numbers [rows, cols], scales, zeros [rows, groups]) with a scale and a zero for each group."""
    groups = w.reshape(w.shape[0], -1, GROUP)
    low, high = groups.amin(2).clamp(max=0), groups.amax(2).clamp(min=0)
    most = (1 << bits) - 1
    scales = ((high - low) / most).half().float()
    zeros = (-low / scales).round().clamp(0, most)
    numbers = (groups / scales[..., None] + zeros[..., None]).round().clamp(0, most)
    return numbers.reshape(w.shape), scales, zeros


def words(numbers: Tensor, bits: int) -> Tensor:
    """Pack numbers along the last dimension into int32, the first one lowest. A number may span two of them."""
    single = (numbers.long()[..., None] >> torch.arange(bits) & 1).reshape(*numbers.shape[:-1], -1, 32)
    return (single << torch.arange(32)).sum(-1).to(torch.uint32).view(torch.int32)


def awq(w: Tensor) -> Parts:
    numbers, scales, zeros = grid(w, 4)

    def packed(values: Tensor) -> Tensor:
        return words(values.reshape(values.shape[0], -1, 8)[..., AWQ_ORDER].reshape(values.shape), 4)

    return {"qweight": packed(numbers.T), "qzeros": packed(zeros.T), "scales": scales.T.contiguous().half()}


def gptq(bits: int) -> Callable[[Tensor], Parts]:
    def write(w: Tensor) -> Parts:
        numbers, scales, zeros = grid(w, bits)
        stored = (zeros.T - 1).remainder(1 << bits)  # version 1
        order = torch.arange(w.shape[1], dtype=torch.int32) // GROUP
        packed = words(numbers, bits).T.contiguous()
        return {
            "qweight": packed,
            "qzeros": words(stored, bits),
            "scales": scales.T.contiguous().half(),
            "g_idx": order,
        }

    return write


def fp8(w: Tensor) -> Parts:
    rows, cols = w.shape
    padded = torch.nn.functional.pad(w, (0, -cols % 128, 0, -rows % 128))
    blocks = padded.reshape(padded.shape[0] // 128, 128, -1, 128)
    scales = blocks.abs().amax((1, 3)) / 448
    values = (blocks / scales[:, None, :, None]).reshape(padded.shape)[:rows, :cols]
    return {"weight": values.contiguous().to(torch.float8_e4m3fn), "weight_scale_inv": scales}


def packed_integers(bits: int) -> Callable[[Tensor], Parts]:
    def write(w: Tensor) -> Parts:
        groups = w.reshape(w.shape[0], -1, GROUP)
        half = 1 << bits - 1
        scales = (groups.abs().amax(2) / (half - 0.5)).bfloat16()
        numbers = (groups / scales[..., None].float()).round().clamp(-half, half - 1).reshape(w.shape) + half
        shape = torch.tensor(w.shape, dtype=torch.int64)
        return {"weight_packed": words(numbers, bits), "weight_scale": scales, "weight_shape": shape}

    return write


def fp8_of_rows(w: Tensor) -> Parts:
    scales = (w.abs().amax(1, keepdim=True) / 448).bfloat16()
    return {"weight": (w / scales.float()).to(torch.float8_e4m3fn), "weight_scale": scales}


def w8a8(w: Tensor) -> Parts:
    scales = (w.abs().amax(1, keepdim=True) / 127.5).bfloat16()
    return {"weight": (w / scales.float()).round().clamp(-128, 127).to(torch.int8), "weight_scale": scales}


def nf4(double: bool) -> Callable[[Tensor], Parts]:
    """Write nf4. double: the scales are rounded to 8 bits in turn."""

    def write(w: Tensor) -> Parts:
        codes = torch.tensor(NF4)
        blocks = w.reshape(-1, 64)
        absmax = blocks.abs().amax(1)
        nearest = torch.bucketize(blocks / absmax[:, None], (codes[1:] + codes[:-1]) / 2).reshape(-1, 2)
        state: dict[str, Any] = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": list(w.shape)}
        packed = (nearest[:, 0] << 4 | nearest[:, 1]).to(torch.uint8)[:, None]
        parts = {"weight": packed, "weight.absmax": absmax, "weight.quant_map": codes}
        if double:
            offset, levels = absmax.mean(), torch.linspace(-1, 1, 256)
            rest = torch.nn.functional.pad(absmax - offset, (0, -len(absmax) % 256)).reshape(-1, 256)
            largest = rest.abs().amax(1)
            chosen = torch.bucketize(rest / largest[:, None], (levels[1:] + levels[:-1]) / 2)
            parts["weight.absmax"] = chosen.reshape(-1)[: len(absmax)].to(torch.uint8)
            parts |= {"weight.nested_absmax": largest, "weight.nested_quant_map": levels}
            state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": float(offset)}
        said = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)
        return {**parts, "weight.quant_state.bitsandbytes__nf4": said}

    return write


def int8(w: Tensor) -> Parts:
    scales = w.abs().amax(1)
    return {"weight": (w * 127 / scales[:, None]).round().to(torch.int8), "SCB": scales}


def mlx(bits: int) -> Callable[[Tensor], Parts]:
    def write(w: Tensor) -> Parts:
        groups = w.reshape(w.shape[0], -1, GROUP)
        low = groups.amin(2).bfloat16()
        scales = ((groups.amax(2) - low.float()) / ((1 << bits) - 1)).bfloat16()
        numbers = ((groups - low[..., None].float()) / scales[..., None].float()).round().clamp(0, (1 << bits) - 1)
        packed = words(numbers.reshape(w.shape), bits).view(torch.uint32)
        return {"weight": packed, "scales": scales, "biases": low}

    return write


def microscaled(bits: int) -> Callable[[Tensor], Parts]:
    """Write floats of 4 or 8 bits, with a power of two for each 32."""

    def write(w: Tensor) -> Parts:
        groups = w.reshape(w.shape[0], -1, 32)
        largest = 6.0 if bits == 4 else 448.0
        exponents = (groups.abs().amax(2) / largest).clamp(min=2.0**-126).log2().ceil()
        scaled = groups / exponents.exp2()[..., None]
        if bits == 8:
            codes = scaled.to(torch.float8_e4m3fn).view(torch.uint8)
        else:
            levels = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
            codes = torch.bucketize(scaled.abs(), (levels[1:] + levels[:-1]) / 2) | (scaled < 0).long() << 3
        packed = words(codes.reshape(w.shape), bits).view(torch.uint32)
        return {"weight": packed, "scales": (exponents + 127).to(torch.uint8)}

    return write


def compressed(form: str, bits: int, strategy: dict[str, Any]) -> dict[str, Any]:
    weights = {"num_bits": bits, "type": "int", "symmetric": True, **strategy}
    group = {"targets": ["Linear"], "weights": weights}
    return {"quant_method": "compressed-tensors", "format": form, "config_groups": {"group_0": group}}


LAYOUTS: Final[dict[str, tuple[Callable[[Tensor], Parts], dict[str, Any]]]] = {
    "AWQ": (awq, {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm"}),
    "GPTQ, 4 bits": (gptq(4), {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "sym": False}),
    "GPTQ, 2 bits": (gptq(2), {"quant_method": "gptq", "bits": 2, "group_size": GROUP, "sym": False}),
    "GPTQ, 3 bits": (gptq(3), {"quant_method": "gptq", "bits": 3, "group_size": GROUP, "sym": False}),
    "AutoRound, 4 bits": (
        gptq(4),
        {
            "quant_method": "auto-round",
            "bits": 4,
            "group_size": GROUP,
            "sym": False,
            "packing_format": "auto_round:auto_gptq",
        },
    ),
    "GPTQ, 8 bits": (gptq(8), {"quant_method": "gptq", "bits": 8, "group_size": GROUP, "sym": False}),
    "FP8": (fp8, {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}),
    "compressed-tensors W4A16": (
        packed_integers(4),
        compressed("pack-quantized", 4, {"strategy": "group", "group_size": GROUP}),
    ),
    "compressed-tensors W8A16": (
        packed_integers(8),
        compressed("pack-quantized", 8, {"strategy": "group", "group_size": GROUP}),
    ),
    "compressed-tensors FP8": (fp8_of_rows, compressed("float-quantized", 8, {"strategy": "channel", "type": "float"})),
    "compressed-tensors W8A8": (w8a8, compressed("int-quantized", 8, {"strategy": "channel"})),
    "bitsandbytes nf4": (
        nf4(False),
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    ),
    "bitsandbytes nf4, double": (
        nf4(True),
        {
            "quant_method": "bitsandbytes",
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
        },
    ),
    "bitsandbytes int8": (int8, {"quant_method": "bitsandbytes", "load_in_8bit": True}),
    "MLX, 4 bits": (mlx(4), {"group_size": GROUP, "bits": 4}),
    "MLX, 8 bits": (mlx(8), {"group_size": GROUP, "bits": 8}),
    "MLX, 2 bits": (mlx(2), {"group_size": GROUP, "bits": 2}),
    "MLX, 3 bits": (mlx(3), {"group_size": GROUP, "bits": 3}),
    "MLX, 6 bits": (mlx(6), {"group_size": GROUP, "bits": 6}),
    "MLX mxfp4": (microscaled(4), {"group_size": 32, "bits": 4, "mode": "mxfp4"}),
    "MLX mxfp8": (microscaled(8), {"group_size": 32, "bits": 8, "mode": "mxfp8"}),
}
"""Name -> (function from a matrix to its tensors, the configuration)."""


def write(source: Path, folder: Path, layout: str) -> None:
    """Write the matrices of the layers in a layout, everything else unchanged."""
    one, config = LAYOUTS[layout]
    opened = open_unpacked(source)
    tensors: Parts = {}
    for name in opened.weights.matrices:
        values = torch.from_numpy(original_matrix(opened.weights, name))
        module = name.removesuffix(".weight")
        if ".layers." in name:
            tensors |= {f"{module}.{part}": value.contiguous() for part, value in one(values).items()}
        else:
            tensors[name] = values.bfloat16()
    for name in opened.weights.vectors:
        tensors[name] = torch.from_numpy(opened.weights.vector(name)).bfloat16()
    save_file(tensors, folder / "model.safetensors")
    for file in source.iterdir():
        if file.suffix != ".safetensors" and file.name != "config.json" and not file.name.endswith(".index.json"):
            shutil.copy(file, folder)
    key = "quantization" if layout.startswith("MLX") else "quantization_config"
    values = json.loads((source / "config.json").read_text()) | {key: config}
    (folder / "config.json").write_text(json.dumps(values))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--layouts", nargs="+", choices=tuple(LAYOUTS), default=list(LAYOUTS))
    parser.add_argument("--windows", type=int, default=8)
    args = parser.parse_args()
    text = args.text.read_text()
    original = qwen3cpu.load(args.folder, "f32", cache=False)
    print("| layout, groups of 64 | KL of the layout | loads as | KL that loading adds | perplexity, then as loaded |")
    print("|---|---|---|---|---|")
    for layout in args.layouts:
        with tempfile.TemporaryDirectory() as place:
            write(args.folder, Path(place), layout)
            exact = qwen3cpu.load(place, "f32", cache=False)
            loaded = qwen3cpu.load(place, cache=False)
            (cost,) = measure({layout: exact}, original, text, windows=args.windows)
            (added,) = measure({layout: loaded}, exact, text, windows=args.windows)
            perplexities = f"{added.reference_perplexity:.3f}, {added.perplexity:.3f}"
            print(
                f"| {layout} | {cost.mean_kl:.4f} | `{loaded.quant}` | {added.mean_kl:.5f} | {perplexities} |",
                flush=True,
            )
            del exact, loaded


if __name__ == "__main__":
    main()
