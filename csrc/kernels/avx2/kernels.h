// Kernels for CPUs with AVX2, FMA and F16C. Each gives the bits of its scalar twin; see kernels/scalar for what it
// computes.
#pragma once

#include "../table.h"

namespace qwen3cpu::avx2 {
#include "../declarations.inc"
}  // namespace qwen3cpu::avx2
