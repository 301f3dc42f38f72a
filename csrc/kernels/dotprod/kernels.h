// Kernels for 64-bit ARM with dot products of bytes (SDOT): products of the quantised formats. Everything else in this
// instruction set's table is NEON's. Each gives the bits of its scalar twin.
#pragma once

#include "kernels/neon/kernels.h"

namespace qwen3cpu::dotprod {
#include "kernels/derived_declarations.inc"
}  // namespace qwen3cpu::dotprod
