"""Rounding to q4 by what a model's own text says about the inputs of its matrices.

recipe.py    what calibration can be told, in one place
text.py      the model writes the text
layers.py    one layer after another over that text: inputs of the matrices, and their second moments
rounding.py  one matrix: GPTQ
run.py       from a model in q8 to its matrices in q4
quick.py     without text, while packing: what q4 does by itself
"""
