"""Whole configurations as the libraries write them contain no unknown option."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_folders import write_made

from qwen3cpu.loading.open import open_checkpoint

META = """{"fallback": {"strategy": "rtn", "threshold": "0.5%", "smooth": null}, "offload_to_disk": true,
"telemetry": {"device": false}, "pack_impl": "auto", "gc_mode": "interval", "dense_vram_strategy": "exclusive",
"gptaq": null, "mse": 0.0, "mock_quantization": false, "act_group_aware": true,
"hessian": {"chunk_size": null, "staging_dtype": "float32"}}"""

WRITTEN = {
    # QuantizeConfig(...).to_dict() of GPTQModel 7.7.0
    "gptq_int4_sym_v1": f"""{{"bits": 4, "dynamic": {{"-:.*lm_head": {{}}}}, "group_size": 32, "desc_act": false,
        "lm_head": false, "method": "gptq", "quant_method": "gptq", "format": "gptq", "checkpoint_format": "gptq",
        "pack_dtype": "int32", "meta": {META}, "sym": true}}""",
    "awq_gptqmodel": f"""{{"bits": 4, "group_size": 32, "desc_act": false, "lm_head": false, "method": "awq",
        "quant_method": "awq", "format": "gemm", "checkpoint_format": "gemm", "pack_dtype": "int32", "meta": {META},
        "zero_point": false, "version": "gemm"}}""",
    # GPTQConfig and AwqConfig of transformers 5.24.0
    "gptq_autogptq": """{"quant_method": "gptq", "bits": 4, "tokenizer": null, "dataset": null, "group_size": 32,
        "damp_percent": 0.1, "desc_act": false, "act_group_aware": true, "sym": true, "true_sequential": true,
        "format": "gptq", "meta": null, "backend": "auto", "model_seqlen": null, "block_name_to_quantize": null,
        "module_name_preceding_first_block": null, "batch_size": 1, "pad_token_id": null, "max_input_length": null,
        "cache_block_outputs": true, "modules_in_block_to_quantize": null, "checkpoint_format": "gptq"}""",
    "awq_autoawq": """{"zero_point": true, "modules_to_not_convert": null, "quant_method": "awq", "bits": 4,
        "tokenizer": null, "dataset": null, "group_size": 32, "damp_percent": 0.1, "desc_act": false,
        "act_group_aware": true, "sym": true, "true_sequential": true, "format": "gemm", "meta": null,
        "backend": "auto", "model_seqlen": null, "block_name_to_quantize": null,
        "module_name_preceding_first_block": null, "batch_size": 1, "pad_token_id": null, "max_input_length": null,
        "cache_block_outputs": true, "modules_in_block_to_quantize": null, "version": "gemm"}""",
    "fp8_block": """{"quant_method": "fp8", "modules_to_not_convert": null, "modules_to_convert": null,
        "activation_scheme": "dynamic", "weight_block_size": [32, 32], "dequantize": false, "scale_fmt": "float",
        "expert_dtype": "fp8"}""",
    # SerializedCompressorConfig of AutoRound 0.16.1, without null
    "autoround_gptq": """{"quant_method": "auto-round", "packing_format": "auto_round:auto_gptq", "bits": 4,
        "act_bits": 16, "data_type": "int", "group_size": 32, "sym": true, "amp": true, "batch_size": 8,
        "enable_minmax_tuning": true, "enable_norm_bias_tuning": false, "enable_quanted_input": true,
        "gradient_accumulate_steps": 1, "iters": 1000, "lr": 0.001, "low_gpu_mem_usage": true, "minmax_lr": 0.001,
        "nsamples": 512, "scale_dtype": "torch.float16", "seqlen": 4096, "supported_types": ["Linear"],
        "static_attention_granularity": "tensor", "static_kv_granularity": "tensor",
        "block_name_to_quantize": "model.layers", "autoround_version": "0.16.1"}""",
}


@pytest.mark.parametrize("name", WRITTEN)
def test_configurations_as_they_are_written(tmp_path: Path, name: str) -> None:
    def config(values: dict[str, Any]) -> None:
        values["quantization_config"] = json.loads(WRITTEN[name])

    expected = "q8" if name.startswith("fp8") else "q4a32"
    assert open_checkpoint(write_made(tmp_path / "model", name, config=config), threads=1).quant == expected
