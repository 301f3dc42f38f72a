// Kernels for 64-bit ARM, whose baseline has NEON with fused multiply-adds. Each gives the bits of its scalar twin; see
// kernels/scalar for what it computes.
#pragma once

#include "../table.h"

namespace qwen3cpu::neon {
#include "../declarations.inc"
}  // namespace qwen3cpu::neon
