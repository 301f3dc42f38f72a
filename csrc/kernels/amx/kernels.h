// Kernels for CPUs with AMX (int8 tiles): many-token products of the quantised formats. Everything else in this
// instruction set's table is a kernel of AVX-512 or AVX2. Each gives the bits of its scalar twin.
#pragma once

#include "kernels/avx512vnni/kernels.h"

namespace qwen3cpu::amx {
#include "kernels/derived_declarations.inc"
}  // namespace qwen3cpu::amx
