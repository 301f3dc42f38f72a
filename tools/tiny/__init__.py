"""The parts of the trainer of the embedded model: problems, tokenizer, model, quantization, training, model card."""
