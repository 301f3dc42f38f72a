"""Packs weights into the engine's formats.

pack_model.py packs a whole model into memory or a file, pack_matrix.py one matrix. Rounding to q4 regards the inputs of
each matrix (gptq.py, layer_runner.py). By default quick_q4.py takes these inputs from random tokens.
Calibration (calibrate.py, with the settings in recipe.py) takes them from text that the model writes (own_text.py). It
keeps the matrices that gain most in q8 (bit_budget.py, divergence.py), and writes a report into the file
(calibration_report.py).
"""
