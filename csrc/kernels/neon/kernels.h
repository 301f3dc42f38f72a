// Kernels for 64-bit ARM, whose baseline has NEON with fused multiply-adds. Each gives the bits of its scalar twin; see
// kernels/scalar for what it computes.
#pragma once

#include "kernels/table.h"

namespace qwen3cpu::neon {
#include "kernels/declarations.inc"
}  // namespace qwen3cpu::neon
