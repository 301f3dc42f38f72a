// Kernels for 64-bit ARM with matrix products of bytes (USMMLA, USDOT): products of the quantised formats. Everything
// else in this instruction set's table is NEON's. Each gives the bits of its scalar twin.
#pragma once

#include "kernels/neon/kernels.h"

namespace qwen3cpu::i8mm {
#include "kernels/derived_declarations.inc"
}  // namespace qwen3cpu::i8mm
