// Kernels for CPUs with AVX2, FMA and F16C. Each gives the bits of its scalar twin; see kernels/scalar for what it
// computes.
#pragma once

#include "kernels/table.h"

namespace qwen3cpu::avx2 {
#include "kernels/declarations.inc"
}  // namespace qwen3cpu::avx2
