"""Weights to formats: packing, rounding by GPTQ, calibration by the model's own text, the bit budget."""
