"""The types of weights in GGUF files, as ggml numbers them.

Source: enum ggml_type in ggml/include/ggml.h and the blocks in ggml/src/ggml-common.h.
"""

from __future__ import annotations

from typing import Final

BLOCKS: Final = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}
"""Number in the file -> (name, weights in a block, bytes of a block) of all types in which llama.cpp writes weights."""
OTHER_TYPES: Final = {
    4: "Q4_2, which llama.cpp has dropped",
    5: "Q4_3, which llama.cpp has dropped",
    9: "Q8_1, which is for activations",
    15: "Q8_K, which is for activations",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    31: "Q4_0_4_4, which llama.cpp has dropped",
    32: "Q4_0_4_8, which llama.cpp has dropped",
    33: "Q4_0_8_8, which llama.cpp has dropped",
    36: "IQ4_NL_4_4, which llama.cpp has dropped",
    37: "IQ4_NL_4_8, which llama.cpp has dropped",
    38: "IQ4_NL_8_8, which llama.cpp has dropped",
}
"""ggml's other types, for messages."""
