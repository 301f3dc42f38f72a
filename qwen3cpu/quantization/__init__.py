"""Weights to formats.

pack_model.py packs a whole model into memory or a file, pack_matrix.py one matrix. q4 is rounded with regard to its
inputs (gptq.py, layer_runner.py): quick_q4.py does it without text, for random tokens. Calibration (calibrate.py, told
what to do by recipe.py) does it by text that the model writes (own_text.py), keeps in q8 the matrices that gain most
from it (bit_budget.py, divergence.py), and leaves a report in the file (calibration_report.py).
"""
