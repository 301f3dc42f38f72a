// Kernels for CPUs with AMX (int8 tiles): many-token products of the quantised formats. Everything else in this
// instruction set's table is AVX-512's. Each gives the bits of its scalar twin.
#pragma once

#include "kernels/avx512vnni/kernels.h"

namespace qwen3cpu::amx {

namespace q8 {
MatmulFn matmul;
}
namespace q4 {
MatmulFn matmul;
}
namespace q4x2 {
MatmulFn matmul;
}
namespace q4s {
MatmulFn matmul;
}
namespace probes {
int64_t int8(int64_t rounds);
}
const IsaTable& table();

#define QWEN3CPU_LESSER avx512vnni
#include "kernels/fall_back.inc"

}  // namespace qwen3cpu::amx
