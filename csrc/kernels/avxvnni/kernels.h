// Kernels for CPUs with AVX-VNNI in addition to AVX2: products of the quantised formats. Everything else in this
// instruction set's table is AVX2's. Each gives the bits of its scalar twin.
#pragma once

#include "kernels/avx2/kernels.h"

namespace qwen3cpu::avxvnni {

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
#include "kernels/q4a_kernels.inc"
namespace probes {
int64_t int8(int64_t rounds);
}
const IsaTable& table();

#define QWEN3CPU_LESSER avx2
#include "kernels/fall_back.inc"

}  // namespace qwen3cpu::avxvnni
