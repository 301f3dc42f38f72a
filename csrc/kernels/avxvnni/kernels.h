// Kernels for CPUs with AVX-VNNI beside AVX2: products of the quantised formats. Everything else in this instruction
// set's table is AVX2's. Each gives the bits of its scalar twin.
#pragma once

#include "kernels/avx2/kernels.h"

namespace qwen3cpu::avxvnni {
#include "kernels/derived_declarations.inc"
}  // namespace qwen3cpu::avxvnni
