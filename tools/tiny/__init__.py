"""The parts of the trainer of the embedded model: problems, tokenizer, model, quantisation, training, model card."""
