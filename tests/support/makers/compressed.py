"""Writes made/ct_*: compressed-tensors 0.20.0 compresses and decompresses. Needs torch, transformers and loguru."""

from __future__ import annotations

import compressed_tensors
import torch
from common import FEW, MODULES, grid, torch_linears, write_torch
from compressed_tensors.compressors.base import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme

TOKEN = {"num_bits": 8, "strategy": "token", "dynamic": True}


def scales_of(weight, args):
    """(scales, zeros) in the shapes of a strategy."""
    most = 448.0 if args.type == "float" else (1 << args.num_bits) - 1
    if args.strategy == "group" or not args.symmetric:
        size = args.group_size or weight.shape[1]
        scales, zeros = grid(weight, args.num_bits, size, symmetric=args.symmetric)
        return scales, (zeros - (1 << (args.num_bits - 1))).to(torch.int8)
    factor = 1.0 if args.type == "float" else 2.0
    if args.strategy == "block":
        high, wide = args.block_structure
        rows, columns = weight.shape
        padded = torch.nn.functional.pad(weight, (0, -columns % wide, 0, -rows % high))
        blocks = padded.reshape(padded.shape[0] // high, high, -1, wide)
        return blocks.abs().amax((1, 3)) * factor / most, None
    high = weight.abs().amax() if args.strategy == "tensor" else weight.abs().amax(1, keepdim=True)
    return high.reshape(-1, *([1] if args.strategy == "channel" else [])) * factor / most, None


def make(name, form, weights, *, modules=FEW, activations=None, dtype=torch.bfloat16, ignore=("lm_head",)):
    args = QuantizationArgs(**weights)
    scheme = QuantizationScheme(targets=["Linear"], weights=args, input_activations=activations, format=form)
    compressor = BaseCompressor.get_value_from_registry(form)
    tensors, values = {}, {}
    for module, linear in torch_linears(modules, dtype).items():
        scales, zeros = scales_of(linear.weight.float(), args)
        state = {"weight": linear.weight.data, "weight_scale": scales.to(dtype)}
        if not args.symmetric:
            state["weight_zero_point"] = zeros
        packed = compressor.compress(state, scheme)
        values[module] = compressor.decompress(packed, scheme)["weight"]
        tensors |= {f"{module}.{part}": value for part, value in packed.items()}
    config = QuantizationConfig(
        config_groups={"group_0": scheme}, format=form, ignore=list(ignore), quantization_status="compressed"
    ).model_dump(mode="json")
    config |= {"version": compressed_tensors.__version__, "sparsity_config": {}, "transform_config": {}}
    write_torch(name, f"compressed-tensors {compressed_tensors.__version__}", tensors, values, config)


GROUP = {"num_bits": 4, "strategy": "group", "group_size": 32}
PACK, INT, FLOAT = "pack-quantized", "int-quantized", "float-quantized"
E4M3 = {"num_bits": 8, "type": "float"}
FLOAT_TOKEN = {**TOKEN, "type": "float"}

make("ct_w4a16", PACK, GROUP, modules=MODULES)
make("ct_w4a16_asym", PACK, {**GROUP, "symmetric": False})
make("ct_w4a16_float16", PACK, {**GROUP, "symmetric": False}, dtype=torch.float16)
make("ct_w4a16_channel", PACK, {"num_bits": 4, "strategy": "channel"})
make("ct_w3a16", PACK, {**GROUP, "num_bits": 3})
make("ct_w8a16", PACK, {**GROUP, "num_bits": 8, "symmetric": False})
make("ct_w8a8", INT, {"num_bits": 8, "strategy": "channel"}, activations=TOKEN)
make("ct_w8a8_asym", INT, {"num_bits": 8, "strategy": "channel", "symmetric": False}, activations=TOKEN)
make("ct_fp8_tensor", FLOAT, {**E4M3, "strategy": "tensor"}, activations=FLOAT_TOKEN)
make("ct_fp8_channel", FLOAT, {**E4M3, "strategy": "channel"}, activations=FLOAT_TOKEN)
make("ct_fp8_block", FLOAT, {**E4M3, "strategy": "block", "block_structure": [32, 64]}, activations=FLOAT_TOKEN)
make("ct_fp8_float32", FLOAT, {**E4M3, "strategy": "channel"}, activations=FLOAT_TOKEN, dtype=torch.float32)
